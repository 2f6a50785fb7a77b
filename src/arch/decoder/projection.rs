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

/// The way in, from tokens to vectors, and the way out, from vectors to a number for each token.
#[derive(Debug)]
pub(super) enum Vocabulary {
    /// The same weights, in memory once.
    Tied(Projection),
    /// Weights of their own.
    Apart {
        /// The tokens' vectors.
        table: Table,
        /// The way out.
        head: Projection,
    },
}

/// The tokens' vectors, where they are nothing else.
#[derive(Debug)]
pub(super) enum Table {
    /// `[tokens, width]`
    Numbers(Tensor),
    /// As weights are kept.
    Weights(Projection),
}

impl Vocabulary {
    /// The vectors of `ids`, which are all in the vocabulary: `[ids, width]`.
    pub(super) fn vectors(&self, ids: &[u32]) -> Result<Tensor> {
        match self {
            Self::Tied(weights) | Self::Apart { table: Table::Weights(weights), .. } => weights.weights_of(ids),
            Self::Apart { table: Table::Numbers(table), .. } => {
                table.index_select(&Tensor::new(ids, table.device())?, 0)
            }
        }
    }

    /// `[rows, width]` to `[rows, tokens]`.
    pub(super) fn logits(&self, xs: &Tensor) -> Result<Tensor> {
        match self {
            Self::Tied(head) | Self::Apart { head, .. } => head.forward(xs),
        }
    }
}
