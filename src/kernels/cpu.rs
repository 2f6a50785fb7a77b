//! What this processor can do, asked once.

use std::sync::LazyLock;

/// The widest vectors there are kernels for and this processor has, with fused multiply-add.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Vectors {
    /// None that the kernels here are written for: candle's own operations serve.
    Portable,
    /// Eight f32: AVX2 and FMA.
    Avx2,
    /// Sixteen f32: AVX-512 F and what every processor with it has.
    Avx512,
}

impl Vectors {
    /// This processor's.
    pub(crate) fn detected() -> Self {
        static DETECTED: LazyLock<Vectors> = LazyLock::new(detect);
        *DETECTED
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Vectors {
    if is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("fma")
    {
        Vectors::Avx512
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        Vectors::Avx2
    } else {
        Vectors::Portable
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Vectors {
    Vectors::Portable
}
