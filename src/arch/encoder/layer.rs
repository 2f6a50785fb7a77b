//! One layer: attention, then a feed-forward part, each added to what it was given.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::config::{EncoderConfig, Gate, Norms};
use super::layout::Layout;
use crate::arch::{ArchError, Scope};
use crate::kernels::{Activation, Attention, Linear, Norm, Rope, add, gate};

/// What scores are multiplied by, so that wide heads do not make sharp ones.
pub(crate) fn usual_scale(head_size: usize) -> f32 {
    (head_size as f32).sqrt().recip()
}

/// How many rows go through the feed-forward part at once: enough for full speed, and the widest buffer of
/// a layer stays small however large the batch.
pub(crate) const FEED_FORWARD_ROWS: usize = 256;

#[derive(Debug)]
pub(crate) struct Layer {
    attention: SelfAttention,
    feed_forward: FeedForward,
    norms: LayerNorms,
}

#[derive(Debug)]
enum LayerNorms {
    After {
        attention: Norm,
        output: Norm,
    },
    /// The first layer's input is normalised already.
    Before {
        attention: Option<Norm>,
        feed_forward: Norm,
    },
}

/// How attention knows where things are: tables that layers share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Orientation {
    pub(crate) rope: Option<Arc<Rope>>,
    /// `[heads, 2 x reach + 1]`.
    pub(crate) biases: Option<Tensor>,
    /// How many tokens are seen on either side; `None`: all.
    pub(crate) window: Option<usize>,
}

/// Every token looks at the tokens of its text, or at those near it.
#[derive(Debug)]
pub(crate) struct SelfAttention {
    /// Query, key and value as one: `[hidden]` to `[3 x hidden]`.
    pub(crate) qkv: Linear,
    pub(crate) output: Linear,
    pub(crate) heads: usize,
    pub(crate) head_size: usize,
    /// What scores are multiplied by.
    pub(crate) scale: f32,
    pub(crate) orientation: Orientation,
}

/// Every token by itself.
#[derive(Debug)]
pub(crate) struct FeedForward {
    pub(crate) up: Linear,
    pub(crate) down: Linear,
    pub(crate) activation: Activation,
    pub(crate) gate: Gate,
}

impl Layer {
    /// The layer in `scope`; `first` of its network or not.
    pub(crate) fn load(
        scope: &Scope<'_>,
        config: &EncoderConfig,
        layout: &Layout,
        orientation: Orientation,
        first: bool,
    ) -> std::result::Result<Self, ArchError> {
        let (width, inner, biases) = (config.hidden_size, config.intermediate_size, config.biases);
        let norm = |name| scope.layer_norm(name, width, config.norm_eps, biases.norm);
        let norms = match config.norms {
            Norms::After => LayerNorms::After {
                attention: norm(layout.attention_norm)?,
                output: norm(layout.output_norm)?,
            },
            Norms::Before => LayerNorms::Before {
                attention: if first { None } else { Some(norm(layout.attention_norm)?) },
                feed_forward: norm(layout.output_norm)?,
            },
        };
        let attention = SelfAttention {
            qkv: layout.load_qkv(scope, config)?,
            output: scope.linear(layout.attention_output, width, width, biases.attention_output)?,
            heads: config.num_attention_heads,
            head_size: config.head_size(),
            scale: usual_scale(config.head_size()),
            orientation,
        };
        let feed_forward = FeedForward {
            up: layout.load_up(scope, config)?,
            down: scope.linear(layout.down, inner, width, biases.down)?,
            activation: config.activation,
            gate: config.gate,
        };
        Ok(Self { attention, feed_forward, norms })
    }

    /// A layer of these parts, whose inputs are normalised before each.
    pub(crate) fn of(
        attention_norm: Norm,
        attention: SelfAttention,
        feed_forward_norm: Norm,
        feed_forward: FeedForward,
    ) -> Self {
        let norms = LayerNorms::Before { attention: Some(attention_norm), feed_forward: feed_forward_norm };
        Self { attention, feed_forward, norms }
    }

    /// `[tokens, hidden]` to the same, of texts that `spans` says the tokens of. Where positions are angles,
    /// `positions` are those of the tokens.
    pub(crate) fn forward(&self, xs: &Tensor, positions: &[u32], spans: &[Range<usize>]) -> Result<Tensor> {
        let attended = |xs: &Tensor| self.attention.forward(xs, positions, spans);
        let xs = match &self.norms {
            LayerNorms::After { attention, .. } => attention.forward_add(attended(xs)?, xs)?,
            LayerNorms::Before { attention: Some(norm), .. } => add(attended(&norm.forward(xs)?)?, xs)?,
            LayerNorms::Before { attention: None, .. } => add(attended(xs)?, xs)?,
        };
        match &self.norms {
            LayerNorms::Before { feed_forward, .. } => self.feed_forward.add_to(xs, feed_forward),
            LayerNorms::After { output, .. } => {
                let parts = blocks(xs.dim(0)?).map(|rows| {
                    let xs = xs.narrow(0, rows.start, rows.len())?;
                    output.forward_add(self.feed_forward.forward(&xs)?, &xs)
                });
                Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)
            }
        }
    }
}

impl SelfAttention {
    /// `[tokens, hidden]` to the same.
    fn forward(&self, xs: &Tensor, positions: &[u32], spans: &[Range<usize>]) -> Result<Tensor> {
        let Orientation { rope, biases, window } = &self.orientation;
        let mut qkv = self.qkv.forward(xs)?;
        if let Some(rope) = rope {
            qkv = rope.apply(qkv, positions, 2 * self.heads, self.head_size)?;
        }
        let attention =
            Attention { heads: self.heads, scale: self.scale, window: *window, bias: biases.as_ref() };
        self.output.forward(&attention.forward(&qkv, spans)?)
    }
}

/// Rows of a feed-forward part, as many as go through it at once.
fn blocks(rows: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows).step_by(FEED_FORWARD_ROWS).map(move |start| start..(start + FEED_FORWARD_ROWS).min(rows))
}

impl FeedForward {
    /// What comes of `norm(xs)`, added to `xs`, block by block and in place: call it only on a tensor just computed,
    /// which nothing else shares.
    pub(crate) fn add_to(&self, xs: Tensor, norm: &Norm) -> Result<Tensor> {
        for rows in blocks(xs.dim(0)?) {
            let part = xs.narrow(0, rows.start, rows.len())?;
            let inner = self.forward(&norm.forward(&part)?)?;
            add(part, &inner)?;
        }
        Ok(xs)
    }

    /// `[rows, hidden]` to the same.
    pub(crate) fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let inner = match self.gate {
            Gate::Absent => self.up.forward_activated(xs, self.activation)?,
            Gate::Present => gate(&self.up.forward(xs)?, self.activation)?,
        };
        self.down.forward(&inner)
    }
}
