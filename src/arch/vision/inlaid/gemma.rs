//! Gemma 3, arXiv 2503.19786, and `PaliGemma`, Beyer et al., arXiv 2407.07726, with its second version. Reference:
//! `modeling_gemma3.py`, `modeling_paligemma.py` and their processors of transformers.
//!
//! Both read pictures with `SigLIP`. Gemma 3 makes one row of the mean of a square of patches, and rows of a picture
//! see each other; `PaliGemma` makes a row of each patch, and all of a prompt sees all of it.

use std::num::NonZeroUsize;

use candle_core::{Result, Tensor};
use serde::Deserialize;
use serde_json::Value;

use super::family::{Controls, Eyes, Family, Prepared, Rows, Together};
use crate::arch::bounds::{bad, within};
use crate::arch::vision::patches::{fixed_preprocessor, load_tower, squares};
use crate::arch::vit::{self, VitConfig};
use crate::arch::{ArchError, Bias, Scope, read_required};
use crate::image::{Picture, PixelValues, Preprocessor};
use crate::kernels::{Linear, Norm};
use crate::weights::ModelFolder;

/// `config.json` of either. What newer files call an id, older ones call an index.
#[derive(Debug, Deserialize)]
struct GemmaConfig {
    vision_config: Option<Value>,
    image_token_id: Option<u32>,
    image_token_index: Option<u32>,
    boi_token_id: Option<u32>,
    boi_token_index: Option<u32>,
    eoi_token_id: Option<u32>,
    eoi_token_index: Option<u32>,
    mm_tokens_per_image: Option<usize>,
}

/// One of the two as one folder describes it.
#[derive(Debug)]
pub(super) struct GemmaVision {
    tower: VitConfig,
    preprocessor: Preprocessor,
    image_token: u32,
    hidden_size: usize,
    /// Rows of a picture.
    rows: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// What begins a picture in a prompt, and what ends it; so many by so many patches become one row.
    Gemma3 {
        begin: u32,
        end: u32,
        pooled: usize,
    },
    PaliGemma,
}

impl GemmaVision {
    pub(super) fn gemma3(folder: &ModelFolder, hidden_size: usize) -> std::result::Result<Self, ArchError> {
        let config: GemmaConfig = read_required(folder, "config.json")?;
        let begin = config.boi_token_index.or(config.boi_token_id).unwrap_or(255_999);
        let end = config.eoi_token_index.or(config.eoi_token_id).unwrap_or(256_000);
        let rows = config.mm_tokens_per_image.unwrap_or(256);
        within("mm_tokens_per_image", rows, 1..=1 << 16)?;
        let side = rows.isqrt();
        let image_token = config.image_token_index.or(config.image_token_id).unwrap_or(262_144);
        let gemma = Self::read(folder, &config, hidden_size, image_token, rows)?;
        let patches = gemma.tower.trained_side();
        if side * side != rows || !patches.is_multiple_of(side) {
            let expected = format!("it must be a square that divides the {patches} patches of a side");
            return Err(bad("mm_tokens_per_image", rows, expected));
        }
        Ok(Self { kind: Kind::Gemma3 { begin, end, pooled: patches / side }, ..gemma })
    }

    pub(super) fn paligemma(
        folder: &ModelFolder,
        hidden_size: usize,
    ) -> std::result::Result<Self, ArchError> {
        let config: GemmaConfig = read_required(folder, "config.json")?;
        let image_token = config.image_token_index.or(config.image_token_id).unwrap_or(256_000);
        let gemma = Self::read(folder, &config, hidden_size, image_token, 0)?;
        let patches = gemma.tower.trained_side();
        Ok(Self { rows: patches * patches, ..gemma })
    }

    fn read(
        folder: &ModelFolder,
        config: &GemmaConfig,
        hidden_size: usize,
        image_token: u32,
        rows: usize,
    ) -> std::result::Result<Self, ArchError> {
        let mut vision = config.vision_config.clone().unwrap_or_default();
        if vision.is_object() && vision["model_type"].is_null() {
            vision["model_type"] = "siglip_vision_model".into();
        }
        let tower = vit::read_tower(Some(&vision))?;
        let preprocessor = fixed_preprocessor(folder, &tower)?;
        Ok(Self { tower, preprocessor, image_token, hidden_size, rows, kind: Kind::PaliGemma })
    }
}

impl Family for GemmaVision {
    fn image_token(&self) -> u32 {
        self.image_token
    }

    fn placeholder(&self) -> u32 {
        match self.kind {
            Kind::Gemma3 { begin, .. } => begin,
            Kind::PaliGemma => self.image_token,
        }
    }

    fn controls(&self) -> Controls {
        match self.kind {
            Kind::Gemma3 { begin, end, .. } => Controls { ids: vec![begin, end], texts: Vec::new() },
            Kind::PaliGemma => Controls::default(),
        }
    }

    fn prepare(&self, picture: &Picture) -> std::result::Result<Prepared, String> {
        let views = vec![self.preprocessor.apply(picture)];
        Ok(Prepared { views, shape: [1, self.rows], rows: self.rows })
    }

    fn rows(&self) -> Rows {
        Rows { fewest: self.rows, usual: self.rows }
    }

    fn filling(
        &self,
        _: [usize; 2],
        token: &dyn Fn(u32) -> Option<String>,
    ) -> std::result::Result<String, u32> {
        let written = |id| token(id).ok_or(id);
        let rows = written(self.image_token)?.repeat(self.rows);
        Ok(match self.kind {
            Kind::Gemma3 { begin, end, .. } => format!("\n\n{}{rows}{}\n\n", written(begin)?, written(end)?),
            Kind::PaliGemma => rows,
        })
    }

    fn together(&self) -> Together {
        match self.kind {
            Kind::Gemma3 { .. } => Together::Picture,
            Kind::PaliGemma => Together::Prompt,
        }
    }

    fn longest_together(&self, longest: usize) -> usize {
        match self.kind {
            Kind::Gemma3 { .. } => self.rows,
            // Two pictures and a long question; memory is taken for it.
            Kind::PaliGemma => longest.min(2 * self.rows + 1024),
        }
    }

    fn load(&self, root: &Scope<'_>) -> std::result::Result<Box<dyn Eyes>, ArchError> {
        let (width, hidden) = (self.tower.hidden_size, self.hidden_size);
        let known = match self.kind {
            Kind::Gemma3 { .. } => "multi_modal_projector.mm_input_projection_weight",
            Kind::PaliGemma => "multi_modal_projector.linear.weight",
        };
        let root = root.sub_if("model", known);
        let tower = load_tower(&root.sub("vision_tower"), &self.tower)?;
        let scope = root.sub("multi_modal_projector");
        let (pool, projection) = match self.kind {
            Kind::PaliGemma => (None, scope.linear("linear", width, hidden, Bias::Present)?),
            Kind::Gemma3 { pooled, .. } => {
                let norm = scope.tensor("mm_soft_emb_norm.weight", [width])?.affine(1.0, 1.0)?;
                let norm = Norm::rms(&norm, self.tower.norm_eps)?;
                let weight = scope.tensor("mm_input_projection_weight", [width, hidden])?.t()?;
                let projection = Linear::joined(&[weight.contiguous()?], &[], scope.precision())?;
                (Some(Pool { side: self.tower.trained_side(), pooled, norm }), projection)
            }
        };
        Ok(Box::new(GemmaEyes { tower, pool, projection }))
    }

    fn pass_numbers(&self, threads: NonZeroUsize) -> u64 {
        let tokens = self.tower.trained_side() * self.tower.trained_side();
        let projected = (2 * self.rows * self.hidden_size) as u64;
        self.tower.pass_numbers(tokens, tokens, threads).saturating_add(projected)
    }

    fn tower(&self) -> (&'static str, usize) {
        (self.tower.architecture.model_type(), self.tower.patch_size)
    }
}

#[derive(Debug)]
struct GemmaEyes {
    tower: vit::Network,
    pool: Option<Pool>,
    projection: Linear,
}

/// Squares of patches become their means, normalised.
#[derive(Debug)]
struct Pool {
    /// Patches of a side.
    side: usize,
    pooled: usize,
    norm: Norm,
}

impl Pool {
    /// `[patches, width]` to `[rows, width]`.
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let means = squares(xs, self.side, self.pooled)?.mean(1)?;
        self.norm.forward(&means.contiguous()?)
    }
}

impl Eyes for GemmaEyes {
    fn see(&self, view: &PixelValues) -> Result<Tensor> {
        let tokens = self.tower.forward(&[view])?;
        match &self.pool {
            Some(pool) => self.projection.forward(&pool.forward(&tokens)?),
            None => self.projection.forward(&tokens),
        }
    }
}
