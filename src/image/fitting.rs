//! Resizing pictures to whole patches, their shape kept, as Qwen 2 VL does it.

use std::ops::RangeInclusive;

use super::{ImageError, MAX_PIXELS, Picture, Resample};

/// How pictures are resized.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fitting {
    /// Both sides become multiples of this.
    pub(super) factor: u32,
    /// How many pixels a picture may then have; `None`: it stays as it is.
    pub(super) pixels: Option<RangeInclusive<u64>>,
    pub(super) filter: Resample,
}

/// How many times as long as the other a side may be.
const MOST_STRETCHED: u32 = 200;

impl Fitting {
    /// Height and width that a picture of these sides is resized to.
    ///
    /// # Errors
    ///
    /// Why it cannot be.
    pub(crate) fn size_of(&self, height: u32, width: u32) -> Result<(u32, u32), String> {
        let (long, short) = (height.max(width), height.min(width).max(1));
        if f64::from(long) / f64::from(short) > f64::from(MOST_STRETCHED) {
            return Err(format!("one side is more than {MOST_STRETCHED} times as long as the other"));
        }
        let factor = f64::from(self.factor);
        let Some(pixels) = &self.pixels else {
            let whole = height.is_multiple_of(self.factor) && width.is_multiple_of(self.factor);
            let reason = || format!("its sides are no multiples of {}", self.factor);
            return whole.then_some((height, width)).ok_or_else(reason);
        };
        let (tall, wide) = (f64::from(height), f64::from(width));
        // Halves to the even one, as Python rounds.
        let (rows, columns) = ((tall / factor).round_ties_even(), (wide / factor).round_ties_even());
        let (least, most) = (*pixels.start() as f64, *pixels.end() as f64);
        let (rows, columns) = if rows * columns * factor * factor > most {
            let shrunk = (tall * wide / most).sqrt();
            ((tall / shrunk / factor).floor().max(1.0), (wide / shrunk / factor).floor().max(1.0))
        } else if rows * columns * factor * factor < least {
            let grown = (least / (tall * wide)).sqrt();
            ((tall * grown / factor).ceil(), (wide * grown / factor).ceil())
        } else {
            (rows, columns)
        };
        if rows < 1.0 || columns < 1.0 {
            return Err(format!("it is smaller than {0} x {0} pixels", self.factor));
        }
        Ok(((rows * factor) as u32, (columns * factor) as u32))
    }

    /// Whether pictures are resized at all.
    pub(crate) fn resizes(&self) -> bool {
        self.pixels.is_some()
    }

    /// How many pixels a picture has at most, resized.
    pub(crate) fn most_pixels(&self) -> u64 {
        self.pixels.as_ref().map_or(MAX_PIXELS, |pixels| *pixels.end())
    }

    /// The picture resized.
    pub(crate) fn apply(&self, picture: &Picture, height: u32, width: u32) -> Result<Picture, ImageError> {
        picture.resize(width, height, self.filter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_become_multiples_within_the_pixels_there_may_be() {
        let fitting =
            Fitting { factor: 28, pixels: Some(56 * 56..=28 * 28 * 1280), filter: Resample::Bicubic };
        assert_eq!(fitting.size_of(480, 640), Ok((476, 644)));
        assert_eq!(fitting.size_of(42, 70), Ok((56, 56)), "halves go to the even one");
        assert_eq!(fitting.size_of(10, 10), Ok((56, 56)));
        let (height, width) = fitting.size_of(3000, 4000).unwrap();
        assert!(
            u64::from(height) * u64::from(width) <= 28 * 28 * 1280 && height % 28 == 0 && width % 28 == 0
        );
        assert!(fitting.size_of(1, 201).is_err() && fitting.size_of(1, 200).is_ok());
        let plain = Fitting { pixels: None, ..fitting };
        assert_eq!((plain.size_of(28, 56), plain.size_of(28, 57).is_err()), (Ok((28, 56)), true));
    }
}
