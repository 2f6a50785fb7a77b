//! In what numbers weights are kept and multiplied.

use std::fmt;
use std::str::FromStr;

use candle_core::DType;

use super::linear;

/// What a model computes in, as the user asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dtype {
    /// bf16 where the processor multiplies tiles of it (AMX), f32 elsewhere.
    #[default]
    Auto,
    /// 32-bit floats, whatever the files hold: what the references compute in.
    F32,
    /// Weights as bf16: half the memory. Sums are f32 everywhere.
    Bf16,
}

/// What a model computes in on this processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precision {
    /// Weights, inputs and sums.
    F32,
    /// Weights, and inputs where they are multiplied in tiles (AMX); sums are f32.
    Bf16,
}

impl Dtype {
    /// All of them, by the names users write.
    pub const ALL: [(&'static str, Self); 3] =
        [("auto", Self::Auto), ("f32", Self::F32), ("bf16", Self::Bf16)];

    /// Whether that means bf16 on this processor.
    #[cfg(feature = "cli")]
    pub(crate) fn is_bf16(self) -> bool {
        self.precision() == Precision::Bf16
    }

    /// What that means on this processor.
    pub(crate) fn precision(self) -> Precision {
        match self {
            Self::Auto if linear::has_tiles() => Precision::Bf16,
            Self::Auto | Self::F32 => Precision::F32,
            Self::Bf16 => Precision::Bf16,
        }
    }
}

impl Precision {
    /// candle's name for it.
    pub(crate) const fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
        }
    }

    /// How many bytes a weight takes.
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, dtype)| dtype == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        })
    }
}

/// A name that is none of [`Dtype::ALL`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no dtype is called {0:?}; there are auto, f32 and bf16")]
pub struct UnknownDtype(String);

impl FromStr for Dtype {
    type Err = UnknownDtype;

    fn from_str(name: &str) -> Result<Self, UnknownDtype> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, dtype)| *dtype).ok_or_else(|| UnknownDtype(name.to_owned()))
    }
}
