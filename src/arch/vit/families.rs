//! The families' `config.json`, as transformers 4 and 5 write them. What only matters for training is left unread;
//! what a file leaves out is what transformers takes it for.
//!
//! CLIP: Radford et al., arXiv 2103.00020. `SigLIP`: Zhai et al., arXiv 2303.15343; `SigLIP` 2, arXiv 2502.14786, is
//! the same network where pictures have one size, and nearly the same where they keep their shape (`NaFlex`).
//! `DINOv2`: Oquab et al., arXiv 2304.07193; registers: Darcet et al., arXiv 2309.16588. Reference:
//! `modeling_clip.py`, `modeling_siglip.py`, `modeling_siglip2.py`, `modeling_dinov2.py`,
//! `modeling_dinov2_with_registers.py` and `modeling_vit.py` of Hugging Face transformers.

use serde::Deserialize;
use serde_json::Value;

use super::config::{Before, Head, PatchOrder, Places, Sizes, VitConfig};
use super::layout::Layout;
use crate::arch::activation::activation_called;
use crate::arch::bounds::{bad, not_supported, within};
use crate::arch::{ArchError, Architecture, Bias, read_required};
use crate::image::ProcessorKind;
use crate::weights::ModelFolder;

/// By their `model_type`.
pub(crate) const FAMILIES: [&str; 6] =
    ["clip", "siglip", "siglip2", "dinov2", "dinov2_with_registers", "vit"];

/// Whether it is a network that reads pictures.
pub(crate) fn is_vit(family: Architecture) -> bool {
    matches!(
        family,
        Architecture::Clip
            | Architecture::Siglip
            | Architecture::Siglip2
            | Architecture::Dinov2
            | Architecture::Dinov2WithRegisters
            | Architecture::Vit
    )
}

/// Reads `config.json` of a network of `family`; `None` for families that do not read pictures.
pub(crate) fn read(folder: &ModelFolder, family: Architecture) -> Result<Option<VitConfig>, ArchError> {
    const FILE: &str = "config.json";
    Ok(Some(match family {
        Architecture::Clip => read_required::<ClipConfig>(folder, FILE)?.lower()?,
        Architecture::Siglip => read_required::<SiglipConfig>(folder, FILE)?.lower()?,
        Architecture::Siglip2 => read_required::<SiglipConfig>(folder, FILE)?.lower_flexible()?,
        Architecture::Dinov2 | Architecture::Dinov2WithRegisters => {
            read_required::<DinoConfig>(folder, FILE)?.lower(family)?
        }
        Architecture::Vit => read_required::<VitFile>(folder, FILE)?.lower()?,
        _ => return Ok(None),
    }))
}

/// The network that `vision_config` describes, of which the vectors of all tokens are wanted; its head, if any, is not
/// read.
pub(crate) fn read_tower(config: Option<&Value>) -> Result<VitConfig, ArchError> {
    let kind = config.and_then(|config| config["model_type"].as_str()).unwrap_or("clip_vision_model");
    let tower = parse_tower(config)?;
    let config = match kind {
        "clip_vision_model" => ClipConfig { vision_config: Some(tower), ..ClipConfig::default() }.lower()?,
        "siglip_vision_model" => {
            let tower = Tower { vision_use_head: None, ..tower };
            SiglipConfig { vision_config: Some(tower), alone: Tower::default() }.lower()?
        }
        other => {
            return Err(not_supported(
                "vision_config.model_type",
                other,
                &["clip_vision_model", "siglip_vision_model"],
            ));
        }
    };
    Ok(VitConfig { head: Head::Tokens { normalised: true }, ..config })
}

/// The same of `SigLIP` as Idefics 3 and `SmolVLM` have it, with sizes of their own where the file says none.
pub(crate) fn read_idefics_tower(config: Option<&Value>) -> Result<VitConfig, ArchError> {
    let mut tower = parse_tower(config)?;
    tower.hidden_size.get_or_insert(1152);
    tower.num_attention_heads.get_or_insert(16);
    tower.patch_size.get_or_insert(Side::One(32));
    tower.vision_use_head = None;
    let config = SiglipConfig { vision_config: Some(tower), alone: Tower::default() }.lower()?;
    Ok(VitConfig { head: Head::Tokens { normalised: true }, ..config })
}

/// The same of BLIP, with sizes of its own where the file says none.
pub(crate) fn read_blip_tower(config: Option<&Value>) -> Result<VitConfig, ArchError> {
    let mut tower = parse_tower(config)?;
    tower.image_size.get_or_insert(Side::One(384));
    let (eps, activation) = (tower.layer_norm_eps.unwrap_or(1e-5), tower.hidden_act.as_deref());
    let (sizes, kind) = (tower.sizes(16)?, ProcessorKind::Blip);
    let activation = activation.unwrap_or("gelu");
    let config = VitConfig::like_vit(Architecture::Blip, sizes, eps, activation, &Layout::BLIP, kind)?;
    Ok(VitConfig { head: Head::Tokens { normalised: true }, ..config })
}

fn parse_tower(config: Option<&Value>) -> Result<Tower, ArchError> {
    let Some(config) = config.filter(|config| !config.is_null()) else { return Ok(Tower::default()) };
    let parsed = serde_json::from_value(config.clone());
    parsed.map_err(|error| bad("vision_config", error, "it must be readable".to_owned()))
}

/// A side of a picture or a patch; both sides, where they are the same.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
enum Side {
    One(usize),
    Both([usize; 2]),
}

impl Side {
    fn square(self, field: &'static str) -> Result<usize, ArchError> {
        match self {
            Self::One(side) => Ok(side),
            Self::Both([height, width]) if height == width => Ok(height),
            Self::Both(sides) => {
                Err(bad(field, format!("{sides:?}"), "only squares are supported".to_owned()))
            }
        }
    }
}

/// What the families say alike, and three things that only CLIP and `SigLIP` say: a file of its own or a part of one.
#[derive(Debug, Default, Deserialize)]
struct Tower {
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    projection_dim: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_channels: Option<usize>,
    image_size: Option<Side>,
    patch_size: Option<Side>,
    hidden_act: Option<String>,
    layer_norm_eps: Option<f64>,
    vision_use_head: Option<bool>,
    num_patches: Option<usize>,
}

impl Tower {
    /// With transformers' defaults, which differ in the size of a patch.
    fn sizes(&self, patch_size: usize) -> Result<Sizes, ArchError> {
        Ok(Sizes {
            hidden_size: self.hidden_size.unwrap_or(768),
            num_hidden_layers: self.num_hidden_layers.unwrap_or(12),
            num_attention_heads: self.num_attention_heads.unwrap_or(12),
            intermediate_size: self.intermediate_size.unwrap_or(3072),
            num_channels: self.num_channels.unwrap_or(3),
            image_size: self.image_size.unwrap_or(Side::One(224)).square("image_size")?,
            patch_size: self.patch_size.unwrap_or(Side::One(patch_size)).square("patch_size")?,
        })
    }
}

/// CLIP: both parts, or the one that reads pictures alone.
#[derive(Debug, Default, Deserialize)]
struct ClipConfig {
    vision_config: Option<Tower>,
    /// In older files what the other one should have been.
    vision_config_dict: Option<Tower>,
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(flatten)]
    alone: Tower,
}

impl ClipConfig {
    fn lower(self) -> Result<VitConfig, ArchError> {
        let projects = |class: &String| class == "CLIPVisionModelWithProjection";
        let projection = self.alone.projection_dim.unwrap_or(512);
        let (tower, projection) = match self.vision_config_dict.or(self.vision_config) {
            Some(tower) => (tower, Some(projection)),
            None => (self.alone, self.architectures.iter().any(projects).then_some(projection)),
        };
        if let Some(projection) = projection {
            within("projection_dim", projection, 1..=16_384)?;
        }
        let (eps, activation) = (tower.layer_norm_eps.unwrap_or(1e-5), tower.hidden_act.as_deref());
        let activation = activation.unwrap_or("quick_gelu");
        let (sizes, kind) = (tower.sizes(32)?, ProcessorKind::Clip);
        let config = VitConfig::like_vit(Architecture::Clip, sizes, eps, activation, &Layout::CLIP, kind)?;
        Ok(VitConfig {
            patch_bias: Bias::Absent,
            norm_first: true,
            head: Head::Class { projection },
            ..config
        })
    }
}

/// `SigLIP`: both parts, or the one that reads pictures alone.
#[derive(Debug, Deserialize)]
struct SiglipConfig {
    vision_config: Option<Tower>,
    #[serde(flatten)]
    alone: Tower,
}

impl SiglipConfig {
    fn lower(self) -> Result<VitConfig, ArchError> {
        let tower = self.vision_config.unwrap_or(self.alone);
        if tower.vision_use_head == Some(false) {
            let expected = "without its head it gives no one vector for a picture".to_owned();
            return Err(bad("vision_use_head", false, expected));
        }
        let (eps, activation) = (tower.layer_norm_eps.unwrap_or(1e-6), tower.hidden_act.as_deref());
        let activation = activation.unwrap_or("gelu_pytorch_tanh");
        let (sizes, kind) = (tower.sizes(16)?, ProcessorKind::Siglip);
        let config = VitConfig::like_vit(Architecture::Siglip, sizes, eps, activation, &Layout::CLIP, kind)?;
        let before = Before { class: false, registers: 0 };
        Ok(VitConfig { before, head: Head::Probe, ..config })
    }

    /// `SigLIP` 2 for pictures of any shape: it has so many places instead of a size of pictures, which make a
    /// square.
    fn lower_flexible(mut self) -> Result<VitConfig, ArchError> {
        let tower = self.vision_config.as_mut().unwrap_or(&mut self.alone);
        let patch = tower.patch_size.unwrap_or(Side::One(16)).square("patch_size")?;
        let patches = tower.num_patches.unwrap_or(256);
        within("patch_size", patch, 1..=256)?;
        within("num_patches", patches, 1..=8192)?;
        let side = patches.isqrt();
        if side * side != patches {
            return Err(bad("num_patches", patches, "it must be the square of a number".to_owned()));
        }
        tower.image_size = Some(Side::One(side * patch));
        Ok(VitConfig {
            architecture: Architecture::Siglip2,
            patch_order: PatchOrder::Pixels,
            places: Places::Linear,
            processor: ProcessorKind::Siglip2,
            ..self.lower()?
        })
    }
}

#[derive(Debug, Deserialize)]
struct DinoConfig {
    mlp_ratio: Option<f64>,
    qkv_bias: Option<bool>,
    use_swiglu_ffn: Option<bool>,
    num_register_tokens: Option<usize>,
    #[serde(flatten)]
    network: Tower,
}

impl DinoConfig {
    fn lower(self, architecture: Architecture) -> Result<VitConfig, ArchError> {
        let with_registers = architecture == Architecture::Dinov2WithRegisters;
        let gated = self.use_swiglu_ffn.unwrap_or(false);
        let layout = match (with_registers, gated) {
            (false, false) => &Layout::DINO,
            (false, true) => &Layout::DINO_GATED,
            (true, false) => &Layout::DINO_REGISTERS,
            (true, true) => &Layout::DINO_REGISTERS_GATED,
        };
        let registers = if with_registers { self.num_register_tokens.unwrap_or(4) } else { 0 };
        within("num_register_tokens", registers, 0..=1024)?;
        let sizes = self.network.sizes(if with_registers { 16 } else { 14 })?;
        let intermediate_size = inner_size(sizes.hidden_size, self.mlp_ratio.unwrap_or(4.0), gated)?;
        let sizes = Sizes { intermediate_size, ..sizes };
        let (eps, activation) = (self.network.layer_norm_eps.unwrap_or(1e-6), &self.network.hidden_act);
        let activation = activation.as_deref().unwrap_or("gelu");
        let config = VitConfig::like_vit(architecture, sizes, eps, activation, layout, ProcessorKind::Bit)?;
        Ok(VitConfig {
            qkv_bias: self.qkv_bias.unwrap_or(true).into(),
            activation: if gated { activation_called("silu")? } else { config.activation },
            gated,
            layer_scale: true,
            before: Before { class: true, registers },
            places: Places::Cubic { antialias: with_registers },
            ..config
        })
    }
}

/// The width inside the feed-forward part: a multiple of the width outside; with a gate two thirds of that, up to
/// the next multiple of 8.
fn inner_size(hidden_size: usize, ratio: f64, gated: bool) -> Result<usize, ArchError> {
    if !(0.0..=64.0).contains(&ratio) {
        return Err(bad("mlp_ratio", ratio, "it must be in 0..=64".to_owned()));
    }
    within("hidden_size", hidden_size, 1..=16_384)?;
    let inner = (hidden_size as f64 * ratio) as usize;
    Ok(if gated { ((inner as f64 * 2.0 / 3.0) as usize).next_multiple_of(8) } else { inner })
}

#[derive(Debug, Deserialize)]
struct VitFile {
    qkv_bias: Option<bool>,
    pooler_output_size: Option<usize>,
    pooler_act: Option<String>,
    #[serde(flatten)]
    network: Tower,
}

impl VitFile {
    fn lower(self) -> Result<VitConfig, ArchError> {
        let sizes = self.network.sizes(16)?;
        let (eps, activation) = (self.network.layer_norm_eps.unwrap_or(1e-12), &self.network.hidden_act);
        let activation = activation.as_deref().unwrap_or("gelu");
        let kind = ProcessorKind::Vit;
        let config = VitConfig::like_vit(Architecture::Vit, sizes, eps, activation, &Layout::VIT, kind)?;
        let size = self.pooler_output_size.filter(|size| *size != 0).unwrap_or(config.hidden_size);
        within("pooler_output_size", size, 1..=16_384)?;
        let pooler = activation_called(self.pooler_act.as_deref().unwrap_or("tanh"))?;
        let head = Head::Pooler { size, activation: pooler };
        Ok(VitConfig { qkv_bias: self.qkv_bias.unwrap_or(true).into(), head, ..config })
    }
}
