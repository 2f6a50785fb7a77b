//! What `unet/config.json` says.

use serde::Deserialize;

use crate::arch::bounds::{bad, epsilon_within, not_supported, within};
use crate::arch::{ArchError, read_required};
use crate::weights::ModelFolder;

/// The shape of a network.
#[derive(Clone, Debug)]
pub(crate) struct UnetConfig {
    /// Channels of the latents that go in.
    pub(crate) in_channels: usize,
    /// Channels of what comes out.
    pub(crate) out_channels: usize,
    /// Pixels on a side of the latents it was trained with.
    pub(crate) sample_size: usize,
    /// The width of a prompt token's vector.
    pub(crate) cross_attention_dim: usize,
    /// From the largest pictures to the smallest.
    pub(super) levels: Vec<Level>,
    /// Layers of the transformer between the halves, if there is anything between them.
    pub(super) middle: Option<usize>,
    pub(super) groups: usize,
    pub(super) eps: f64,
    /// Whether what leads into transformers and out of them is stored as linear layers: else as convolutions.
    pub(super) linear_projection: bool,
    pub(super) flip_sin_to_cos: bool,
    pub(super) freq_shift: f32,
    /// Numbers of a guidance's waves, where the network is told how strongly to follow the prompt.
    pub(crate) guidance_width: Option<usize>,
    /// Where the network is told sizes and the prompt as a whole.
    pub(crate) addition: Option<Addition>,
}

/// One level of the U: a block on either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) channels: usize,
    /// Residual blocks on the way down; there is one more on the way up.
    pub(super) blocks: usize,
    pub(super) heads: usize,
    /// Layers of the transformer after each residual block on the way down; none: there is no transformer.
    pub(super) down: usize,
    /// And on the way up.
    pub(super) up: usize,
}

/// What XL is told besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Addition {
    /// The width of each size's waves.
    pub(super) time_width: usize,
    /// The width of the vector of the prompt as a whole.
    pub(crate) pooled_width: usize,
}

/// The entry for transformers' layers.
const LAYERS: &str = "transformer_layers_per_block";

/// How many sizes XL is told.
pub(super) const SIZES: usize = 6;

/// One number for all levels, or one for each.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum PerLevel<T> {
    One(T),
    Each(Vec<T>),
}

impl<T: Copy> PerLevel<T> {
    fn at(&self, field: &'static str, level: usize, levels: usize) -> Result<T, ArchError> {
        match self {
            Self::One(number) => Ok(*number),
            Self::Each(numbers) if numbers.len() == levels => Ok(numbers[level]),
            Self::Each(numbers) => {
                Err(bad(field, format!("{} numbers", numbers.len()), format!("there are {levels} levels")))
            }
        }
    }
}

/// The file, with what it means where it says nothing.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct File {
    in_channels: usize,
    out_channels: usize,
    sample_size: Option<PerLevel<usize>>,
    block_out_channels: Vec<usize>,
    down_block_types: Vec<String>,
    mid_block_type: Option<String>,
    up_block_types: Vec<String>,
    layers_per_block: PerLevel<usize>,
    attention_head_dim: PerLevel<usize>,
    cross_attention_dim: PerLevel<usize>,
    transformer_layers_per_block: PerLevel<usize>,
    norm_num_groups: usize,
    norm_eps: f64,
    use_linear_projection: bool,
    flip_sin_to_cos: bool,
    freq_shift: f32,
    addition_embed_type: Option<String>,
    addition_time_embed_dim: Option<usize>,
    projection_class_embeddings_input_dim: Option<usize>,
    time_cond_proj_dim: Option<usize>,
    /// Everything else: what would change the network has to be what it is here.
    #[serde(flatten)]
    others: serde_json::Map<String, serde_json::Value>,
}

impl Default for File {
    fn default() -> Self {
        let types = |names: [&str; 4]| names.map(str::to_owned).to_vec();
        let (down, up) = ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D");
        Self {
            in_channels: 4,
            out_channels: 4,
            sample_size: None,
            block_out_channels: vec![320, 640, 1280, 1280],
            down_block_types: types([down, down, down, "DownBlock2D"]),
            mid_block_type: Some("UNetMidBlock2DCrossAttn".to_owned()),
            up_block_types: types(["UpBlock2D", up, up, up]),
            layers_per_block: PerLevel::One(2),
            attention_head_dim: PerLevel::One(8),
            cross_attention_dim: PerLevel::One(1280),
            transformer_layers_per_block: PerLevel::One(1),
            norm_num_groups: 32,
            norm_eps: 1e-5,
            use_linear_projection: false,
            flip_sin_to_cos: true,
            freq_shift: 0.0,
            addition_embed_type: None,
            addition_time_embed_dim: None,
            projection_class_embeddings_input_dim: None,
            time_cond_proj_dim: None,
            others: serde_json::Map::new(),
        }
    }
}

/// Options that change the network, and the one value of each that is implemented.
const ONLY: &[(&str, &str)] = &[
    ("act_fn", "\"silu\""),
    ("attention_type", "\"default\""),
    ("center_input_sample", "false"),
    ("class_embed_type", "null"),
    ("class_embeddings_concat", "false"),
    ("conv_in_kernel", "3"),
    ("conv_out_kernel", "3"),
    ("cross_attention_norm", "null"),
    ("downsample_padding", "1"),
    ("dual_cross_attention", "false"),
    ("encoder_hid_dim", "null"),
    ("encoder_hid_dim_type", "null"),
    ("mid_block_only_cross_attention", "null"),
    ("num_attention_heads", "null"),
    ("num_class_embeds", "null"),
    ("only_cross_attention", "false"),
    ("resnet_skip_time_act", "false"),
    ("resnet_time_scale_shift", "\"default\""),
    ("reverse_transformer_layers_per_block", "null"),
    ("time_embedding_act_fn", "null"),
    ("time_embedding_dim", "null"),
    ("time_embedding_type", "\"positional\""),
    ("timestep_post_act", "null"),
];

/// Options that are numbers, and must be 1.
const ONES: &[&str] = &["mid_block_scale_factor", "resnet_out_scale_factor"];

impl UnetConfig {
    /// Reads and checks `config.json` of the folder of the network.
    ///
    /// # Errors
    ///
    /// [`ArchError`] for a missing or malformed file, options that are not implemented and numbers out of bounds.
    pub(crate) fn read(folder: &ModelFolder) -> Result<Self, ArchError> {
        Self::of(&read_required::<File>(folder, "config.json")?)
    }

    fn of(file: &File) -> Result<Self, ArchError> {
        file.check_options()?;
        let levels = file.levels()?;
        let across = file.cross_attention_dim.at("cross_attention_dim", 0, levels.len())?;
        if let PerLevel::Each(widths) = &file.cross_attention_dim
            && widths.iter().any(|width| *width != across)
        {
            return Err(bad("cross_attention_dim", format!("{widths:?}"), "all levels have one".to_owned()));
        }
        let sample_size = match &file.sample_size {
            None => 64,
            Some(PerLevel::One(side)) => *side,
            Some(PerLevel::Each(sides)) => sides.iter().copied().max().unwrap_or(0),
        };
        let middle = match file.mid_block_type.as_deref() {
            None => None,
            // As many as the last level has or would have.
            Some("UNetMidBlock2DCrossAttn") => {
                Some(file.transformer_layers_per_block.at(LAYERS, levels.len() - 1, levels.len())?)
            }
            Some(other) => {
                return Err(not_supported("mid_block_type", other, &["UNetMidBlock2DCrossAttn"]));
            }
        };
        let config = Self {
            in_channels: file.in_channels,
            out_channels: file.out_channels,
            sample_size,
            cross_attention_dim: across,
            levels,
            middle,
            groups: file.norm_num_groups,
            eps: file.norm_eps,
            linear_projection: file.use_linear_projection,
            flip_sin_to_cos: file.flip_sin_to_cos,
            freq_shift: file.freq_shift,
            guidance_width: file.time_cond_proj_dim,
            addition: file.addition()?,
        };
        config.check()?;
        Ok(config)
    }

    /// How many numbers the time has become.
    pub(super) fn time_width(&self) -> usize {
        4 * self.levels[0].channels
    }

    /// The last level: the smallest pictures.
    pub(super) fn lowest(&self) -> Level {
        self.levels[self.levels.len() - 1]
    }

    fn check(&self) -> Result<(), ArchError> {
        within("in_channels", self.in_channels, 1..=64)?;
        within("out_channels", self.out_channels, 1..=64)?;
        within("sample_size", self.sample_size, 1..=1024)?;
        within("cross_attention_dim", self.cross_attention_dim, 1..=16_384)?;
        within("norm_num_groups", self.groups, 1..=1024)?;
        epsilon_within(self.eps)?;
        within(LAYERS, self.middle.unwrap_or(0), 0..=64)?;
        if let Some(width) = self.guidance_width {
            within("time_cond_proj_dim", width, 4..=16_384)?;
        }
        if !(0.0..=1.0).contains(&self.freq_shift) {
            return Err(bad("freq_shift", self.freq_shift, "it must be in 0..=1".to_owned()));
        }
        for level in &self.levels {
            within("block_out_channels", level.channels, 4..=16_384)?;
            within("layers_per_block", level.blocks, 1..=16)?;
            within(LAYERS, level.down.max(level.up), 0..=64)?;
            within("attention_head_dim", level.heads, 1..=level.channels)?;
            for (field, parts) in [("norm_num_groups", self.groups), ("attention_head_dim", level.heads)] {
                if !level.channels.is_multiple_of(parts) {
                    return Err(bad(field, parts, format!("it must divide channels, {}", level.channels)));
                }
            }
        }
        Ok(())
    }
}

impl File {
    fn check_options(&self) -> Result<(), ArchError> {
        for (name, only) in ONLY {
            let found = self.others.get(*name).map_or_else(|| (*only).to_owned(), ToString::to_string);
            if found != *only {
                return Err(not_supported(name, &found, &[only]));
            }
        }
        for name in ONES {
            let found = self.others.get(*name).map_or(Some(1.0), serde_json::Value::as_f64);
            if found != Some(1.0) {
                return Err(not_supported(name, &format!("{found:?}"), &["1"]));
            }
        }
        Ok(())
    }

    fn levels(&self) -> Result<Vec<Level>, ArchError> {
        let count = self.block_out_channels.len();
        within("block_out_channels", count, 1..=8)?;
        for (field, types) in
            [("down_block_types", &self.down_block_types), ("up_block_types", &self.up_block_types)]
        {
            within(field, types.len(), count..=count)?;
        }
        (0..count).map(|level| self.level(level, count)).collect()
    }

    fn level(&self, level: usize, count: usize) -> Result<Level, ArchError> {
        let layers = self.transformer_layers_per_block.at(LAYERS, level, count)?;
        // The way up begins with the smallest pictures.
        let [down, up] = [
            ("down_block_types", &self.down_block_types[level], ["DownBlock2D", "CrossAttnDownBlock2D"]),
            ("up_block_types", &self.up_block_types[count - 1 - level], ["UpBlock2D", "CrossAttnUpBlock2D"]),
        ]
        .map(|(field, found, [plain, across])| {
            if found == plain {
                Ok(0)
            } else if found == across {
                Ok(layers)
            } else {
                Err(not_supported(field, found, &[plain, across]))
            }
        });
        Ok(Level {
            channels: self.block_out_channels[level],
            blocks: self.layers_per_block.at("layers_per_block", level, count)?,
            // The file calls it the width of a head, and means how many there are: a mistake of long ago that all
            // files have kept.
            heads: self.attention_head_dim.at("attention_head_dim", level, count)?,
            down: down?,
            up: up?,
        })
    }

    fn addition(&self) -> Result<Option<Addition>, ArchError> {
        match self.addition_embed_type.as_deref() {
            None => return Ok(None),
            Some("text_time") => {}
            Some(other) => return Err(not_supported("addition_embed_type", other, &["text_time"])),
        }
        let time_width = self.addition_time_embed_dim.unwrap_or(0);
        within("addition_time_embed_dim", time_width, 4..=4096)?;
        let all = self.projection_class_embeddings_input_dim.unwrap_or(0);
        let sizes = SIZES * time_width;
        within("projection_class_embeddings_input_dim", all, sizes + 1..=sizes + 16_384)?;
        Ok(Some(Addition { time_width, pooled_width: all - sizes }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(json: serde_json::Value) -> Result<UnetConfig, ArchError> {
        UnetConfig::of(&serde_json::from_value(json).unwrap())
    }

    #[test]
    fn what_a_file_leaves_out_is_stable_diffusion_1() {
        let config = config(json!({"cross_attention_dim": 768})).unwrap();
        let channels: Vec<_> =
            config.levels.iter().map(|level| (level.channels, level.down, level.up)).collect();
        assert_eq!(channels, [(320, 1, 1), (640, 1, 1), (1280, 1, 1), (1280, 0, 0)]);
        assert_eq!((config.time_width(), config.sample_size), (1280, 64));
    }

    #[test]
    fn xl_has_sizes_and_a_pooled_vector() {
        let config = config(json!({
            "block_out_channels": [320, 640, 1280], "attention_head_dim": [5, 10, 20],
            "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
            "transformer_layers_per_block": [1, 2, 10], "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816
        }))
        .unwrap();
        assert_eq!(config.addition.unwrap().pooled_width, 1280);
        let layers: Vec<_> = config.levels.iter().map(|level| (level.down, level.up)).collect();
        assert_eq!(layers, [(0, 0), (2, 2), (10, 10)]);
    }

    #[test]
    fn what_is_not_implemented_or_absurd_is_refused_by_name() {
        for (wrong, named) in [
            (json!({"act_fn": "gelu"}), "act_fn"),
            (json!({"class_embed_type": "timestep"}), "class_embed_type"),
            (json!({"mid_block_scale_factor": 2}), "mid_block_scale_factor"),
            (json!({"addition_embed_type": "image"}), "addition_embed_type"),
            (json!({"down_block_types": ["A", "B", "C", "D"]}), "down_block_types"),
            (json!({"up_block_types": []}), "up_block_types"),
            (json!({"norm_num_groups": 0}), "norm_num_groups"),
            (json!({"norm_num_groups": 33}), "norm_num_groups"),
            (json!({"attention_head_dim": 0}), "attention_head_dim"),
            (json!({"attention_head_dim": [1, 2]}), "attention_head_dim"),
            (json!({"layers_per_block": 1000}), "layers_per_block"),
            (json!({"block_out_channels": []}), "block_out_channels"),
            (json!({"cross_attention_dim": [1, 2, 3, 4]}), "cross_attention_dim"),
            (json!({"norm_eps": -1.0}), "layer_norm_eps"),
            (json!({"transformer_layers_per_block": [1, 1, 1, u64::MAX]}), "transformer_layers_per_block"),
            (json!({"time_cond_proj_dim": 3}), "time_cond_proj_dim"),
            (json!({"sample_size": 0}), "sample_size"),
            (json!({"mid_block_type": "UNetMidBlock3D"}), "mid_block_type"),
            (
                json!({"addition_embed_type": "text_time", "addition_time_embed_dim": 256,
                       "projection_class_embeddings_input_dim": 5}),
                "projection_class_embeddings_input_dim",
            ),
        ] {
            let error = config(wrong.clone()).unwrap_err().to_string();
            assert!(error.contains(named), "{wrong}: {error}");
        }
    }
}
