//! Pixels that look at each other, and then at the prompt. Reference: `Transformer2DModel` and
//! `BasicTransformerBlock` of Hugging Face diffusers.

use candle_core::{Result, Tensor};

use super::config::UnetConfig;
use crate::arch::encoder::{FeedForward, Gate};
use crate::arch::{ArchError, Bias, Scope};
use crate::kernels::{Activation, Attention, Conv2d, GroupNorm, Linear, Norm, PixelGrid, Span, Window, add};

/// Of the norm before a transformer, whatever the others have.
const EPS: f64 = 1e-6;

/// Of the norms between a transformer's parts.
const LAYER_EPS: f64 = 1e-5;

/// How many pixels go through a feed-forward part at once: its inner rows are eight times as wide as a pixel's.
pub(super) const FEED_FORWARD_PIXELS: usize = 256;

/// A transformer of some layers.
#[derive(Debug)]
pub(super) struct Transformer {
    norm: GroupNorm,
    into: Projection,
    layers: Vec<Layer>,
    out: Projection,
}

/// A linear layer of each pixel, in either form of storage.
#[derive(Debug)]
enum Projection {
    Linear(Linear),
    Conv(Conv2d),
}

#[derive(Debug)]
struct Layer {
    norms: [Norm; 3],
    heads: usize,
    /// Queries, keys and values of pixels that look at each other.
    qkv: Linear,
    output: Linear,
    /// Queries of pixels that look at the prompt.
    queries: Linear,
    /// Keys and values of the prompt.
    keys_values: Linear,
    second_output: Linear,
    feed_forward: FeedForward,
}

/// The prompts of a batch of pictures: `tokens` is `[pictures x length, width]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prompts<'a> {
    pub(super) tokens: &'a Tensor,
    pub(super) length: usize,
}

impl Transformer {
    pub(super) fn load(
        scope: &Scope<'_>,
        config: &UnetConfig,
        channels: usize,
        heads: usize,
        layers: usize,
    ) -> std::result::Result<Self, ArchError> {
        let projection = |name| {
            Ok::<_, ArchError>(if config.linear_projection {
                Projection::Linear(scope.linear(name, channels, channels, Bias::Present)?)
            } else {
                Projection::Conv(scope.conv(name, channels, channels, Window::PIXEL)?)
            })
        };
        let blocks = scope.sub("transformer_blocks");
        let layers =
            (0..layers).map(|i| Layer::load(&blocks.sub(i), channels, heads, config.cross_attention_dim));
        Ok(Self {
            norm: scope.group_norm("norm", channels, config.groups, EPS)?,
            into: projection("proj_in")?,
            layers: layers.collect::<std::result::Result<_, _>>()?,
            out: projection("proj_out")?,
        })
    }

    /// `[rows, channels]` to the same.
    pub(super) fn forward(&self, xs: &Tensor, grid: PixelGrid, prompts: Prompts<'_>) -> Result<Tensor> {
        let mut inner = self.into.forward(&self.norm.forward(xs, grid, Activation::Identity)?, grid)?;
        for layer in &self.layers {
            inner = layer.forward(inner, grid, prompts)?;
        }
        add(self.out.forward(&inner, grid)?, xs)
    }
}

impl Projection {
    fn forward(&self, xs: &Tensor, grid: PixelGrid) -> Result<Tensor> {
        match self {
            Self::Linear(linear) => linear.forward(xs),
            Self::Conv(conv) => conv.forward(xs, grid),
        }
    }
}

impl Layer {
    fn load(
        scope: &Scope<'_>,
        width: usize,
        heads: usize,
        prompt: usize,
    ) -> std::result::Result<Self, ArchError> {
        let norm = |name| scope.layer_norm(name, width, LAYER_EPS, Bias::Present);
        let (own, across) = (scope.sub("attn1"), scope.sub("attn2"));
        let inner = 4 * width;
        // The file has the gate behind what it gates.
        let (weights, biases) = scope.layers(["ff.net.0.proj"], width, [2 * inner], Bias::Present)?;
        let [weights, biases] = [&weights[0], &biases[0]].map(|both| {
            Ok::<_, candle_core::Error>([both.narrow(0, inner, inner)?, both.narrow(0, 0, inner)?])
        });
        let feed_forward = FeedForward {
            up: Linear::joined(&weights?, &biases?, scope.precision())?,
            down: scope.linear("ff.net.2", inner, width, Bias::Present)?,
            activation: Activation::Gelu,
            gate: Gate::Present,
        };
        Ok(Self {
            norms: [norm("norm1")?, norm("norm2")?, norm("norm3")?],
            heads,
            qkv: own.joined(["to_q", "to_k", "to_v"], width, [width; 3], Bias::Absent)?,
            output: own.linear("to_out.0", width, width, Bias::Present)?,
            queries: across.linear("to_q", width, width, Bias::Absent)?,
            keys_values: across.joined(["to_k", "to_v"], prompt, [width; 2], Bias::Absent)?,
            second_output: across.linear("to_out.0", width, width, Bias::Present)?,
            feed_forward,
        })
    }

    fn forward(&self, xs: Tensor, grid: PixelGrid, prompts: Prompts<'_>) -> Result<Tensor> {
        let (rows, width) = xs.dims2()?;
        let scale = ((width / self.heads) as f32).sqrt().recip();
        let attention = Attention { heads: self.heads, scale, window: None, bias: None };
        let pixels = |picture: usize| picture * grid.pixels()..(picture + 1) * grid.pixels();
        let pictures: Vec<_> = (0..grid.pictures).map(pixels).collect();
        let attended = attention.forward(&self.qkv.forward(&self.norms[0].forward(&xs)?)?, &pictures)?;
        let xs = add(self.output.forward(&attended)?, &xs)?;

        let tokens = |picture: usize| picture * prompts.length..(picture + 1) * prompts.length;
        let spans: Vec<_> =
            (0..grid.pictures).map(|i| Span { queries: pixels(i), keys: tokens(i) }).collect();
        let queries = self.queries.forward(&self.norms[1].forward(&xs)?)?;
        let attended = attention.across(&queries, &self.keys_values.forward(prompts.tokens)?, &spans)?;
        let xs = add(self.second_output.forward(&attended)?, &xs)?;

        let parts = (0..rows).step_by(FEED_FORWARD_PIXELS).map(|start| {
            let xs = xs.narrow(0, start, FEED_FORWARD_PIXELS.min(rows - start))?;
            add(self.feed_forward.forward(&self.norms[2].forward(&xs)?)?, &xs)
        });
        Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)
    }
}
