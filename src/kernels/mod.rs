//! CPU fast paths, and how many threads they may use.
//!
//! candle computes one elementary operation at a time: each writes a new buffer, and each of more than
//! 65,536 elements goes through one thread pool that the whole process shares (see [`threads`]). The
//! operations here do in one pass over memory what takes candle five and use the calling worker's own threads.
//! Tensors go in and come out as f32, a token to a row, whatever weights are kept in ([`Dtype`], [`Precision`],
//! [`QuantKind`]).
//!
//! - [`Linear`]: weights packed once into panels of two registers' width, in f32 or bf16, products by tiles that
//!   stay in registers, bias and activation on the way out.
//! - [`Attention`]: over packed texts, or from texts to others, nothing padded, soft maxima with a vectorised
//!   exponential.
//! - [`Conv2d`], [`GroupNorm`]: pictures whose pixels are rows ([`PixelGrid`]).
//! - [`Norm`], [`Rope`], [`turn_rows()`], [`gate`], [`add`], [`add_scaled`], [`Activation`]: rows at a time, in place on
//!   a tensor just computed or some of its rows; [`Norm::forward`] and [`gate`] write a new one.
//! - [`PagedAttention`]: many texts at once, keys and values in blocks, of which a text holds any.
//! - [`QuantizedLayers`]: weights as narrow as the file has them, products of integers.
//!
//! What the processor has is asked once, at run time (AVX2, AVX-512, AMX tiles): a build for any x86-64 is fast. A
//! row's result has the same bits whatever other rows are computed with it and on however many threads. The first
//! three kinds have a plain candle form beside them, which serves other devices and processors and checks the
//! fast one in tests. The last two are for any processor, but for no other device: tests check them against their
//! equations, and the quantised ones against a form without any instructions of their own, bit for bit.
//!
//! Below them: `cpu` says what the processor has, `lanes` is one register of numbers, `panel` multiplies rows by
//! packed columns, `exponential` has the one exponential and soft maximum, `output` is memory that several tasks
//! fill, `prefetch` asks memory for what is read next, and `widened!` compiles a loop for each instruction set. Each
//! file names the paper or manual it follows.

mod activation;
mod attention;
mod conv;
mod cpu;
mod exponential;
mod gated;
mod group_norm;
#[cfg(target_arch = "x86_64")]
mod lanes;
mod linear;
mod norm;
mod output;
mod paged;
#[cfg(target_arch = "x86_64")]
mod panel;
mod pixel_grid;
mod precision;
mod prefetch;
mod quantized;
mod rope;
pub mod threads;
mod turn_rows;

pub(crate) use activation::{Activation, add_bias};
pub(crate) use attention::{Attention, Span, equal_spans, scratch_numbers};
pub(crate) use conv::{Conv2d, Window, conv_scratch_numbers};
pub(crate) use gated::{add, add_scaled, gate};
pub(crate) use group_norm::GroupNorm;
pub(crate) use linear::Linear;
pub(crate) use norm::Norm;
pub use paged::KvFormat;
pub(crate) use paged::{Angles, BLOCK_TOKENS, Direction, PagedAttention, PagedKv, PagedText, RowNorms};
pub(crate) use pixel_grid::PixelGrid;
pub(crate) use precision::Precision;
pub use precision::{Dtype, UnknownDtype};
pub(crate) use quantized::{QuantKind, QuantizedLayers, QuantizedLinear};
pub(crate) use rope::{Rope, RopeStyle};
pub(crate) use turn_rows::turn_rows;

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

/// Defines `$name`, which runs the body compiled for AVX-512 or AVX2 where the processor has it and as it is
/// elsewhere. The body is the same code, and the order of sums too: what differs is how many numbers one
/// instruction takes, and, where the body asks `FUSED`, whether a product and a sum are rounded once or twice.
macro_rules! widened {
    ($visible:vis fn $name:ident($($arg:ident: $kind:ty),* $(,)?) $body:block) => {
        $visible fn $name($($arg: $kind),*) {
            #[allow(clippy::inline_always, reason = "the caller's instruction set reaches only inlined code")]
            #[allow(clippy::extra_unused_type_parameters, reason = "not every body asks")]
            #[inline(always)]
            fn plain<const FUSED: bool>($($arg: $kind),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,fma")]
                fn avx512($($arg: $kind),*) {
                    plain::<true>($($arg),*);
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $kind),*) {
                    plain::<true>($($arg),*);
                }
                // SAFETY: they ask nothing of their caller but a processor that has these, and this one does.
                #[allow(unsafe_code)]
                match $crate::kernels::cpu::Vectors::detected() {
                    $crate::kernels::cpu::Vectors::Avx512 => return unsafe { avx512($($arg),*) },
                    $crate::kernels::cpu::Vectors::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::kernels::cpu::Vectors::Portable => {}
                }
            }
            plain::<false>($($arg),*);
        }
    };
}
use widened;
