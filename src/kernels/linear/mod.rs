//! Linear layers: `x W^T + b`.

use candle_core::{Result, Tensor};

use super::activation::{Activation, add_bias};
use super::precision::Precision;

/// A linear layer: weights arranged once for the kernels, and shared by all that compute with them.
#[derive(Debug)]
pub(crate) struct Linear {
    /// `[in, out]`, a view of `[out, in]`.
    weight: Tensor,
    /// `[out]`
    bias: Option<Tensor>,
}

impl Linear {
    /// Layers on the same input as one, their outputs side by side, in order: `weights` are `[out, in]` each,
    /// `biases` are `[out]` each, or there are none.
    pub(crate) fn joined(weights: &[Tensor], biases: &[Tensor], _precision: Precision) -> Result<Self> {
        let bias = if biases.is_empty() { None } else { Some(Tensor::cat(biases, 0)?) };
        Ok(Self { weight: Tensor::cat(weights, 0)?.t()?, bias })
    }

    /// `[rows, in]` to `[rows, out]`.
    pub(crate) fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.forward_activated(xs, Activation::Identity)
    }

    /// `activation(x W^T + b)`: `[rows, in]` to `[rows, out]`.
    pub(crate) fn forward_activated(&self, xs: &Tensor, activation: Activation) -> Result<Tensor> {
        let ys = xs.matmul(&self.weight)?;
        add_bias(ys, self.bias.as_ref(), activation)
    }
}
