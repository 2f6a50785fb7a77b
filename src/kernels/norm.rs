//! Adding a residual and normalising each row (Ba et al., "Layer Normalization", arXiv 1607.06450), in place.

use candle_core::{CpuStorage, D, InplaceOp3, Layout, Result, Tensor, bail};
use rayon::prelude::*;

use super::{ROWS_PER_TASK, contiguous, contiguous_mut, widened};

/// `layer_norm(xs + bias + residual) * weight + shift`, row by row.
///
/// `xs` and `residual` are `[rows, width]`; `params` is `[3, width]` and holds bias, weight and shift, in
/// this order. The variance is the mean square distance from the mean, taken in a second pass: the usual
/// `mean of squares - square of mean` loses all its digits on rows far from zero.
///
/// Writes into the storage of `xs`: call it only on a tensor just computed, which nothing else shares.
pub(crate) fn add_norm(xs: Tensor, residual: &Tensor, params: &Tensor, eps: f32) -> Result<Tensor> {
    if !xs.device().is_cpu() {
        return plain(&xs, residual, params, eps);
    }
    xs.inplace_op3(residual, params, &AddNorm { eps })?;
    Ok(xs)
}

fn plain(xs: &Tensor, residual: &Tensor, params: &Tensor, eps: f32) -> Result<Tensor> {
    let xs = (xs.broadcast_add(&params.get(0)?)? + residual)?;
    let xs = xs.broadcast_sub(&xs.mean_keepdim(D::Minus1)?)?;
    let variance = xs.sqr()?.mean_keepdim(D::Minus1)?;
    let xs = xs.broadcast_div(&(variance + f64::from(eps))?.sqrt()?)?;
    xs.broadcast_mul(&params.get(1)?)?.broadcast_add(&params.get(2)?)
}

struct AddNorm {
    eps: f32,
}

impl InplaceOp3 for AddNorm {
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
        let xs = contiguous_mut(xs, xs_l, self.name())?;
        let residual = contiguous(residual, residual_l, self.name())?;
        let params = contiguous(params, params_l, self.name())?;
        let width = params.len() / 3;
        if width == 0 || params.len() != 3 * width || xs.len() % width != 0 || xs.len() != residual.len() {
            bail!("{}: {} + {} numbers, {} parameters", self.name(), xs.len(), residual.len(), params.len());
        }
        let task = width * ROWS_PER_TASK;
        let tasks = xs.par_chunks_mut(task).zip(residual.par_chunks(task));
        tasks.for_each(|(rows, residual)| add_norm_rows(rows, residual, params, self.eps));
        Ok(())
    }
}

widened! {
    fn add_norm_rows(rows: &mut [f32], residual: &[f32], params: &[f32], eps: f32) {
        let width = params.len() / 3;
        let (bias, params) = params.split_at(width);
        let (weight, shift) = params.split_at(width);
        for (row, residual) in rows.chunks_exact_mut(width).zip(residual.chunks_exact(width)) {
            for ((x, r), b) in row.iter_mut().zip(residual).zip(bias) {
                *x += r + b;
            }
            let mean = sum(row, |x| x) / width as f32;
            let variance = sum(row, |x| (x - mean) * (x - mean)) / width as f32;
            let scale = 1.0 / (variance + eps).sqrt();
            for ((x, w), s) in row.iter_mut().zip(weight).zip(shift) {
                *x = (*x - mean) * scale * w + s;
            }
        }
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

    fn parameters(width: usize) -> Result<Tensor> {
        Tensor::arange(0f32, 3.0 * width as f32, &Device::Cpu)?.affine(0.01, -0.3)?.reshape((3, width))
    }

    #[test]
    fn the_fast_form_agrees_with_the_plain_one() -> Result<()> {
        for width in [1, 5, 16, 37, 384] {
            let xs = Tensor::randn(0f32, 2.0, (33, width), &Device::Cpu)?;
            let residual = Tensor::randn(1f32, 1.0, (33, width), &Device::Cpu)?;
            let params = parameters(width)?;
            let expected = plain(&xs, &residual, &params, 1e-5)?;
            let got = add_norm(xs, &residual, &params, 1e-5)?;
            let off = (got - expected)?.abs()?.max_all()?.to_scalar::<f32>()?;
            assert!(off < 2e-5, "width {width}: off by {off}");
        }
        Ok(())
    }

    #[test]
    fn a_row_far_from_zero_keeps_its_variance() -> Result<()> {
        // In f32, 4096^2 + 1 = 4096^2: a variance from squares would be lost, or negative.
        let xs = Tensor::new(&[[4095f32, 4096.0, 4097.0, 4096.0]], &Device::Cpu)?;
        let params = Tensor::new(&[[0f32; 4], [1.0; 4], [0.0; 4]], &Device::Cpu)?;
        let got = add_norm(xs.copy()?, &xs.zeros_like()?, &params, 1e-12)?.to_vec2::<f32>()?;
        let expected = [-2f32.sqrt(), 0.0, 2f32.sqrt(), 0.0];
        assert!(got[0].iter().zip(expected).all(|(g, e)| (g - e).abs() < 1e-5), "{got:?}");
        Ok(())
    }

    #[test]
    fn a_constant_row_gives_the_shift() -> Result<()> {
        let xs = Tensor::full(3f32, (1, 8), &Device::Cpu)?;
        let params = Tensor::cat(
            &[
                Tensor::zeros((1, 8), candle_core::DType::F32, &Device::Cpu)?,
                Tensor::full(2f32, (2, 8), &Device::Cpu)?,
            ],
            0,
        )?;
        let got = add_norm(xs.copy()?, &xs, &params, 1e-12)?.to_vec2::<f32>()?;
        assert!(got[0].iter().all(|x| (x - 2.0).abs() < 1e-6), "{got:?}");
        Ok(())
    }
}
