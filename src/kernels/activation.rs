//! Adding a bias to every row, and the non-linear functions between two linear layers, in place.

use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use candle_core::{CpuStorage, InplaceOp1, InplaceOp2, Layout, Result, Tensor, bail};
use rayon::prelude::*;

use super::{ROWS_PER_TASK, contiguous, contiguous_mut, widened};

/// What happens to each number after the bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    /// Nothing.
    Identity,
    /// `x / 2 * (1 + erf(x / sqrt 2))`.
    Gelu,
    /// GELU with tanh in place of erf, as BERT's first code had it: `gelu_new`.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
    /// `x / (1 + e^-x)`, also called swish.
    Silu,
    /// `tanh x`.
    Tanh,
}

/// `activation(xs + bias)`, row by row. `xs` is `[rows, width]`, `bias` is `[width]`.
///
/// Writes into the storage of `xs`: call it only on a tensor just computed, which nothing else shares.
pub(crate) fn add_bias(xs: Tensor, bias: Option<&Tensor>, activation: Activation) -> Result<Tensor> {
    if !xs.device().is_cpu() {
        return plain(&xs, bias, activation);
    }
    match bias {
        Some(bias) => xs.inplace_op2(bias, &activation)?,
        None if activation == Activation::Identity => {}
        None => xs.inplace_op1(&activation)?,
    }
    Ok(xs)
}

pub(super) fn plain(xs: &Tensor, bias: Option<&Tensor>, activation: Activation) -> Result<Tensor> {
    let xs = bias.map_or_else(|| Ok(xs.clone()), |bias| xs.broadcast_add(bias))?;
    match activation {
        Activation::Identity => Ok(xs),
        Activation::Gelu => xs.gelu_erf(),
        Activation::GeluTanh => xs.gelu(),
        Activation::Relu => xs.relu(),
        Activation::Silu => xs.silu(),
        Activation::Tanh => xs.tanh(),
    }
}

impl Activation {
    #[cfg(test)]
    pub(super) const ALL: [Self; 6] =
        [Self::Identity, Self::Gelu, Self::GeluTanh, Self::Relu, Self::Silu, Self::Tanh];

    /// `activation(x)` over any number of numbers.
    pub(super) fn slice(self, xs: &mut [f32]) {
        const NO_BIAS: [f32; 1024] = [0.0; 1024];
        xs.chunks_mut(NO_BIAS.len()).for_each(|part| self.rows(part, &NO_BIAS[..part.len()]));
    }

    /// `activation(x + bias)` over `rows`, which are as wide as `bias`.
    fn rows(self, rows: &mut [f32], bias: &[f32]) {
        match self {
            Self::Identity => identity(rows, bias),
            Self::Gelu => gelu(rows, bias),
            Self::GeluTanh => gelu_tanh(rows, bias),
            Self::Relu => relu(rows, bias),
            Self::Silu => silu(rows, bias),
            Self::Tanh => tanh(rows, bias),
        }
    }
}

impl InplaceOp1 for Activation {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, xs: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let xs = contiguous_mut(xs, layout, "activation")?;
        xs.par_chunks_mut(1024).for_each(|part| self.slice(part));
        Ok(())
    }
}

impl InplaceOp2 for Activation {
    fn name(&self) -> &'static str {
        "bias-activation"
    }

    fn cpu_fwd(&self, xs: &mut CpuStorage, xs_l: &Layout, bias: &CpuStorage, bias_l: &Layout) -> Result<()> {
        let xs = contiguous_mut(xs, xs_l, "bias-activation")?;
        let bias = contiguous(bias, bias_l, "bias-activation")?;
        if bias.is_empty() || xs.len() % bias.len() != 0 {
            bail!("bias-activation: rows of {} do not fit {} numbers", bias.len(), xs.len());
        }
        xs.par_chunks_mut(bias.len() * ROWS_PER_TASK).for_each(|rows| self.rows(rows, bias));
        Ok(())
    }
}

widened! {
    fn identity(rows: &mut [f32], bias: &[f32]) {
        each(rows, bias, |x| x);
    }
}

widened! {
    fn gelu(rows: &mut [f32], bias: &[f32]) {
        each(rows, bias, |x| 0.5 * x * (1.0 + erf(x * FRAC_1_SQRT_2)));
    }
}

widened! {
    fn gelu_tanh(rows: &mut [f32], bias: &[f32]) {
        const SQRT_2_OVER_PI: f32 = 0.797_884_6;
        each(rows, bias, |x| 0.5 * x * (1.0 + (SQRT_2_OVER_PI * x * (1.0 + 0.044_715 * x * x)).tanh()));
    }
}

widened! {
    fn relu(rows: &mut [f32], bias: &[f32]) {
        // Not `max`, which would turn not-a-number into 0 and hide it.
        each(rows, bias, |x| if x < 0.0 { 0.0 } else { x });
    }
}

widened! {
    fn silu(rows: &mut [f32], bias: &[f32]) {
        each(rows, bias, |x| x / (1.0 + (-x).exp()));
    }
}

widened! {
    fn tanh(rows: &mut [f32], bias: &[f32]) {
        each(rows, bias, f32::tanh);
    }
}

#[allow(clippy::inline_always, reason = "its callers are compiled for wider instruction sets")]
#[inline(always)]
fn each(rows: &mut [f32], bias: &[f32], f: impl Fn(f32) -> f32) {
    for row in rows.chunks_exact_mut(bias.len()) {
        for (x, b) in row.iter_mut().zip(bias) {
            *x = f(*x + b);
        }
    }
}

/// The error function to within 4e-7, without a branch, so that a compiler can do several at a time.
///
/// `x P(x^2) / Q(x^2)` on |x| <= 3.925, beyond which f32 knows only 1; P and Q are a rational least-squares
/// fit to the relative error, made for this file.
#[allow(clippy::inline_always, reason = "its callers are compiled for wider instruction sets")]
#[inline(always)]
fn erf(x: f32) -> f32 {
    const P: [f32; 6] =
        [FRAC_2_SQRT_PI, 0.190_592_26, 0.052_769_102, 0.003_772_485_3, 0.000_284_841_98, 0.000_002_046_038_4];
    const Q: [f32; 6] = [1.0, 0.502_240_7, 0.114_182_11, 0.014_983_07, 0.001_163_841_8, 0.000_038_047_81];
    let x = x.clamp(-3.925, 3.925);
    let t = x * x;
    let p = ((((P[5] * t + P[4]) * t + P[3]) * t + P[2]) * t + P[1]) * t + P[0];
    let q = ((((Q[5] * t + Q[4]) * t + Q[3]) * t + Q[2]) * t + Q[1]) * t + Q[0];
    (x * p / q).clamp(-1.0, 1.0)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn every_activation_agrees_with_its_plain_form() -> Result<()> {
        let values: Vec<f32> = (-3000..3000i16).map(|i| f32::from(i) * 0.004).collect();
        let xs = Tensor::from_vec(values, (40, 150), &Device::Cpu)?;
        let bias = Tensor::arange(-75f32, 75.0, &Device::Cpu)?.affine(0.01, 0.0)?;
        for activation in Activation::ALL {
            for bias in [Some(&bias), None] {
                let expected = plain(&xs, bias, activation)?;
                let got = add_bias(xs.copy()?, bias, activation)?;
                let off = (got - expected)?.abs()?.max_all()?.to_scalar::<f32>()?;
                assert!(off < 2e-6, "{activation:?} is off by {off}");
            }
        }
        Ok(())
    }

    #[test]
    fn what_is_no_number_stays_visible() -> Result<()> {
        for activation in Activation::ALL {
            let xs = Tensor::new(&[[f32::NAN, 1.0]], &Device::Cpu)?;
            let bias = Tensor::new(&[0f32, 0.0], &Device::Cpu)?;
            let got = add_bias(xs, Some(&bias), activation)?.to_vec2::<f32>()?;
            assert!(got[0][0].is_nan() && got[0][1].is_finite(), "{activation:?}: {got:?}");
        }
        Ok(())
    }
}
