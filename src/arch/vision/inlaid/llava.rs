//! `LLaVA` 1.5: Liu et al., "Improved Baselines with Visual Instruction Tuning", arXiv 2310.03744. Reference:
//! `modeling_llava.py` and `processing_llava.py` of transformers.
//!
//! The patches of a layer before the last of CLIP or `SigLIP`, through two linear layers.

use std::num::NonZeroUsize;

use candle_core::{Result, Tensor};
use serde::Deserialize;
use serde_json::Value;

use super::family::{Eyes, Family, Prepared, Rows};
use super::projector::Projector;
use crate::arch::bounds::{bad, not_supported};
use crate::arch::vision::patches::{fixed_preprocessor, load_tower};
use crate::arch::vit::{self, Grid, Head, VitConfig};
use crate::arch::{ArchError, Bias, Scope, read_required};
use crate::image::{Picture, PixelValues, Preprocessor};
use crate::weights::ModelFolder;

/// `config.json`.
#[derive(Debug, Deserialize)]
struct LlavaConfig {
    vision_config: Option<Value>,
    image_token_id: Option<u32>,
    /// The older name of it.
    image_token_index: Option<u32>,
    projector_hidden_act: Option<String>,
    multimodal_projector_bias: Option<bool>,
    vision_feature_layer: Option<Layers>,
    vision_feature_select_strategy: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Layers {
    One(i64),
    Several(Vec<i64>),
}

/// The family as one folder describes it.
#[derive(Debug)]
pub(super) struct Llava {
    tower: VitConfig,
    preprocessor: Preprocessor,
    image_token: u32,
    /// How wide the decoder's vectors are.
    hidden_size: usize,
    activation: String,
    bias: Bias,
    /// Whether the first token, which stands for the whole picture in CLIP, is left out.
    skips_first: bool,
    /// How many rows a picture has.
    rows: usize,
}

impl Llava {
    /// For a decoder whose vectors have `hidden_size` numbers.
    pub(super) fn read(folder: &ModelFolder, hidden_size: usize) -> std::result::Result<Self, ArchError> {
        let config: LlavaConfig = read_required(folder, "config.json")?;
        let mut tower = vit::read_tower(config.vision_config.as_ref())?;
        let layer = feature_layer(config.vision_feature_layer, tower.num_hidden_layers)?;
        (tower.num_hidden_layers, tower.head) = (layer, Head::Tokens { normalised: false });
        let skips_first = match config.vision_feature_select_strategy.as_deref().unwrap_or("default") {
            "default" => true,
            "full" => false,
            other => {
                return Err(not_supported("vision_feature_select_strategy", other, &["default", "full"]));
            }
        };
        let (preprocessor, side) = (fixed_preprocessor(folder, &tower)?, tower.image_size);
        let tokens = Grid::of(side, side, tower.patch_size).patches() + tower.tokens_before();
        let rows = tokens - usize::from(skips_first);
        if rows == 0 {
            return Err(bad(
                "vision_config.image_size",
                side,
                "there must be more than one patch".to_owned(),
            ));
        }
        Ok(Self {
            tower,
            preprocessor,
            image_token: config.image_token_id.or(config.image_token_index).unwrap_or(32_000),
            hidden_size,
            activation: config.projector_hidden_act.unwrap_or_else(|| "gelu".to_owned()),
            bias: config.multimodal_projector_bias.unwrap_or(true).into(),
            skips_first,
            rows,
        })
    }
}

/// How many layers are computed: the second last one's output counts, unless the file says another.
fn feature_layer(wanted: Option<Layers>, layers: usize) -> std::result::Result<usize, ArchError> {
    let wanted = match wanted {
        None => -2,
        Some(Layers::One(layer)) => layer,
        Some(Layers::Several(several)) => {
            return Err(not_supported("vision_feature_layer", &format!("{several:?}"), &["one layer"]));
        }
    };
    let number = usize::try_from(wanted.unsigned_abs()).unwrap_or(usize::MAX);
    let layer = if wanted < 0 { (layers + 1).checked_sub(number) } else { Some(number) };
    let layer = layer.filter(|layer| (1..=layers).contains(layer));
    layer.ok_or_else(|| {
        bad("vision_feature_layer", wanted, format!("there are {layers} layers, and one at least is needed"))
    })
}

impl Family for Llava {
    fn image_token(&self) -> u32 {
        self.image_token
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
        [_, rows]: [usize; 2],
        token: &dyn Fn(u32) -> Option<String>,
    ) -> std::result::Result<String, u32> {
        Ok(token(self.image_token).ok_or(self.image_token)?.repeat(rows))
    }

    fn load(&self, root: &Scope<'_>) -> std::result::Result<Box<dyn Eyes>, ArchError> {
        let root = root.sub_if("model", "multi_modal_projector.linear_1.weight");
        let tower = load_tower(&root.sub("vision_tower"), &self.tower)?;
        let (inputs, outputs) = (self.tower.hidden_size, self.hidden_size);
        let scope = root.sub("multi_modal_projector");
        let projector = Projector::load(&scope, inputs, outputs, self.bias, &self.activation)?;
        Ok(Box::new(LlavaEyes { tower, projector, skips: usize::from(self.skips_first) }))
    }

    fn pass_numbers(&self, threads: NonZeroUsize) -> u64 {
        let tokens = self.rows + usize::from(self.skips_first);
        let projected = (2 * tokens * self.hidden_size) as u64;
        self.tower.pass_numbers(tokens, tokens, threads).saturating_add(projected)
    }

    fn tower(&self) -> (&'static str, usize) {
        (self.tower.architecture.model_type(), self.tower.patch_size)
    }
}

#[derive(Debug)]
struct LlavaEyes {
    tower: vit::Network,
    projector: Projector,
    /// How many tokens of each picture are left out.
    skips: usize,
}

impl Eyes for LlavaEyes {
    fn see(&self, view: &PixelValues) -> Result<Tensor> {
        let tokens = self.tower.forward(&[view])?;
        let rows = tokens.dim(0)? - self.skips;
        self.projector.forward(&tokens.narrow(0, self.skips, rows)?.contiguous()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_counted_from_either_end() {
        let layer = |wanted| feature_layer(Some(Layers::One(wanted)), 4).ok();
        assert_eq!(
            [layer(-1), layer(-2), layer(-4), layer(1), layer(4)].map(Option::unwrap),
            [4, 3, 1, 1, 4]
        );
        for wrong in [0, 5, -5, -6, i64::MIN, i64::MAX] {
            assert_eq!(layer(wrong), None, "{wrong}");
        }
        assert_eq!(feature_layer(None, 4).ok(), Some(3));
        assert!(feature_layer(Some(Layers::Several(vec![-1, -2])), 4).is_err());
    }
}
