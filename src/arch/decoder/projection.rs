//! The linear layers of a decoder, in whatever form their weights are kept.

use candle_core::{Result, Tensor};

use crate::kernels::Linear;

/// A linear layer.
#[derive(Debug)]
pub(super) enum Projection {
    /// Weights as numbers.
    Dense(Linear),
}

impl Projection {
    /// `[rows, in]` to `[rows, out]`.
    pub(super) fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        match self {
            Self::Dense(linear) => linear.forward(xs),
        }
    }
}
