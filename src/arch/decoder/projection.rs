//! The linear layers of a decoder, in whatever form their weights are kept.

use candle_core::{Result, Tensor};

use crate::kernels::{Linear, QuantizedLayers};

/// A linear layer.
#[derive(Debug)]
pub(super) enum Projection {
    /// Weights as numbers.
    Dense(Linear),
    /// Weights as small integers with a scale to a few of them.
    Quantized(QuantizedLayers),
}

impl Projection {
    /// `[rows, in]` to `[rows, out]`.
    pub(super) fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        match self {
            Self::Dense(linear) => linear.forward(xs),
            Self::Quantized(layers) => layers.forward(xs),
        }
    }

    /// The weights of some outputs, all of which there are: `[outputs, in]`.
    fn weights_of(&self, outputs: &[u32]) -> Result<Tensor> {
        match self {
            Self::Dense(linear) => linear.weights_of(outputs),
            Self::Quantized(layers) => layers.weights_of(outputs),
        }
    }
}

/// The tokens' vectors.
#[derive(Debug)]
pub(super) enum Table {
    /// `[tokens, width]`
    Numbers(Tensor),
    /// The weights of a linear layer to as many outputs, in memory once: where the table is the head too, or is
    /// quantised.
    Weights(Projection),
}

impl Table {
    /// The vectors of `ids`, which are all in the table: `[ids, width]`.
    pub(super) fn rows(&self, ids: &[u32]) -> Result<Tensor> {
        match self {
            Self::Numbers(table) => table.index_select(&Tensor::new(ids, table.device())?, 0),
            Self::Weights(weights) => weights.weights_of(ids),
        }
    }

    /// `[rows, width]` to `[rows, tokens]`.
    pub(super) fn logits(&self, xs: &Tensor) -> Result<Tensor> {
        match self {
            Self::Numbers(table) => xs.matmul(&table.t()?),
            Self::Weights(weights) => weights.forward(xs),
        }
    }
}
