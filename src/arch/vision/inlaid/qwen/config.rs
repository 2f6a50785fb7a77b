//! The networks' `vision_config`, as both versions write it.

use std::num::NonZeroUsize;

use serde::Deserialize;

use crate::arch::ArchError;
use crate::arch::activation::activation_called;
use crate::arch::bounds::{bad, layers_within, within};
use crate::arch::encoder::{Gate, layer_numbers};
use crate::kernels::Activation;

/// `config.json`.
#[derive(Debug, Deserialize)]
pub(super) struct QwenConfig {
    model_type: Option<String>,
    vision_config: VisionConfig,
    image_token_id: Option<u32>,
    vision_start_token_id: Option<u32>,
    vision_end_token_id: Option<u32>,
}

/// `hidden_size` is that of the decoder in the first version, and the network's own in the second.
#[derive(Debug, Default, Deserialize)]
struct VisionConfig {
    depth: Option<usize>,
    embed_dim: Option<usize>,
    hidden_size: Option<usize>,
    out_hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    mlp_ratio: Option<f64>,
    num_heads: Option<usize>,
    hidden_act: Option<String>,
    patch_size: Option<usize>,
    spatial_merge_size: Option<usize>,
    temporal_patch_size: Option<usize>,
    window_size: Option<usize>,
    fullatt_block_indexes: Option<Vec<usize>>,
}

/// The shape of a network of either version.
#[derive(Clone, Debug)]
pub(super) struct TowerConfig {
    pub(super) hidden_size: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) inner: usize,
    pub(super) activation: Activation,
    pub(super) gate: Gate,
    /// Numbers of a row that the decoder reads.
    pub(super) outputs: usize,
    pub(super) patch_size: usize,
    /// So many by so many patches become one row.
    pub(super) merged: usize,
    /// How many pictures of a film a patch has. A picture is as many of itself.
    pub(super) frames: usize,
    /// So many by so many rows see each other, in all layers but these; `None`: all, in every layer.
    pub(super) window: Option<(usize, Vec<usize>)>,
}

impl QwenConfig {
    /// What stands for a row, begins a picture and ends it.
    pub(super) fn tokens(&self) -> (u32, u32, u32) {
        (
            self.image_token_id.unwrap_or(151_655),
            self.vision_start_token_id.unwrap_or(151_652),
            self.vision_end_token_id.unwrap_or(151_653),
        )
    }

    pub(super) fn lower(self) -> Result<TowerConfig, ArchError> {
        let newer = self.model_type.as_deref() == Some("qwen2_5_vl");
        let vision = self.vision_config;
        let (patch_size, merged) = (vision.patch_size.unwrap_or(14), vision.spatial_merge_size.unwrap_or(2));
        let (layers, heads) = (vision.depth.unwrap_or(32), vision.num_heads.unwrap_or(16));
        let frames = vision.temporal_patch_size.unwrap_or(2);
        within("patch_size", patch_size, 1..=256)?;
        within("spatial_merge_size", merged, 1..=16)?;
        within("temporal_patch_size", frames, 1..=16)?;
        let hidden = if newer { vision.hidden_size } else { vision.embed_dim };
        let hidden_size = hidden.unwrap_or(if newer { 3584 } else { 1280 });
        let inner = if newer {
            vision.intermediate_size.unwrap_or(3420)
        } else {
            let ratio = vision.mlp_ratio.unwrap_or(4.0);
            if !(0.0..=64.0).contains(&ratio) {
                return Err(bad("mlp_ratio", ratio, "it must be in 0..=64".to_owned()));
            }
            (hidden_size as f64 * ratio) as usize
        };
        layers_within(hidden_size, layers, heads, inner)?;
        if !(hidden_size / heads).is_multiple_of(4) {
            let expected = "a head must turn by rows and by columns".to_owned();
            return Err(bad("num_heads", heads, expected));
        }
        let outputs = if newer { vision.out_hidden_size } else { vision.hidden_size }.unwrap_or(3584);
        let window = newer.then(|| {
            let side = (vision.window_size.unwrap_or(112) / merged / patch_size).max(1);
            (side, vision.fullatt_block_indexes.unwrap_or_else(|| vec![7, 15, 23, 31]))
        });
        let usual = if newer { "silu" } else { "quick_gelu" };
        Ok(TowerConfig {
            hidden_size,
            layers,
            heads,
            inner,
            activation: activation_called(vision.hidden_act.as_deref().unwrap_or(usual))?,
            gate: if newer { Gate::Present } else { Gate::Absent },
            outputs,
            patch_size,
            merged,
            frames,
            window,
        })
    }
}

impl TowerConfig {
    pub(super) fn head_size(&self) -> usize {
        self.hidden_size / self.heads
    }

    /// How many numbers a patch is read from.
    pub(super) fn patch_numbers(&self) -> usize {
        3 * self.patch_size * self.patch_size
    }

    /// How many numbers reading so many patches holds at once on so many threads.
    pub(super) fn pass_numbers(&self, patches: usize, threads: NonZeroUsize) -> u64 {
        // The picture itself, and cut into patches; and what becomes of each.
        let pixels = (patches as u64).saturating_mul(2 * self.patch_numbers() as u64);
        let inner = if self.gate == Gate::Present { 3 * self.inner } else { self.inner };
        let heads = (self.heads, self.head_size());
        let rows = (patches / (self.merged * self.merged)) as u64;
        let merger =
            rows.saturating_mul((2 * self.merged * self.merged * self.hidden_size + self.outputs) as u64);
        pixels.saturating_add(layer_numbers(patches, patches, heads, inner, threads)).saturating_add(merger)
    }
}
