//! BERT: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding",
//! arXiv 1810.04805. Reference: `transformers/models/bert/modeling_bert.py` of Hugging Face transformers.
//!
//! Computes in f32, on packed texts: `tokens` below is the sum of their lengths.

use candle_core::{Result, Tensor};

use super::config::EncoderConfig;
use super::packed::PackedTexts;
use crate::arch::{ArchError, Bias, Scope};
use crate::kernels::{Activation, Attention, Linear, Norm, add_bias};

/// How many rows go through the feed-forward part at once: enough for full speed, and the widest buffer of
/// a layer stays small however large the batch.
pub(crate) const FEED_FORWARD_ROWS: usize = 128;

#[derive(Debug)]
struct Embeddings {
    words: Tensor,
    positions: Tensor,
    types: Tensor,
    norm: Norm,
}

impl Embeddings {
    fn load(scope: &Scope<'_>, config: &EncoderConfig) -> std::result::Result<Self, ArchError> {
        let width = config.hidden_size;
        Ok(Self {
            words: scope.tensor("word_embeddings.weight", [config.vocab_size, width])?,
            positions: scope.tensor("position_embeddings.weight", [config.max_position_embeddings, width])?,
            types: scope.tensor("token_type_embeddings.weight", [config.type_vocab_size, width])?,
            norm: scope.layer_norm("LayerNorm", width, config.layer_norm_eps, Bias::Present)?,
        })
    }

    /// `[tokens, hidden]`.
    fn forward(&self, texts: &PackedTexts) -> Result<Tensor> {
        let rows =
            |table: &Tensor, indices: &[u32]| table.index_select(&Tensor::new(indices, table.device())?, 0);
        let mut places = rows(&self.positions, &texts.positions)?;
        // Only pairs of texts have a second segment, so this is nearly always one row for all.
        let first = texts.type_ids[0];
        if texts.type_ids.iter().all(|id| *id == first) {
            places = add_bias(places, Some(&self.types.get(first as usize)?), Activation::Identity)?;
        } else {
            places = (places + rows(&self.types, &texts.type_ids)?)?;
        }
        self.norm.forward_add(rows(&self.words, &texts.ids)?, &places)
    }
}

#[derive(Debug)]
struct Layer {
    /// Query, key and value as one: `[hidden]` to `[3 x hidden]`.
    qkv: Linear,
    attention_output: Linear,
    attention_norm: Norm,
    intermediate: Linear,
    output: Linear,
    output_norm: Norm,
    heads: usize,
    scale: f32,
    activation: Activation,
}

impl Layer {
    fn load(scope: &Scope<'_>, config: &EncoderConfig) -> std::result::Result<Self, ArchError> {
        let (width, inner, eps) = (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
        let attention = scope.sub("attention");
        let qkv = ["query", "key", "value"];
        Ok(Self {
            qkv: attention.sub("self").joined(qkv, width, [width; 3], Bias::Present)?,
            attention_output: attention.linear("output.dense", width, width, Bias::Present)?,
            attention_norm: attention.layer_norm("output.LayerNorm", width, eps, Bias::Present)?,
            intermediate: scope.linear("intermediate.dense", width, inner, Bias::Present)?,
            output: scope.linear("output.dense", inner, width, Bias::Present)?,
            output_norm: scope.layer_norm("output.LayerNorm", width, eps, Bias::Present)?,
            heads: config.num_attention_heads,
            scale: (config.head_size() as f32).sqrt().recip(),
            activation: config.activation()?,
        })
    }

    /// `[tokens, hidden]` to the same.
    fn forward(&self, xs: &Tensor, texts: &PackedTexts) -> Result<Tensor> {
        let attention = Attention { heads: self.heads, scale: self.scale, window: None, bias: None };
        let attended = attention.forward(&self.qkv.forward(xs)?, &texts.spans)?;
        let xs = self.attention_norm.forward_add(self.attention_output.forward(&attended)?, xs)?;
        drop(attended);
        let tokens = xs.dim(0)?;
        if tokens <= FEED_FORWARD_ROWS {
            return self.feed_forward(&xs);
        }
        let blocks = (0..tokens)
            .step_by(FEED_FORWARD_ROWS)
            .map(|start| self.feed_forward(&xs.narrow(0, start, FEED_FORWARD_ROWS.min(tokens - start))?));
        Tensor::cat(&blocks.collect::<Result<Vec<_>>>()?, 0)
    }

    fn feed_forward(&self, xs: &Tensor) -> Result<Tensor> {
        // [rows, intermediate]
        let inner = self.intermediate.forward_activated(xs, self.activation)?;
        self.output_norm.forward_add(self.output.forward(&inner)?, xs)
    }
}

/// The network: what all workers of a model share.
#[derive(Debug)]
pub(crate) struct Bert {
    embeddings: Embeddings,
    layers: Vec<Layer>,
}

impl Bert {
    /// Takes its tensors out of `root`, under the names of `BertModel` or those with `bert.` before them.
    pub(crate) fn load(root: &Scope<'_>, config: &EncoderConfig) -> std::result::Result<Self, ArchError> {
        let root = root.sub_if("bert", "embeddings.word_embeddings.weight");
        let embeddings = Embeddings::load(&root.sub("embeddings"), config)?;
        let layers =
            (0..config.num_hidden_layers).map(|i| Layer::load(&root.sub("encoder.layer").sub(i), config));
        Ok(Self { embeddings, layers: layers.collect::<std::result::Result<_, _>>()? })
    }

    /// One vector per token, `[tokens, hidden]`. There must be at least one token; ids, segments and
    /// positions must be within the tables, which [`super::EncoderWeights`] sees to.
    pub(crate) fn forward(&self, texts: &PackedTexts) -> Result<Tensor> {
        let mut xs = self.embeddings.forward(texts)?;
        for layer in &self.layers {
            xs = layer.forward(&xs, texts)?;
        }
        Ok(xs)
    }
}
