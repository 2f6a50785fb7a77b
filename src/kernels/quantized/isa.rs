//! Which instructions the processor has.

use super::activations::Precision;
#[cfg(target_arch = "x86_64")]
use crate::kernels::cpu::Vectors;

/// An instruction set that there is code for. Every one gives the same numbers, to the last bit.
///
/// Values come from [`Isa::all`], so that whoever has one knows that the processor has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Isa {
    /// AVX-512 with byte dot products.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Whatever the compiler makes of it.
    Portable,
}

impl Isa {
    /// The best that this processor has.
    pub(super) fn detect() -> Self {
        Self::all().next().unwrap_or(Self::Portable)
    }

    /// All that this processor has, best first.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            let vectors = Vectors::detected();
            // With what `Vectors` asks, all that the functions of each are compiled for.
            let avx512 = vectors == Vectors::Avx512 && has!("avx512vl") && has!("avx512vnni") && has!("avx2");
            let avx2 = vectors >= Vectors::Avx2 && has!("avx2");
            let found = [avx512.then_some(Self::Avx512), avx2.then_some(Self::Avx2), Some(Self::Portable)];
            found.into_iter().flatten()
        }
        #[cfg(not(target_arch = "x86_64"))]
        std::iter::once(Self::Portable)
    }

    /// Rows of activations that one pass over expanded weights serves at most.
    pub(super) const fn tile_rows(self, precision: Precision) -> usize {
        match (self, precision) {
            #[cfg(target_arch = "x86_64")]
            (Self::Avx512, Precision::Byte) => 6,
            _ => 4,
        }
    }
}
