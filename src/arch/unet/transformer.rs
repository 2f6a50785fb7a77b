//! Pixels that look at each other, and then at the prompt. Reference: `Transformer2DModel` and
//! `BasicTransformerBlock` of Hugging Face diffusers.

use candle_core::{Result, Tensor};

use super::config::UnetConfig;
use crate::arch::encoder::{FeedForward, Gate, usual_scale};
use crate::arch::{ArchError, Bias, Scope};
use crate::kernels::{Activation, Attention, GroupNorm, Linear, Norm, PixelGrid, Span, add, equal_spans};

/// Of the norm before a transformer, whatever the others have.
const EPS: f64 = 1e-6;

/// Of the norms between a transformer's parts.
const LAYER_EPS: f64 = 1e-5;

/// A transformer of some layers.
#[derive(Debug)]
pub(super) struct Transformer {
    norm: GroupNorm,
    into: Linear,
    layers: Vec<Layer>,
    out: Linear,
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
        // A linear layer of each pixel, in either form of storage.
        let projection = |name| {
            if config.linear_projection {
                return scope.linear(name, channels, channels, Bias::Present);
            }
            let layer = scope.sub(name);
            let weight = layer.tensor("weight", [channels, channels, 1, 1])?.reshape((channels, channels))?;
            let bias = layer.tensor("bias", [channels])?;
            Ok::<_, ArchError>(Linear::joined(&[weight], &[bias], scope.precision())?)
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
        let mut inner = self.into.forward(&self.norm.forward(xs, grid, Activation::Identity)?)?;
        for layer in &self.layers {
            inner = layer.forward(inner, grid, prompts)?;
        }
        add(self.out.forward(&inner)?, xs)
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

    fn forward(&self, mut xs: Tensor, grid: PixelGrid, prompts: Prompts<'_>) -> Result<Tensor> {
        let scale = usual_scale(xs.dim(1)? / self.heads);
        let attention = Attention { heads: self.heads, scale, window: None, bias: None };
        let pixels = equal_spans(grid.pictures, grid.pixels());
        let tokens = equal_spans(grid.pictures, prompts.length);
        // Assigned anew, so that what is no longer needed goes at once.
        let mut inner = self.qkv.forward(&self.norms[0].forward(&xs)?)?;
        inner = attention.forward(&inner, &pixels.clone().collect::<Vec<_>>())?;
        xs = add(self.output.forward(&inner)?, &xs)?;

        let spans: Vec<_> = pixels.zip(tokens).map(|(queries, keys)| Span { queries, keys }).collect();
        inner = self.queries.forward(&self.norms[1].forward(&xs)?)?;
        inner = attention.across(&inner, &self.keys_values.forward(prompts.tokens)?, &spans)?;
        xs = add(self.second_output.forward(&inner)?, &xs)?;
        drop(inner);
        self.feed_forward.add_to(xs, &self.norms[2])
    }
}
