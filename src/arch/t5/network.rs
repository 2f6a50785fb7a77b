//! The network: what all workers of a model share.

use std::ops::Range;

use candle_core::{Result, Tensor, bail};

use super::config::{MAX_TOKENS, T5Config};
use crate::arch::encoder::{FeedForward, Gate, Layer, Orientation, SelfAttention, rows};
use crate::arch::{ArchError, Bias, Scope};
use crate::kernels::{Norm, equal_spans};

/// T5's encoder.
#[derive(Debug)]
pub(crate) struct T5Encoder {
    /// `[vocabulary, width]`
    words: Tensor,
    layers: Vec<Layer>,
    norm: Norm,
}

impl T5Encoder {
    /// Takes its tensors out of `root`.
    pub(crate) fn load(root: &Scope<'_>, config: &T5Config) -> std::result::Result<Self, ArchError> {
        let scope = root.sub("encoder");
        // Some checkpoints have the table under one name, some under the other, some under both.
        let words = if root.contains("shared.weight") {
            root.tensor("shared.weight", [config.vocab_size, config.width])?
        } else {
            scope.tensor("embed_tokens.weight", [config.vocab_size, config.width])?
        };
        let table = scope.sub("block.0.layer.0.SelfAttention.relative_attention_bias");
        let table = table.tensor("weight", [config.distances.kinds, config.heads])?;
        let biases = Some(config.distances.biases(&table, MAX_TOKENS - 1)?);
        // All layers have the biases of the first.
        let orientation = Orientation { biases, ..Orientation::default() };
        let layers = (0..config.layers)
            .map(|i| load_layer(&scope.sub("block").sub(i).sub("layer"), config, orientation.clone()));
        Ok(Self {
            words,
            layers: layers.collect::<std::result::Result<_, _>>()?,
            norm: scope.rms_norm("final_layer_norm", config.width, config.norm_eps)?,
        })
    }

    /// The vectors of the tokens of `texts`, `[texts x length, width]`. All are of one length, at most
    /// [`MAX_TOKENS`]: shorter ones have been filled up, and all see the filling, as in the pipelines of diffusers.
    pub(crate) fn forward(&self, texts: &[Vec<u32>]) -> Result<Tensor> {
        let length = texts.first().map_or(0, Vec::len);
        if length == 0 || length > MAX_TOKENS || texts.iter().any(|text| text.len() != length) {
            bail!("t5: texts of {length} tokens and others: of one length in 1..={MAX_TOKENS} they must be");
        }
        let spans: Vec<Range<usize>> = equal_spans(texts.len(), length).collect();
        let mut xs = rows(&self.words, &texts.concat())?;
        for layer in &self.layers {
            xs = layer.forward(&xs, &[], &spans)?;
        }
        self.norm.forward(&xs)
    }
}

fn load_layer(
    scope: &Scope<'_>,
    config: &T5Config,
    orientation: Orientation,
) -> std::result::Result<Layer, ArchError> {
    let (width, all, inner) = (config.width, config.all_heads(), config.inner);
    let (first, second) = (scope.sub(0), scope.sub(1));
    let names = first.sub("SelfAttention");
    let attention = SelfAttention {
        qkv: names.joined(["q", "k", "v"], width, [all; 3], Bias::Absent)?,
        output: names.linear("o", all, width, Bias::Absent)?,
        heads: config.heads,
        head_size: config.head_size,
        scale: 1.0,
        orientation,
    };
    let names = second.sub("DenseReluDense");
    let up = match config.gate {
        Gate::Present => names.joined(["wi_0", "wi_1"], width, [inner; 2], Bias::Absent)?,
        Gate::Absent => names.linear("wi", width, inner, Bias::Absent)?,
    };
    let feed_forward = FeedForward {
        up,
        down: names.linear("wo", inner, width, Bias::Absent)?,
        activation: config.activation,
        gate: config.gate,
    };
    let norm = |scope: &Scope<'_>| scope.rms_norm("layer_norm", width, config.norm_eps);
    Ok(Layer::of(norm(&first)?, attention, norm(&second)?, feed_forward))
}
