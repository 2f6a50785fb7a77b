//! CPU fast paths, and how many threads they may use.
//!
//! candle computes one elementary operation at a time: each writes a new buffer, and each of more than
//! 65,536 elements goes through one thread pool that the whole process shares (see [`threads`]). The
//! operations here do in one pass over memory what takes candle five, change the buffer they are given
//! instead of making another, and use the calling worker's own threads.
//!
//! Every operation has a plain candle form beside it, which serves devices other than the CPU and checks
//! the fast one in tests.

mod activation;
mod norm;
pub(crate) mod quantized;
pub mod threads;

pub(crate) use activation::{Activation, bias_activation};
pub(crate) use norm::add_norm;

use candle_core::{CpuStorage, Layout, Result, bail};

/// Rows that one task takes at least, so that small inputs are not cut into crumbs.
const ROWS_PER_TASK: usize = 16;

/// The numbers of a contiguous f32 tensor.
fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout, op: &'static str) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => bail!("{op} needs contiguous f32 input"),
    }
}

/// The numbers of a contiguous f32 tensor, to be changed.
fn contiguous_mut<'a>(
    storage: &'a mut CpuStorage,
    layout: &Layout,
    op: &'static str,
) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        _ => bail!("{op} needs contiguous f32 input"),
    }
}

/// Defines `$name`, which runs the body compiled for AVX2 where the processor has it and as it is elsewhere.
/// The body is the same code: only how many numbers one instruction takes differs, never the order of sums.
macro_rules! widened {
    (fn $name:ident($($arg:ident: $kind:ty),* $(,)?) $body:block) => {
        fn $name($($arg: $kind),*) {
            #[allow(clippy::inline_always, reason = "the caller's instruction set reaches only inlined code")]
            #[inline(always)]
            fn plain($($arg: $kind),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn avx2($($arg: $kind),*) {
                    plain($($arg),*);
                }
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: `avx2` asks nothing of its caller but a processor that has AVX2, and this one does.
                    #[allow(unsafe_code)]
                    return unsafe { avx2($($arg),*) };
                }
            }
            plain($($arg),*);
        }
    };
}
use widened;
