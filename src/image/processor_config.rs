//! `preprocessor_config.json`, as transformers 4 and 5 write it.

use serde::Deserialize;

use super::preprocess::{Channels, Preprocessor, Size};
use super::resample::Resample;

/// A model asks for preprocessing that is not implemented here, or for nothing sensible.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PreprocessorError {
    /// A class or an option that is not known here.
    #[error("preprocessor_config.json: {what} {found:?} is not supported; supported: {supported}")]
    Unsupported {
        /// What it is a kind of.
        what: &'static str,
        /// What the file says.
        found: String,
        /// What it may say.
        supported: &'static str,
    },
    /// A number that no model has.
    #[error("preprocessor_config.json: {field} is {found}, but {expected}")]
    Bad {
        /// The entry.
        field: &'static str,
        /// What it says.
        found: String,
        /// What it may say.
        expected: &'static str,
    },
}

/// The kinds of preprocessing, which differ in what they do where the file is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProcessorKind {
    Clip,
    Siglip,
    Bit,
    Vit,
}

/// The file, as far as it bears on a network that reads one picture as one.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct PreprocessorConfig {
    image_processor_type: Option<String>,
    feature_extractor_type: Option<String>,
    do_resize: Option<bool>,
    size: Option<SizeEntry>,
    resample: Option<Resample>,
    do_center_crop: Option<bool>,
    crop_size: Option<SizeEntry>,
    do_rescale: Option<bool>,
    rescale_factor: Option<f64>,
    do_normalize: Option<bool>,
    image_mean: Option<ChannelsEntry>,
    image_std: Option<ChannelsEntry>,
    do_pad: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum SizeEntry {
    One(u64),
    Pair([u64; 2]),
    Named(NamedSize),
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedSize {
    height: Option<u64>,
    width: Option<u64>,
    shortest_edge: Option<u64>,
    longest_edge: Option<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
enum ChannelsEntry {
    One(f64),
    Each(Channels),
}

/// The longest side that a picture is resized to.
const MAX_RESULT: u64 = 4096;

const CLIP_MEAN: Channels = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const CLIP_STD: Channels = [0.268_629_54, 0.261_302_58, 0.275_777_11];
const HALVES: Channels = [0.5; 3];

impl ProcessorKind {
    /// By the class's name in transformers, whichever of its back ends that is of.
    fn named(class: &str) -> Result<Self, PreprocessorError> {
        let family = class.strip_suffix("Fast").or_else(|| class.strip_suffix("Pil")).unwrap_or(class);
        let family =
            family.strip_suffix("ImageProcessor").or_else(|| family.strip_suffix("FeatureExtractor"));
        match family {
            Some("CLIP") => Ok(Self::Clip),
            Some("Siglip") => Ok(Self::Siglip),
            Some("Bit") => Ok(Self::Bit),
            Some("ViT") => Ok(Self::Vit),
            _ => Err(PreprocessorError::Unsupported {
                what: "image_processor_type",
                found: class.chars().take(96).collect(),
                supported: "CLIP-, Siglip-, Bit- and ViTImageProcessor, Fast or not",
            }),
        }
    }

    /// Whether a single number is the short side rather than both.
    fn keeps_shape(self) -> bool {
        matches!(self, Self::Clip | Self::Bit)
    }

    fn size(self) -> Size {
        if self.keeps_shape() { Size::ShortSide(224) } else { Size::Exactly { height: 224, width: 224 } }
    }

    fn resample(self) -> Resample {
        if self == Self::Vit { Resample::Bilinear } else { Resample::Bicubic }
    }

    fn channels(self) -> (Channels, Channels) {
        if self.keeps_shape() { (CLIP_MEAN, CLIP_STD) } else { (HALVES, HALVES) }
    }
}

impl PreprocessorConfig {
    /// What it comes down to; `fallback` where the file does not say of which kind it is.
    pub(crate) fn lower(&self, fallback: ProcessorKind) -> Result<Preprocessor, PreprocessorError> {
        let class = self.image_processor_type.as_deref().or(self.feature_extractor_type.as_deref());
        let kind = class.map_or(Ok(fallback), ProcessorKind::named)?;
        if self.do_pad == Some(true) {
            let (found, supported) = ("true".to_owned(), "false");
            return Err(PreprocessorError::Unsupported { what: "do_pad", found, supported });
        }
        let size = match &self.size {
            Some(entry) => entry.size("size", kind.keeps_shape())?,
            None => kind.size(),
        };
        let crop = match &self.crop_size {
            Some(entry) => entry.size("crop_size", false)?,
            None => Size::Exactly { height: 224, width: 224 },
        };
        let crop = match crop {
            _ if !self.do_center_crop.unwrap_or(kind.keeps_shape()) => None,
            Size::Exactly { height, width } => Some((height, width)),
            Size::ShortSide(_) => {
                return Err(bad("crop_size", "a shortest_edge", "it must be height and width"));
            }
        };
        let (mean, std) = kind.channels();
        let mean = self.image_mean.map_or(Ok(mean), |entry| entry.channels("image_mean"))?;
        let std = self.image_std.map_or(Ok(std), |entry| entry.channels("image_std"))?;
        if std.contains(&0.0) {
            return Err(bad("image_std", "0", "pixels are divided by it"));
        }
        let factor = self.rescale_factor.unwrap_or(1.0 / 255.0);
        if !factor.is_finite() {
            return Err(bad("rescale_factor", &factor.to_string(), "it must be a number"));
        }
        Ok(Preprocessor::new(
            self.do_resize.unwrap_or(true).then_some((size, self.resample.unwrap_or(kind.resample()))),
            crop,
            self.do_rescale.unwrap_or(true).then_some(factor),
            self.do_normalize.unwrap_or(true).then_some((mean, std)),
        ))
    }
}

impl SizeEntry {
    fn size(&self, field: &'static str, one_is_short: bool) -> Result<Size, PreprocessorError> {
        let side = |number: u64| match number {
            1..=MAX_RESULT => Ok(number as usize),
            _ => Err(bad(field, &number.to_string(), "a side must have 1 to 4096 pixels")),
        };
        let exactly = |height, width| Ok(Size::Exactly { height: side(height)?, width: side(width)? });
        match self {
            Self::One(short) if one_is_short => Ok(Size::ShortSide(side(*short)?)),
            Self::One(both) => exactly(*both, *both),
            Self::Pair([height, width]) => exactly(*height, *width),
            Self::Named(named) => {
                match (named.height, named.width, named.shortest_edge, named.longest_edge) {
                    (Some(height), Some(width), None, None) => exactly(height, width),
                    (None, None, Some(short), None) => Ok(Size::ShortSide(side(short)?)),
                    _ => Err(PreprocessorError::Unsupported {
                        what: field,
                        found: format!("{named:?}"),
                        supported: "a number, height with width, or shortest_edge alone",
                    }),
                }
            }
        }
    }
}

impl ChannelsEntry {
    fn channels(self, field: &'static str) -> Result<Channels, PreprocessorError> {
        let channels = match self {
            Self::One(all) => [all; 3],
            Self::Each(each) => each,
        };
        if channels.iter().all(|number| number.is_finite() && number.abs() <= 1e6) {
            return Ok(channels);
        }
        Err(bad(field, &format!("{channels:?}"), "no colour is so bright"))
    }
}

fn bad(field: &'static str, found: &str, expected: &'static str) -> PreprocessorError {
    PreprocessorError::Bad { field, found: found.to_owned(), expected }
}
