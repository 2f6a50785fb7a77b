//! The functions between two linear layers: GELU and `SiLU` are of Hendrycks and Gimpel, "Gaussian Error Linear
//! Units (GELUs)", arXiv 1606.08415.

use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use candle_core::{Result, Tensor};

use super::exponential::{exp, polynomial};
use super::widened;

/// A function of each number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    /// Nothing.
    Identity,
    /// `x / 2 * (1 + erf(x / sqrt 2))`.
    Gelu,
    /// GELU with tanh in place of erf, as BERT's first code had it: `gelu_new`.
    GeluTanh,
    /// `x / (1 + e^(-1.702 x))`: GELU as CLIP was trained with it.
    QuickGelu,
    /// `max(x, 0)`.
    Relu,
    /// `x / (1 + e^-x)`, also called swish.
    Silu,
    /// `tanh x`.
    Tanh,
}

/// `activation(xs + bias)`, row by row, in candle's operations: for other devices, and to check the rest against.
/// `xs` is `[rows, width]`, `bias` is `[width]`.
pub(crate) fn add_bias(xs: &Tensor, bias: Option<&Tensor>, activation: Activation) -> Result<Tensor> {
    let xs = bias.map_or_else(|| Ok(xs.clone()), |bias| xs.broadcast_add(bias))?;
    match activation {
        Activation::Identity => Ok(xs),
        Activation::Gelu => xs.gelu_erf(),
        Activation::GeluTanh => xs.gelu(),
        Activation::QuickGelu => (&xs * 1.702)?.silu()? / 1.702,
        Activation::Relu => xs.relu(),
        Activation::Silu => xs.silu(),
        Activation::Tanh => xs.tanh(),
    }
}

impl Activation {
    #[cfg(test)]
    pub(super) const ALL: [Self; 7] =
        [Self::Identity, Self::Gelu, Self::GeluTanh, Self::QuickGelu, Self::Relu, Self::Silu, Self::Tanh];

    /// Applies it to each number of `xs`, in place and on the calling thread.
    pub(crate) fn apply(self, xs: &mut [f32]) {
        match self {
            Self::Identity => {}
            Self::Gelu => gelu(xs),
            Self::GeluTanh => gelu_tanh(xs),
            Self::QuickGelu => quick_gelu(xs),
            Self::Relu => relu(xs),
            Self::Silu => silu(xs),
            Self::Tanh => tanh(xs),
        }
    }
}

widened! {
    fn gelu(xs: &mut [f32]) {
        each(xs, |x| 0.5 * x * (1.0 + erf::<FUSED>(x * FRAC_1_SQRT_2)));
    }
}

widened! {
    fn gelu_tanh(xs: &mut [f32]) {
        const TWICE_SQRT_2_OVER_PI: f32 = 1.595_769_2;
        // (1 + tanh(y)) / 2 = 1 / (1 + exp(-2 y))
        each(xs, |x| x / (1.0 + exp::<FUSED>(-TWICE_SQRT_2_OVER_PI * x * (1.0 + 0.044_715 * x * x))));
    }
}

widened! {
    fn quick_gelu(xs: &mut [f32]) {
        each(xs, |x| x / (1.0 + exp::<FUSED>(-1.702 * x)));
    }
}

widened! {
    fn relu(xs: &mut [f32]) {
        // Not `max`, which would turn not-a-number into 0 and hide it.
        each(xs, |x| if x < 0.0 { 0.0 } else { x });
    }
}

widened! {
    fn silu(xs: &mut [f32]) {
        each(xs, |x| x / (1.0 + exp::<FUSED>(-x)));
    }
}

widened! {
    fn tanh(xs: &mut [f32]) {
        // Near zero the difference would lose its digits, and the series needs but a few terms.
        const SERIES: [f32; 4] = [1.0, -1.0 / 3.0, 2.0 / 15.0, -17.0 / 315.0];
        each(xs, |x| {
            let far = 1.0 - 2.0 / (exp::<FUSED>(2.0 * x) + 1.0);
            if x.abs() < 0.25 { x * polynomial::<FUSED, 4>(SERIES, x * x) } else { far }
        });
    }
}

#[allow(clippy::inline_always, reason = "its callers are compiled for wider instruction sets")]
#[inline(always)]
fn each(xs: &mut [f32], f: impl Fn(f32) -> f32) {
    for x in xs {
        *x = f(*x);
    }
}

/// The error function to within 4e-7, without a branch, so that a compiler can do several at a time.
///
/// `x P(x^2) / Q(x^2)` on |x| <= 3.925, beyond which f32 knows only 1; P and Q are a rational least-squares
/// fit to the relative error, made for this file.
#[allow(clippy::inline_always, reason = "its callers are compiled for wider instruction sets")]
#[inline(always)]
fn erf<const FUSED: bool>(x: f32) -> f32 {
    const P: [f32; 6] =
        [FRAC_2_SQRT_PI, 0.190_592_26, 0.052_769_102, 0.003_772_485_3, 0.000_284_841_98, 0.000_002_046_038_4];
    const Q: [f32; 6] = [1.0, 0.502_240_7, 0.114_182_11, 0.014_983_07, 0.001_163_841_8, 0.000_038_047_81];
    let x = x.clamp(-3.925, 3.925);
    let t = x * x;
    (x * polynomial::<FUSED, 6>(P, t) / polynomial::<FUSED, 6>(Q, t)).clamp(-1.0, 1.0)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn every_activation_agrees_with_its_plain_form() -> Result<()> {
        let values: Vec<f32> = (-3000..3000i16).map(|i| f32::from(i) * 0.004).collect();
        let xs = Tensor::new(values.as_slice(), &Device::Cpu)?;
        for activation in Activation::ALL {
            let expected = add_bias(&xs, None, activation)?.to_vec1::<f32>()?;
            let mut got = values.clone();
            activation.apply(&mut got);
            for ((x, got), expected) in values.iter().zip(&got).zip(&expected) {
                assert!((got - expected).abs() < 2e-6, "{activation:?} of {x} is {expected}, not {got}");
            }
        }
        Ok(())
    }

    #[test]
    fn what_is_no_number_stays_visible() {
        for activation in Activation::ALL {
            let mut got = [f32::NAN, 1.0];
            activation.apply(&mut got);
            assert!(got[0].is_nan() && got[1].is_finite(), "{activation:?}: {got:?}");
        }
    }
}
