//! Normalising each row, after adding a residual where there is one: layer norm (Ba et al., "Layer
//! Normalization", arXiv 1607.06450) and RMS norm (Zhang and Sennrich, arXiv 1910.07467).

use std::ops::Range;

use candle_core::{CpuStorage, D, InplaceOp2, InplaceOp3, Layout, Result, Tensor, bail};
use rayon::prelude::*;

use super::{ROWS_PER_TASK, contiguous, contiguous_mut, widened};

/// A norm over rows of one width.
///
/// The variance is the mean square distance from the mean, taken in a second pass: the usual `mean of squares -
/// square of mean` loses all its digits on rows far from zero.
#[derive(Debug)]
pub(crate) struct Norm {
    /// `[2, width]`: weight and shift. A norm without a shift has one of zeros.
    params: Tensor,
    kind: Kind,
    eps: f32,
}

/// What a row is divided by, and what is taken off it before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The standard deviation, after the mean is taken off.
    Layer,
    /// The root of the mean square.
    Rms,
}

impl Norm {
    /// `(x - mean) / sqrt(variance + eps) * weight + shift`; `weight` and `shift` are `[width]`.
    pub(crate) fn layer(weight: &Tensor, shift: Option<&Tensor>, eps: f64) -> Result<Self> {
        Self::new(weight, shift, Kind::Layer, eps)
    }

    /// `x / sqrt(mean square + eps) * weight`; `weight` is `[width]`.
    pub(crate) fn rms(weight: &Tensor, eps: f64) -> Result<Self> {
        Self::new(weight, None, Kind::Rms, eps)
    }

    fn new(weight: &Tensor, shift: Option<&Tensor>, kind: Kind, eps: f64) -> Result<Self> {
        let none = weight.zeros_like()?;
        let params = Tensor::stack(&[weight, shift.unwrap_or(&none)], 0)?;
        Ok(Self { params, kind, eps: eps as f32 })
    }

    /// `norm(xs)`, of the shape of `xs`: `[rows, width]`.
    pub(crate) fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        if !xs.device().is_cpu() {
            return self.plain(xs);
        }
        // Of some rows of a larger tensor, `copy` would copy them all.
        let xs = xs.force_contiguous()?;
        xs.inplace_op2(&self.params, self)?;
        Ok(xs)
    }

    /// `norm(xs + residual)`, written into the storage of `xs`, which is `[rows, width]`: call it only on a
    /// tensor just computed, which nothing else shares.
    pub(crate) fn forward_add(&self, xs: Tensor, residual: &Tensor) -> Result<Tensor> {
        if !xs.device().is_cpu() {
            return self.plain(&(xs + residual)?);
        }
        xs.inplace_op3(residual, &self.params, self)?;
        Ok(xs)
    }

    /// Normalises some heads of each row of `xs`, `[rows, width]`, each by itself: they are as wide as this norm.
    /// Writes into the storage of `xs`: call it only on a tensor just computed, which nothing else shares.
    pub(crate) fn forward_heads(&self, xs: Tensor, heads: Range<usize>) -> Result<Tensor> {
        let (rows, width) = xs.dims2()?;
        let size = self.params.dim(1)?;
        if heads.end * size > width {
            bail!("norm: heads {heads:?} of {size} in rows of {width}");
        }
        if xs.device().is_cpu() {
            xs.inplace_op2(&self.params, &SomeHeads { norm: self, which: heads, width })?;
            return Ok(xs);
        }
        let (start, count) = (heads.start * size, heads.len() * size);
        let part = xs.narrow(1, start, count)?.reshape((rows * heads.len(), size))?;
        let part = self.plain(&part)?.reshape((rows, count))?;
        let after = start + count;
        Tensor::cat(&[xs.narrow(1, 0, start)?, part, xs.narrow(1, after, width - after)?], 1)
    }

    fn plain(&self, xs: &Tensor) -> Result<Tensor> {
        let xs = match self.kind {
            Kind::Layer => xs.broadcast_sub(&xs.mean_keepdim(D::Minus1)?)?,
            Kind::Rms => xs.clone(),
        };
        let variance = xs.sqr()?.mean_keepdim(D::Minus1)?;
        let xs = xs.broadcast_div(&(variance + f64::from(self.eps))?.sqrt()?)?;
        xs.broadcast_mul(&self.params.get(0)?)?.broadcast_add(&self.params.get(1)?)
    }

    /// `params` is `[2, width]`; rows of `residual`, if any, go with those of `xs`.
    fn rows(&self, xs: &mut [f32], residual: Option<&[f32]>, params: &[f32]) -> Result<()> {
        let width = params.len() / 2;
        let unfit = residual.is_some_and(|residual| residual.len() != xs.len());
        if width == 0 || !xs.len().is_multiple_of(width) || unfit {
            bail!("norm: {} numbers do not fit {} parameters", xs.len(), params.len());
        }
        let task = width * ROWS_PER_TASK;
        let tasks = xs.par_chunks_mut(task).enumerate();
        tasks.for_each(|(i, rows)| {
            let residual = residual.map_or(&[][..], |residual| &residual[i * task..][..rows.len()]);
            self.each(rows, residual, params);
        });
        Ok(())
    }

    /// On the calling thread.
    fn each(&self, rows: &mut [f32], residual: &[f32], params: &[f32]) {
        match self.kind {
            Kind::Layer => layer_rows(rows, residual, params, self.eps),
            Kind::Rms => rms_rows(rows, residual, &params[..params.len() / 2], self.eps),
        }
    }
}

impl InplaceOp2 for Norm {
    fn name(&self) -> &'static str {
        "norm"
    }

    fn cpu_fwd(
        &self,
        xs: &mut CpuStorage,
        xs_l: &Layout,
        params: &CpuStorage,
        params_l: &Layout,
    ) -> Result<()> {
        let params = contiguous(params, params_l, "norm")?;
        self.rows(contiguous_mut(xs, xs_l, "norm")?, None, params)
    }
}

/// One call of [`Norm::forward_heads`].
struct SomeHeads<'a> {
    norm: &'a Norm,
    which: Range<usize>,
    width: usize,
}

impl InplaceOp2 for SomeHeads<'_> {
    fn name(&self) -> &'static str {
        "norm-heads"
    }

    fn cpu_fwd(
        &self,
        xs: &mut CpuStorage,
        xs_l: &Layout,
        params: &CpuStorage,
        params_l: &Layout,
    ) -> Result<()> {
        let params = contiguous(params, params_l, "norm-heads")?;
        let size = params.len() / 2;
        let xs = contiguous_mut(xs, xs_l, "norm-heads")?;
        xs.par_chunks_mut(self.width * ROWS_PER_TASK).for_each(|rows| {
            for row in rows.chunks_exact_mut(self.width) {
                self.norm.each(&mut row[self.which.start * size..self.which.end * size], &[], params);
            }
        });
        Ok(())
    }
}

impl InplaceOp3 for Norm {
    fn name(&self) -> &'static str {
        "add-norm"
    }

    fn cpu_fwd(
        &self,
        xs: &mut CpuStorage,
        xs_l: &Layout,
        residual: &CpuStorage,
        residual_l: &Layout,
        params: &CpuStorage,
        params_l: &Layout,
    ) -> Result<()> {
        let residual = contiguous(residual, residual_l, "add-norm")?;
        let params = contiguous(params, params_l, "add-norm")?;
        self.rows(contiguous_mut(xs, xs_l, "add-norm")?, Some(residual), params)
    }
}

widened! {
    fn layer_rows(rows: &mut [f32], residual: &[f32], params: &[f32], eps: f32) {
        let (weight, shift) = params.split_at(params.len() / 2);
        add(rows, residual);
        for row in rows.chunks_exact_mut(weight.len()) {
            let mean = sum(row, |x| x) / weight.len() as f32;
            let variance = sum(row, |x| (x - mean) * (x - mean)) / weight.len() as f32;
            let scale = 1.0 / (variance + eps).sqrt();
            for ((x, w), s) in row.iter_mut().zip(weight).zip(shift) {
                *x = (*x - mean) * scale * w + s;
            }
        }
    }
}

// `x / sqrt(mean square + eps) * weight` over each part of `rows` as wide as `weight`, after adding `residual`,
// which is as long as `rows` or empty.
widened! {
    pub(super) fn rms_rows(rows: &mut [f32], residual: &[f32], weight: &[f32], eps: f32) {
        add(rows, residual);
        for row in rows.chunks_exact_mut(weight.len()) {
            let scale = 1.0 / (sum(row, |x| x * x) / weight.len() as f32 + eps).sqrt();
            for (x, w) in row.iter_mut().zip(weight) {
                *x = *x * scale * w;
            }
        }
    }
}

/// Adds the residual, where there is one.
#[allow(clippy::inline_always, reason = "its callers are compiled for wider instruction sets")]
#[inline(always)]
fn add(rows: &mut [f32], residual: &[f32]) {
    for (x, r) in rows.iter_mut().zip(residual) {
        *x += r;
    }
}

/// The sum of `f` over a row, in sixteen strands: quicker than one, and with less rounding.
#[allow(clippy::inline_always, reason = "its callers are compiled for wider instruction sets")]
#[inline(always)]
fn sum(row: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    const STRANDS: usize = 16;
    let (chunks, rest) = row.as_chunks::<STRANDS>();
    let mut strands = [0f32; STRANDS];
    for chunk in chunks {
        for (strand, x) in strands.iter_mut().zip(chunk) {
            *strand += f(*x);
        }
    }
    strands.iter().sum::<f32>() + rest.iter().map(|x| f(*x)).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn numbers(width: usize) -> Result<Tensor> {
        Tensor::arange(0f32, width as f32, &Device::Cpu)?.affine(0.01, -0.3)
    }

    #[test]
    fn the_fast_forms_agree_with_the_plain_ones() -> Result<()> {
        for width in [1, 5, 16, 37, 384] {
            let xs = Tensor::randn(0f32, 2.0, (33, width), &Device::Cpu)?;
            let residual = Tensor::randn(1f32, 1.0, (33, width), &Device::Cpu)?;
            let (weight, shift) = (numbers(width)?, numbers(width)?.affine(-2.0, 0.1)?);
            let norms = [
                Norm::layer(&weight, Some(&shift), 1e-5)?,
                Norm::layer(&weight, None, 1e-5)?,
                Norm::rms(&weight, 1e-5)?,
            ];
            for norm in norms {
                let alone = (norm.forward(&xs)? - norm.plain(&xs)?)?;
                let added = (norm.forward_add(xs.copy()?, &residual)? - norm.plain(&(&xs + &residual)?)?)?;
                for off in [alone, added] {
                    let off = off.abs()?.max_all()?.to_scalar::<f32>()?;
                    assert!(off < 2e-5, "{norm:?}, width {width}: off by {off}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn some_heads_are_normalised_and_the_rest_stays() -> Result<()> {
        let (size, width) = (6, 6 * 5 + 2);
        let xs = Tensor::randn(1f32, 2.0, (35, width), &Device::Cpu)?;
        for norm in [Norm::rms(&numbers(size)?, 1e-6)?, Norm::layer(&numbers(size)?, None, 1e-6)?] {
            let got = norm.forward_heads(xs.copy()?, 1..4)?;
            let heads = norm.plain(&xs.narrow(1, size, 3 * size)?.reshape((35 * 3, size))?)?;
            let off = (got.narrow(1, size, 3 * size)? - heads.reshape((35, 3 * size))?)?.abs()?.max_all()?;
            assert!(off.to_scalar::<f32>()? < 1e-5, "{norm:?}");
            for (start, columns) in [(0, size), (4 * size, width - 4 * size)] {
                let (got, before) = (got.narrow(1, start, columns)?, xs.narrow(1, start, columns)?);
                assert_eq!(got.to_vec2::<f32>()?, before.to_vec2::<f32>()?);
            }
            assert!(norm.forward_heads(xs.copy()?, 3..6).is_err());
        }
        Ok(())
    }

    #[test]
    fn some_rows_of_a_tensor_are_normalised_alone() -> Result<()> {
        let xs = Tensor::randn(1f32, 2.0, (9, 16), &Device::Cpu)?;
        let norm = Norm::rms(&numbers(16)?, 1e-6)?;
        let (before, all) = (xs.to_vec2::<f32>()?, norm.forward(&xs)?.to_vec2::<f32>()?);
        assert_eq!(norm.forward(&xs.narrow(0, 3, 4)?)?.to_vec2::<f32>()?, all[3..7]);
        assert_eq!(xs.to_vec2::<f32>()?, before, "nothing is written to what was given");
        Ok(())
    }

    #[test]
    fn a_row_far_from_zero_keeps_its_variance() -> Result<()> {
        // In f32, 4096^2 + 1 = 4096^2: a variance from squares would be lost, or negative.
        let xs = Tensor::new(&[[4095f32, 4096.0, 4097.0, 4096.0]], &Device::Cpu)?;
        let norm = Norm::layer(&Tensor::ones(4, candle_core::DType::F32, &Device::Cpu)?, None, 1e-12)?;
        let got = norm.forward(&xs)?.to_vec2::<f32>()?;
        let expected = [-2f32.sqrt(), 0.0, 2f32.sqrt(), 0.0];
        assert!(got[0].iter().zip(expected).all(|(g, e)| (g - e).abs() < 1e-5), "{got:?}");
        Ok(())
    }

    #[test]
    fn a_constant_row_gives_the_shift() -> Result<()> {
        let xs = Tensor::full(3f32, (1, 8), &Device::Cpu)?;
        let twos = Tensor::full(2f32, 8, &Device::Cpu)?;
        let norm = Norm::layer(&twos, Some(&twos), 1e-12)?;
        let got = norm.forward_add(xs.copy()?, &xs)?.to_vec2::<f32>()?;
        assert!(got[0].iter().all(|x| (x - 2.0).abs() < 1e-6), "{got:?}");
        Ok(())
    }
}
