//! `preprocessor_config.json`, as transformers 4 and 5 write it.

use serde::Deserialize;

use super::MAX_PIXELS;
use super::fitting::Fitting;
use super::patch_budget::PatchBudget;
use super::preprocess::{Channels, Preprocessor, Size};
use super::processor_kind::{CLIP_MEAN, CLIP_STD, HALVES, ProcessorKind};
use super::resample::Resample;
use super::tiles::Tiling;

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
    do_pan_and_scan: Option<bool>,
    do_image_splitting: Option<bool>,
    max_image_size: Option<SizeEntry>,
    min_pixels: Option<u64>,
    max_pixels: Option<u64>,
    patch_size: Option<u64>,
    merge_size: Option<u64>,
    max_num_patches: Option<u64>,
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
    /// Files of Qwen 2 VL say it here as well.
    min_pixels: Option<u64>,
    max_pixels: Option<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
enum ChannelsEntry {
    One(f64),
    Each(Channels),
}

/// The longest side that a picture is resized to.
const MAX_RESULT: u64 = 4096;

impl PreprocessorConfig {
    /// What it comes down to; `fallback` where the file does not say of which kind it is.
    pub(crate) fn lower(&self, fallback: ProcessorKind) -> Result<Preprocessor, PreprocessorError> {
        let class = self.image_processor_type.as_deref().or(self.feature_extractor_type.as_deref());
        let kind = class.map_or(Ok(fallback), ProcessorKind::named)?;
        if kind == ProcessorKind::Siglip2 {
            return self.in_patches();
        }
        if kind != ProcessorKind::Blip {
            // BLIP's own pads to the largest picture of a batch: one by itself stays as it is.
            never("do_pad", self.do_pad)?;
        }
        never("do_pan_and_scan", self.do_pan_and_scan)?;
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
            Size::ShortSide(_) | Size::Patches(_) => {
                return Err(bad("crop_size", "a shortest_edge", "it must be height and width"));
            }
        };
        let resize = self.do_resize.unwrap_or(true);
        let resize = resize.then_some((size, self.resample.unwrap_or(kind.resample())));
        self.values(resize, crop, kind.channels())
    }

    /// How `SigLIP` 2 resizes pictures to as many whole patches as there may be. It cuts and fills nothing, whatever
    /// the file says.
    fn in_patches(&self) -> Result<Preprocessor, PreprocessorError> {
        let kind = ProcessorKind::Siglip2;
        if self.do_resize == Some(false) {
            let (found, supported) = ("false".to_owned(), "true");
            return Err(PreprocessorError::Unsupported { what: "do_resize", found, supported });
        }
        let (patch, most) = (self.patch_size.unwrap_or(16), self.max_num_patches.unwrap_or(256));
        if !(1..=256).contains(&patch) {
            return Err(bad("patch_size", &patch.to_string(), "a patch has 1 to 256 pixels on a side"));
        }
        if !(1..=8192).contains(&most) {
            return Err(bad("max_num_patches", &most.to_string(), "a picture has 1 to 8192 patches"));
        }
        if most * patch * patch > MAX_PIXELS {
            let found = format!("{most} of {patch} x {patch} pixels");
            return Err(bad("max_num_patches", &found, "no picture may have more than 40 million pixels"));
        }
        let size = Size::Patches(PatchBudget { patch: patch as usize, most: most as usize });
        let resize = (size, self.resample.unwrap_or(kind.resample()));
        self.values(Some(resize), None, kind.channels())
    }

    /// What becomes of pixels after they are resized and cut, by these means and deviations where the file has none.
    fn values(
        &self,
        resize: Option<(Size, Resample)>,
        crop: Option<(usize, usize)>,
        (mean, std): (Channels, Channels),
    ) -> Result<Preprocessor, PreprocessorError> {
        let mean = self.image_mean.map_or(Ok(mean), |entry| entry.channels("image_mean"))?;
        let std = self.image_std.map_or(Ok(std), |entry| entry.channels("image_std"))?;
        if std.contains(&0.0) {
            return Err(bad("image_std", "0", "pixels are divided by it"));
        }
        let factor = self.rescale_factor.unwrap_or(1.0 / 255.0);
        let preprocessor = Preprocessor::new(
            resize,
            crop,
            self.do_rescale.unwrap_or(true).then_some(factor),
            self.do_normalize.unwrap_or(true).then_some((mean, std)),
        );
        if preprocessor.is_finite() {
            return Ok(preprocessor);
        }
        let found = format!("{factor}, {mean:?} and {std:?}");
        Err(bad("rescale_factor, image_mean and image_std", &found, "every pixel must become a number"))
    }

    /// How Idefics 3 and `SmolVLM` cut pictures into tiles, and what becomes of each tile's pixels.
    pub(crate) fn tiling(&self) -> Result<(Tiling, Preprocessor), PreprocessorError> {
        let longest = |field, entry: &Option<SizeEntry>, usual: u64| match entry {
            None => Ok(usual),
            Some(SizeEntry::Named(NamedSize {
                longest_edge: Some(longest),
                height: None,
                width: None,
                shortest_edge: None,
                ..
            })) => Ok(*longest),
            Some(other) => Err(PreprocessorError::Unsupported {
                what: field,
                found: format!("{other:?}"),
                supported: "longest_edge alone",
            }),
        };
        let side = |field, number: u64| {
            let found = u32::try_from(number).ok().filter(|side| (1..=MAX_RESULT as u32).contains(side));
            found.ok_or_else(|| bad(field, &number.to_string(), "a side must have 1 to 4096 pixels"))
        };
        let tile = side("max_image_size", longest("max_image_size", &self.max_image_size, 364)?)?;
        let whole = side("size", longest("size", &self.size, 4 * 364)?)?;
        let resizes = self.do_resize.unwrap_or(true);
        let longest = if resizes { whole } else { MAX_RESULT as u32 };
        if longest.div_ceil(tile) > 32 {
            return Err(bad("max_image_size", &tile.to_string(), "there are at most 32 tiles a side"));
        }
        let tiling = Tiling {
            longest: resizes.then_some(whole),
            tile,
            filter: self.resample.unwrap_or(Resample::Lanczos),
            splits: self.do_image_splitting.unwrap_or(true),
        };
        Ok((tiling, self.values(None, None, (HALVES, HALVES))?))
    }

    /// How Qwen 2 resizes pictures to whole patches, for patches of this side of which so many by so many become one
    /// row, and what becomes of the pixels.
    pub(crate) fn fitting(
        &self,
        patch: u32,
        merge: u32,
    ) -> Result<(Fitting, Preprocessor), PreprocessorError> {
        let same = |field, found: Option<u64>, expected: u32| match found {
            Some(found) if found != u64::from(expected) => {
                Err(bad(field, &found.to_string(), "it must be as in config.json"))
            }
            _ => Ok(()),
        };
        same("patch_size", self.patch_size, patch)?;
        same("merge_size", self.merge_size, merge)?;
        let (least, most) = match &self.size {
            None => (None, None),
            Some(SizeEntry::Named(named)) if named.height.or(named.width).is_none() => {
                (named.shortest_edge.or(named.min_pixels), named.longest_edge.or(named.max_pixels))
            }
            Some(other) => {
                return Err(PreprocessorError::Unsupported {
                    what: "size",
                    found: format!("{other:?}"),
                    supported: "numbers of pixels as shortest_edge and longest_edge",
                });
            }
        };
        let least = self.min_pixels.or(least).unwrap_or(56 * 56);
        let most = self.max_pixels.or(most).unwrap_or(28 * 28 * 1280);
        if !(1..=1 << 32).contains(&most) || !(1..=most).contains(&least) {
            let found = format!("{least} and {most}");
            return Err(bad("min_pixels and max_pixels", &found, "they must be at least 1 and in order"));
        }
        let fitting = Fitting {
            factor: patch * merge,
            pixels: self.do_resize.unwrap_or(true).then_some(least..=most),
            filter: self.resample.unwrap_or(Resample::Bicubic),
        };
        Ok((fitting, self.values(None, None, (CLIP_MEAN, CLIP_STD))?))
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
                let pixels = named.min_pixels.or(named.max_pixels);
                match (named.height, named.width, named.shortest_edge, named.longest_edge, pixels) {
                    (Some(height), Some(width), None, None, None) => exactly(height, width),
                    (None, None, Some(short), None, None) => Ok(Size::ShortSide(side(short)?)),
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

/// Refuses what is not implemented where the file asks for it.
fn never(what: &'static str, asked: Option<bool>) -> Result<(), PreprocessorError> {
    if asked != Some(true) {
        return Ok(());
    }
    let (found, supported) = ("true".to_owned(), "false");
    Err(PreprocessorError::Unsupported { what, found, supported })
}

fn bad(field: &'static str, found: &str, expected: &'static str) -> PreprocessorError {
    PreprocessorError::Bad { field, found: found.to_owned(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> PreprocessorConfig {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_a_file_leaves_out_is_as_its_class_has_it() {
        let lowered = |json: &str| config(json).lower(ProcessorKind::Siglip).unwrap();
        for (class, filter) in [("Siglip", 3), ("Gemma3", 2), ("ViT", 2)] {
            let silent = lowered(&format!(r#"{{"image_processor_type": "{class}ImageProcessorFast"}}"#));
            let spoken = lowered(&format!(
                r#"{{"size": 224, "resample": {filter}, "image_mean": 0.5, "image_std": 0.5,
                     "rescale_factor": 0.00392156862745098, "do_center_crop": false}}"#
            ));
            assert_eq!(silent, spoken, "{class}");
        }
    }

    #[test]
    fn every_pixel_becomes_a_number() {
        for json in [
            r#"{"image_std": 0}"#,
            r#"{"image_std": [0.5, 1e-50, 0.5]}"#,
            r#"{"rescale_factor": 1e300}"#,
            r#"{"do_rescale": false, "image_std": 1e-40}"#,
        ] {
            let refused = config(json).lower(ProcessorKind::Vit).unwrap_err();
            assert!(matches!(refused, PreprocessorError::Bad { .. }), "{json}: {refused}");
        }
        let unused = config(r#"{"do_rescale": false, "rescale_factor": 1e300}"#);
        assert!(unused.lower(ProcessorKind::Vit).is_ok());
    }

    #[test]
    fn sizes_that_say_something_else_than_pixels_are_refused() {
        let fitting =
            |size: &str| config(&format!(r#"{{"size": {size}}}"#)).fitting(14, 2).map(|found| found.0);
        assert_eq!(
            fitting(r#"{"shortest_edge": 784, "longest_edge": 1568}"#).unwrap().pixels,
            Some(784..=1568)
        );
        assert_eq!(fitting(r#"{"max_pixels": 6272}"#).unwrap().pixels, Some(3136..=6272));
        for size in ["448", "[448, 448]", r#"{"height": 448, "width": 448}"#] {
            let refused = fitting(size).unwrap_err();
            assert!(
                matches!(refused, PreprocessorError::Unsupported { what: "size", .. }),
                "{size}: {refused}"
            );
        }
    }
}
