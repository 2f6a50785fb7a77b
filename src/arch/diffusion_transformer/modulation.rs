//! What signals do to a block's tokens: Perez et al., "`FiLM`: Visual Reasoning with a General Conditioning Layer",
//! arXiv 1709.07871, with gates as in Peebles and Xie, arXiv 2212.09748, section 3.2.

use candle_core::{Result, Tensor};

use crate::kernels::{Linear, Norm, add_scaled};

/// What is added to variances, whatever the configuration.
pub(super) const NORM_EPS: f64 = 1e-6;

/// What is done to the tokens of one picture in a block: a shift, a scale and a gate for each part, `width` numbers
/// each.
#[derive(Debug)]
pub(super) struct Modulation {
    /// `[chunks x width]`
    numbers: Tensor,
    width: usize,
}

/// A part of a block, by the first of its chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Attention = 0,
    FeedForward = 3,
    /// That of pictures to themselves.
    SecondAttention = 6,
}

impl Modulation {
    /// What `layer` makes of each picture's signals, `[pictures, width]`.
    pub(super) fn of(layer: &Linear, signals: &Tensor) -> Result<Vec<Self>> {
        let (pictures, width) = signals.dims2()?;
        let numbers = layer.forward(signals)?;
        (0..pictures).map(|picture| Ok(Self { numbers: numbers.get(picture)?, width })).collect()
    }

    /// What goes into a part of each picture: `norm(xs) * (1 + scale) + shift`, where the norm has no weights of its
    /// own.
    pub(super) fn norms(all: &[Self], part: Part) -> Result<Vec<Norm>> {
        all.iter().map(|own| own.norm_by(part as usize, part as usize + 1)).collect()
    }

    /// The same where nothing else is modulated, and the scale comes first.
    pub(super) fn last_norms(all: &[Self]) -> Result<Vec<Norm>> {
        all.iter().map(|own| own.norm_by(1, 0)).collect()
    }

    /// Adds `gate * ys`, what comes out of a part, to `xs`: both are `[rows, width]`. Writes into the storage of
    /// `xs`, which may be some rows of a larger tensor.
    pub(super) fn add(&self, xs: &Tensor, ys: &Tensor, part: Part) -> Result<()> {
        add_scaled(xs, ys, &self.chunk(part as usize + 2)?)
    }

    fn norm_by(&self, shift: usize, scale: usize) -> Result<Norm> {
        Norm::layer(&(self.chunk(scale)? + 1.0)?, Some(&self.chunk(shift)?), NORM_EPS)
    }

    fn chunk(&self, chunk: usize) -> Result<Tensor> {
        self.numbers.narrow(0, chunk * self.width, self.width)
    }
}
