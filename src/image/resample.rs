//! The filters that pictures are resized with.

use std::f64::consts::PI;

use serde::Deserialize;

/// A filter, by Pillow's number for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
#[non_exhaustive]
pub enum Resample {
    /// 0: the nearest pixel.
    Nearest,
    /// 1: a windowed sinc, three pixels to either side.
    Lanczos,
    /// 2: a triangle.
    Bilinear,
    /// 3: cubic pieces, two pixels to either side.
    Bicubic,
    /// 4: the mean of the pixels that become one.
    Box,
    /// 5: a windowed sinc, one pixel to either side.
    Hamming,
}

impl Resample {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Nearest, Self::Lanczos, Self::Bilinear, Self::Bicubic, Self::Box, Self::Hamming];

    /// How many pixels of the smaller picture it reaches to either side.
    pub(super) fn support(self) -> f64 {
        match self {
            Self::Nearest => 0.0,
            Self::Box => 0.5,
            Self::Bilinear | Self::Hamming => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    /// How much a pixel so far from the middle weighs.
    pub(super) fn weight(self, x: f64) -> f64 {
        let far = x.abs();
        match self {
            Self::Nearest | Self::Box => f64::from(-0.5 < x && x <= 0.5),
            Self::Bilinear => (1.0 - far).max(0.0),
            Self::Hamming if far < 1.0 => sinc(far) * (0.54 + 0.46 * (PI * far).cos()),
            Self::Bicubic if far < 1.0 => (1.5 * far - 2.5) * far * far + 1.0,
            Self::Bicubic if far < 2.0 => ((-0.5 * far + 2.5) * far - 4.0) * far + 2.0,
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Self::Hamming | Self::Bicubic | Self::Lanczos => 0.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) }
}

impl TryFrom<u64> for Resample {
    type Error = String;

    fn try_from(number: u64) -> Result<Self, String> {
        let found = usize::try_from(number).ok().and_then(|number| Self::ALL.get(number));
        found.copied().ok_or_else(|| format!("resample {number} is none of Pillow's filters, 0 to 5"))
    }
}
