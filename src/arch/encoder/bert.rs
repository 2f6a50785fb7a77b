//! BERT: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding",
//! arXiv 1810.04805. Reference: `transformers/models/bert/modeling_bert.py` of Hugging Face transformers.
//!
//! Computes in f32, on packed texts: `tokens` below is the sum of their lengths.

use candle_core::{DType, Device, Result, Tensor};

use super::attention::{attend, scaled};
use super::config::EncoderConfig;
use super::packed::PackedTexts;
use crate::arch::ArchError;
use crate::kernels::{Activation, add_norm, bias_activation};
use crate::weights::{WeightStore, WeightsError};

/// How many rows go through the feed-forward part at once: enough for full speed, and the widest buffer of
/// a layer stays small however large the batch.
pub(crate) const FEED_FORWARD_ROWS: usize = 128;

/// Tensors of one part of the network: names below a prefix.
struct Scope<'a> {
    store: &'a WeightStore,
    prefix: String,
}

impl Scope<'_> {
    fn sub(&self, name: &str) -> Self {
        Self { store: self.store, prefix: format!("{}{name}.", self.prefix) }
    }

    fn tensor<const N: usize>(
        &self,
        name: &str,
        shape: [usize; N],
    ) -> std::result::Result<Tensor, WeightsError> {
        self.store.tensor(&format!("{}{name}", self.prefix), shape.to_vec())
    }

    /// `[3, width]` for [`add_norm`]: the bias of the layer before the norm, the norm's weight and shift.
    fn norm(&self, bias: &Tensor, width: usize) -> std::result::Result<Tensor, ArchError> {
        // The checkpoints that Google's were first converted to have the older names.
        let old = self.store.contains(&format!("{}gamma", self.prefix));
        let (weight, shift) = if old { ("gamma", "beta") } else { ("weight", "bias") };
        Ok(Tensor::stack(&[bias, &self.tensor(weight, [width])?, &self.tensor(shift, [width])?], 0)?)
    }
}

/// `x W^T`; the bias joins the operation that follows.
#[derive(Debug)]
struct Projection {
    /// `[in, out]`, a view of `[out, in]`.
    weight: Tensor,
}

impl Projection {
    fn new(weight: &Tensor) -> Result<Self> {
        Ok(Self { weight: weight.t()? })
    }

    /// `[tokens, in]` to `[tokens, out]`.
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        xs.matmul(&self.weight)
    }
}

#[derive(Debug)]
struct Embeddings {
    words: Tensor,
    positions: Tensor,
    types: Tensor,
    norm: Tensor,
    eps: f32,
}

impl Embeddings {
    fn load(scope: &Scope<'_>, config: &EncoderConfig) -> std::result::Result<Self, ArchError> {
        let width = config.hidden_size;
        let no_bias = Tensor::zeros(width, DType::F32, &Device::Cpu)?;
        Ok(Self {
            words: scope.tensor("word_embeddings.weight", [config.vocab_size, width])?,
            positions: scope.tensor("position_embeddings.weight", [config.max_position_embeddings, width])?,
            types: scope.tensor("token_type_embeddings.weight", [config.type_vocab_size, width])?,
            norm: scope.sub("LayerNorm").norm(&no_bias, width)?,
            eps: config.layer_norm_eps as f32,
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
            places = bias_activation(places, &self.types.get(first as usize)?, Activation::Identity)?;
        } else {
            places = (places + rows(&self.types, &texts.type_ids)?)?;
        }
        add_norm(rows(&self.words, &texts.ids)?, &places, &self.norm, self.eps)
    }
}

#[derive(Debug)]
struct Layer {
    /// Query, key and value as one: `[hidden, 3 x hidden]`.
    qkv: Projection,
    qkv_bias: Tensor,
    attention_output: Projection,
    attention_norm: Tensor,
    intermediate: Projection,
    intermediate_bias: Tensor,
    output: Projection,
    output_norm: Tensor,
    heads: usize,
    activation: Activation,
    eps: f32,
}

impl Layer {
    fn load(scope: &Scope<'_>, config: &EncoderConfig) -> std::result::Result<Self, ArchError> {
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let attention = scope.sub("attention");
        let joined = |name: &str, shape: &[usize]| -> std::result::Result<Tensor, ArchError> {
            let part = |of: &str| {
                attention.store.tensor(&format!("{}self.{of}.{name}", attention.prefix), shape.to_vec())
            };
            let query = scaled(&part("query")?, config.head_size())?;
            Ok(Tensor::cat(&[&query, &part("key")?, &part("value")?], 0)?)
        };
        let attention_output = attention.sub("output");
        let (intermediate, output) = (scope.sub("intermediate.dense"), scope.sub("output"));
        Ok(Self {
            qkv: Projection::new(&joined("weight", &[width, width])?)?,
            qkv_bias: joined("bias", &[width])?,
            attention_output: Projection::new(&attention_output.tensor("dense.weight", [width, width])?)?,
            attention_norm: attention_output
                .sub("LayerNorm")
                .norm(&attention_output.tensor("dense.bias", [width])?, width)?,
            intermediate: Projection::new(&intermediate.tensor("weight", [inner, width])?)?,
            intermediate_bias: intermediate.tensor("bias", [inner])?,
            output: Projection::new(&output.tensor("dense.weight", [width, inner])?)?,
            output_norm: output.sub("LayerNorm").norm(&output.tensor("dense.bias", [width])?, width)?,
            heads: config.num_attention_heads,
            activation: config.activation()?,
            eps: config.layer_norm_eps as f32,
        })
    }

    /// `[tokens, hidden]` to the same.
    fn forward(&self, xs: &Tensor, texts: &PackedTexts) -> Result<Tensor> {
        let qkv = bias_activation(self.qkv.forward(xs)?, &self.qkv_bias, Activation::Identity)?;
        let attended = attend(&qkv, &texts.spans, self.heads)?;
        drop(qkv);
        let xs = add_norm(self.attention_output.forward(&attended)?, xs, &self.attention_norm, self.eps)?;
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
        let inner =
            bias_activation(self.intermediate.forward(xs)?, &self.intermediate_bias, self.activation)?;
        add_norm(self.output.forward(&inner)?, xs, &self.output_norm, self.eps)
    }
}

/// The network: what all workers of a model share.
#[derive(Debug)]
pub(crate) struct Bert {
    embeddings: Embeddings,
    layers: Vec<Layer>,
}

impl Bert {
    /// Takes its tensors out of `store`, under the names of `BertModel` or those with `bert.` before them.
    pub(crate) fn load(store: &WeightStore, config: &EncoderConfig) -> std::result::Result<Self, ArchError> {
        let bare = store.contains("embeddings.word_embeddings.weight");
        let root = Scope { store, prefix: if bare { String::new() } else { "bert.".to_owned() } };
        let embeddings = Embeddings::load(&root.sub("embeddings"), config)?;
        let layers = (0..config.num_hidden_layers)
            .map(|i| Layer::load(&root.sub(&format!("encoder.layer.{i}")), config));
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
