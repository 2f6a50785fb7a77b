//! What feed-forward parts and residuals need beyond a linear layer: a gate (Shazeer, "GLU Variants Improve
//! Transformer", arXiv 2002.05202) and sums in place.

use candle_core::{CpuStorage, CustomOp1, D, InplaceOp2, InplaceOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::activation::{Activation, add_bias};
use super::{ROWS_PER_TASK, contiguous, contiguous_mut, widened};

/// `activation(a) * b`, where a row of `xs`, `[rows, 2 x width]`, is `a` and then `b`: `[rows, width]`.
pub(crate) fn gate(xs: &Tensor, activation: Activation) -> Result<Tensor> {
    if !xs.device().is_cpu() {
        return plain(xs, activation);
    }
    xs.apply_op1_no_bwd(&Gate(activation))
}

/// `xs + ys`, of one shape, written into the storage of `xs`, which may be some rows of a larger tensor: call it only
/// on one just computed, at whose rows nobody else looks.
pub(crate) fn add(xs: Tensor, ys: &Tensor) -> Result<Tensor> {
    if !xs.device().is_cpu() {
        xs.slice_set(&(&xs + ys)?, 0, 0)?;
        return Ok(xs);
    }
    xs.inplace_op2(ys, &Add)?;
    Ok(xs)
}

/// `xs + scale * ys`, where `xs` and `ys` are `[rows, width]` and `scale` is `[width]`, written into the storage of
/// `xs`: that may be some rows of a larger tensor, and nobody else may look at these meanwhile.
pub(crate) fn add_scaled(xs: &Tensor, ys: &Tensor, scale: &Tensor) -> Result<()> {
    if !xs.device().is_cpu() {
        return xs.slice_set(&(xs + ys.broadcast_mul(scale)?)?, 0, 0);
    }
    xs.inplace_op3(ys, scale, &AddScaled)
}

fn plain(xs: &Tensor, activation: Activation) -> Result<Tensor> {
    let width = xs.dim(D::Minus1)? / 2;
    add_bias(&xs.narrow(D::Minus1, 0, width)?.contiguous()?, None, activation)?
        * xs.narrow(D::Minus1, width, width)?
}

struct Gate(Activation);

impl CustomOp1 for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn cpu_fwd(&self, xs: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, width) = layout.shape().dims2()?;
        let xs = contiguous(xs, layout, "gate")?;
        if width == 0 || !width.is_multiple_of(2) {
            bail!("gate: {width} numbers have no two halves");
        }
        let half = width / 2;
        let mut gated = vec![0f32; rows * half];
        let tasks = gated.par_chunks_mut(half * ROWS_PER_TASK).zip(xs.par_chunks(width * ROWS_PER_TASK));
        tasks.for_each(|(gated, rows)| {
            for (gated, row) in gated.chunks_exact_mut(half).zip(rows.chunks_exact(width)) {
                gated.copy_from_slice(&row[..half]);
                self.0.apply(gated);
                multiply(gated, &row[half..]);
            }
        });
        Ok((CpuStorage::F32(gated), (rows, half).into()))
    }
}

struct Add;

impl InplaceOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(&self, xs: &mut CpuStorage, xs_l: &Layout, ys: &CpuStorage, ys_l: &Layout) -> Result<()> {
        const PART: usize = 8192;
        let (xs, ys) = (contiguous_mut(xs, xs_l, "add")?, contiguous(ys, ys_l, "add")?);
        if xs.len() != ys.len() {
            bail!("add: {} numbers and {}", xs.len(), ys.len());
        }
        xs.par_chunks_mut(PART).zip(ys.par_chunks(PART)).for_each(|(xs, ys)| sum(xs, ys));
        Ok(())
    }
}

struct AddScaled;

impl InplaceOp3 for AddScaled {
    fn name(&self) -> &'static str {
        "add-scaled"
    }

    fn cpu_fwd(
        &self,
        xs: &mut CpuStorage,
        xs_l: &Layout,
        ys: &CpuStorage,
        ys_l: &Layout,
        scale: &CpuStorage,
        scale_l: &Layout,
    ) -> Result<()> {
        let (xs, ys) = (contiguous_mut(xs, xs_l, "add-scaled")?, contiguous(ys, ys_l, "add-scaled")?);
        let scale = contiguous(scale, scale_l, "add-scaled")?;
        if xs.len() != ys.len() || scale.is_empty() || !xs.len().is_multiple_of(scale.len()) {
            bail!("add-scaled: {} numbers, {} and {}", xs.len(), ys.len(), scale.len());
        }
        let task = scale.len() * ROWS_PER_TASK;
        xs.par_chunks_mut(task).zip(ys.par_chunks(task)).for_each(|(xs, ys)| sum_scaled(xs, ys, scale));
        Ok(())
    }
}

widened! {
    fn multiply(xs: &mut [f32], ys: &[f32]) {
        for (x, y) in xs.iter_mut().zip(ys) {
            *x *= y;
        }
    }
}

widened! {
    fn sum(xs: &mut [f32], ys: &[f32]) {
        for (x, y) in xs.iter_mut().zip(ys) {
            *x += y;
        }
    }
}

widened! {
    fn sum_scaled(xs: &mut [f32], ys: &[f32], scale: &[f32]) {
        for (xs, ys) in xs.chunks_exact_mut(scale.len()).zip(ys.chunks_exact(scale.len())) {
            for ((x, y), scale) in xs.iter_mut().zip(ys).zip(scale) {
                *x += y * scale;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn the_fast_gate_agrees_with_the_plain_one() -> Result<()> {
        for (rows, width) in [(1, 2), (33, 10), (40, 2304)] {
            let xs = Tensor::randn(0f32, 2.0, (rows, width), &Device::Cpu)?;
            for activation in Activation::ALL {
                let off = (gate(&xs, activation)? - plain(&xs, activation)?)?.abs()?.max_all()?;
                let off = off.to_scalar::<f32>()?;
                assert!(off < 1e-5, "{activation:?}, {rows} x {width}: off by {off}");
            }
        }
        assert!(
            gate(&Tensor::zeros((2, 3), candle_core::DType::F32, &Device::Cpu)?, Activation::Relu).is_err()
        );
        Ok(())
    }

    #[test]
    fn the_first_half_is_the_one_activated() -> Result<()> {
        let xs = Tensor::new(&[[-1f32, 2.0, 3.0, -4.0]], &Device::Cpu)?;
        assert_eq!(gate(&xs, Activation::Relu)?.to_vec2::<f32>()?, [[0.0, -8.0]]);
        Ok(())
    }

    #[test]
    fn sums_are_taken_in_place() -> Result<()> {
        let xs = Tensor::randn(0f32, 1.0, (130, 100), &Device::Cpu)?;
        let ys = Tensor::randn(0f32, 1.0, (130, 100), &Device::Cpu)?;
        let expected = (&xs + &ys)?.to_vec2::<f32>()?;
        assert_eq!(add(xs.copy()?, &ys)?.to_vec2::<f32>()?, expected);
        assert!(add(xs, &ys.narrow(0, 0, 2)?).is_err());
        Ok(())
    }

    #[test]
    fn scaled_sums_are_written_to_some_rows() -> Result<()> {
        let xs = Tensor::randn(0f32, 1.0, (40, 33), &Device::Cpu)?;
        let ys = Tensor::randn(0f32, 1.0, (20, 33), &Device::Cpu)?;
        let scale = Tensor::randn(0f32, 1.0, 33, &Device::Cpu)?;
        let sum = (xs.narrow(0, 7, 20)? + ys.broadcast_mul(&scale)?)?;
        let expected =
            Tensor::cat(&[xs.narrow(0, 0, 7)?, sum, xs.narrow(0, 27, 13)?], 0)?.to_vec2::<f32>()?;
        add_scaled(&xs.narrow(0, 7, 20)?, &ys, &scale)?;
        assert_eq!(xs.to_vec2::<f32>()?, expected);
        assert!(add_scaled(&xs, &ys, &scale).is_err());
        assert!(add_scaled(&xs, &xs.copy()?, &scale.narrow(0, 0, 7)?).is_err());
        Ok(())
    }
}
