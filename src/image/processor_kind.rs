//! What an image processor of transformers does where `preprocessor_config.json` is silent.

use super::preprocess::{Channels, Size};
use super::processor_config::PreprocessorError;
use super::resample::Resample;

pub(super) const CLIP_MEAN: Channels = [0.481_454_66, 0.457_827_5, 0.408_210_73];
pub(super) const CLIP_STD: Channels = [0.268_629_54, 0.261_302_58, 0.275_777_11];
pub(super) const HALVES: Channels = [0.5; 3];

/// The kinds of preprocessing, which differ in what they do where the file is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProcessorKind {
    Clip,
    Siglip,
    Siglip2,
    Gemma3,
    Bit,
    Vit,
    Blip,
}

impl ProcessorKind {
    /// By the class's name in transformers, whichever of its back ends that is of.
    pub(super) fn named(class: &str) -> Result<Self, PreprocessorError> {
        let family = class.strip_suffix("Fast").or_else(|| class.strip_suffix("Pil")).unwrap_or(class);
        let family =
            family.strip_suffix("ImageProcessor").or_else(|| family.strip_suffix("FeatureExtractor"));
        match family {
            Some("CLIP") => Ok(Self::Clip),
            Some("Siglip") => Ok(Self::Siglip),
            Some("Siglip2") => Ok(Self::Siglip2),
            Some("Gemma3") => Ok(Self::Gemma3),
            Some("Bit") => Ok(Self::Bit),
            Some("ViT") => Ok(Self::Vit),
            Some("Blip") => Ok(Self::Blip),
            _ => Err(PreprocessorError::Unsupported {
                what: "image_processor_type",
                found: class.chars().take(96).collect(),
                supported: "CLIP-, Siglip-, Siglip2-, Gemma3-, Bit-, ViT- and BlipImageProcessor, Fast or not",
            }),
        }
    }

    /// Whether a single number is the short side rather than both.
    pub(super) fn keeps_shape(self) -> bool {
        matches!(self, Self::Clip | Self::Bit)
    }

    pub(super) fn size(self) -> Size {
        match self {
            Self::Clip | Self::Bit => Size::ShortSide(224),
            Self::Siglip | Self::Siglip2 | Self::Gemma3 | Self::Vit => {
                Size::Exactly { height: 224, width: 224 }
            }
            Self::Blip => Size::Exactly { height: 384, width: 384 },
        }
    }

    pub(super) fn resample(self) -> Resample {
        match self {
            Self::Vit | Self::Siglip2 | Self::Gemma3 => Resample::Bilinear,
            Self::Clip | Self::Siglip | Self::Bit | Self::Blip => Resample::Bicubic,
        }
    }

    pub(super) fn channels(self) -> (Channels, Channels) {
        match self {
            Self::Clip | Self::Bit | Self::Blip => (CLIP_MEAN, CLIP_STD),
            Self::Siglip | Self::Siglip2 | Self::Gemma3 | Self::Vit => (HALVES, HALVES),
        }
    }
}
