//! From the vectors of all tokens to the one of a picture.

use std::ops::Range;

use candle_core::{D, Device, Result, Tensor};
use candle_nn::ops::softmax_last_dim;

use super::config::{self, VitConfig};
use crate::arch::encoder::{FeedForward, Gate, rows};
use crate::arch::{ArchError, Bias, Scope};
use crate::kernels::{Activation, Linear, Norm, add};

/// What makes one vector of all.
#[derive(Debug)]
pub(super) enum Head {
    /// The class token's, normalised, through a linear layer if there is one.
    Class {
        norm: Norm,
        layer: Option<(Linear, Activation)>,
    },
    Probe(Box<Probe>),
    /// All tokens'.
    Tokens(Option<Norm>),
}

/// A learned question, asked of all tokens of a picture, normalised.
#[derive(Debug)]
pub(super) struct Probe {
    norm: Norm,
    /// The question, for each head: `[heads, 1, head size]`, scaled.
    query: Tensor,
    /// Key and value as one: `[hidden]` to `[2 x hidden]`.
    kv: Linear,
    output: Linear,
    feed_forward_norm: Norm,
    feed_forward: FeedForward,
    heads: usize,
}

impl Head {
    /// `root` is what the network lies in, `scope` the network.
    pub(super) fn load(
        root: &Scope<'_>,
        scope: &Scope<'_>,
        config: &VitConfig,
    ) -> std::result::Result<Self, ArchError> {
        let width = config.hidden_size;
        if config.head == (config::Head::Tokens { normalised: false }) {
            return Ok(Self::Tokens(None));
        }
        let norm = scope.layer_norm(config.layout.last_norm, width, config.norm_eps, Bias::Present)?;
        let layer = match config.head {
            config::Head::Tokens { .. } => return Ok(Self::Tokens(Some(norm))),
            config::Head::Probe => return Ok(Self::Probe(Box::new(Probe::load(norm, scope, config)?))),
            config::Head::Class { projection: None } => None,
            config::Head::Class { projection: Some(size) } => {
                Some((root.linear("visual_projection", width, size, Bias::Absent)?, Activation::Identity))
            }
            config::Head::Pooler { size, activation } => {
                Some((scope.linear("pooler.dense", width, size, Bias::Present)?, activation))
            }
        };
        Ok(Self::Class { norm, layer })
    }

    /// `xs` is `[tokens, hidden]`, of pictures that `spans` says the tokens of; the result is `[pictures,
    /// dimensions]`, or as many rows as there are tokens.
    pub(super) fn forward(&self, xs: &Tensor, spans: &[Range<usize>]) -> Result<Tensor> {
        match self {
            Self::Class { norm, layer } => {
                let first: Vec<u32> = spans.iter().map(|span| span.start as u32).collect();
                let first = norm.forward(&rows(xs, &first)?)?;
                match layer {
                    Some((layer, activation)) => layer.forward_activated(&first, *activation),
                    None => Ok(first),
                }
            }
            Self::Probe(probe) => probe.forward(xs, spans),
            Self::Tokens(norm) => norm.as_ref().map_or_else(|| Ok(xs.clone()), |norm| norm.forward(xs)),
        }
    }
}

impl Probe {
    fn load(norm: Norm, scope: &Scope<'_>, config: &VitConfig) -> std::result::Result<Self, ArchError> {
        let (width, inner, heads) =
            (config.hidden_size, config.intermediate_size, config.num_attention_heads);
        let scope = scope.sub("head");
        let attention = scope.sub("attention");
        let weight = attention.tensor("in_proj_weight", [3 * width, width])?;
        let bias = attention.tensor("in_proj_bias", [3 * width])?;
        let layer = |from, count| {
            let (weight, bias) = (weight.narrow(0, from, count)?, bias.narrow(0, from, count)?);
            Linear::joined(&[weight.contiguous()?], &[bias.contiguous()?], scope.precision())
        };
        let probe = scope.tensor("probe", [1, 1, width])?.reshape((1, width))?;
        let query = layer(0, width)?.forward(&probe)?;
        let scale = (config.head_size() as f64).sqrt().recip();
        let query = (query.reshape((heads, 1, config.head_size()))? * scale)?;
        let feed_forward = FeedForward {
            up: scope.linear("mlp.fc1", width, inner, Bias::Present)?,
            down: scope.linear("mlp.fc2", inner, width, Bias::Present)?,
            activation: config.activation,
            gate: Gate::Absent,
        };
        Ok(Self {
            norm,
            query,
            kv: layer(width, 2 * width)?,
            output: attention.linear("out_proj", width, width, Bias::Present)?,
            feed_forward_norm: scope.layer_norm("layernorm", width, config.norm_eps, Bias::Present)?,
            feed_forward,
            heads,
        })
    }

    fn forward(&self, xs: &Tensor, spans: &[Range<usize>]) -> Result<Tensor> {
        let kv = self.kv.forward(&self.norm.forward(xs)?)?;
        let answers = spans.iter().map(|span| self.ask(&kv.narrow(0, span.start, span.len())?));
        let xs = self.output.forward(&Tensor::cat(&answers.collect::<Result<Vec<_>>>()?, 0)?)?;
        add(self.feed_forward.forward(&self.feed_forward_norm.forward(&xs)?)?, &xs)
    }

    /// Keys and values of one picture, `[tokens, 2 x hidden]`, to `[1, hidden]`.
    fn ask(&self, kv: &Tensor) -> Result<Tensor> {
        let (tokens, width) = (kv.dim(0)?, kv.dim(1)? / 2);
        let of_heads = |from| {
            let part = kv.narrow(1, from, width)?.reshape((tokens, self.heads, width / self.heads))?;
            part.transpose(0, 1)?.contiguous()
        };
        let scores = self.query.matmul(&of_heads(0)?.transpose(D::Minus1, D::Minus2)?)?;
        softmax_last_dim(&scores)?.matmul(&of_heads(width)?)?.reshape((1, width))
    }
}

/// A vector as it is stored, on the CPU.
pub(super) fn numbers(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()
}
