//! The network that writes: what all workers of a model share.

use candle_core::{Result, Tensor};

use super::config::TextConfig;
use super::memory::{Part, PictureMemory, Reading, TextMemory, look_at};
use crate::arch::encoder::{FeedForward, Gate, rows, usual_scale};
use crate::arch::{ArchError, Bias, Scope};
use crate::kernels::{Activation, Attention, Direction, Linear, Norm, PagedAttention, PagedText, RopeStyle};

/// Embeddings, layers and what tells the next token.
#[derive(Debug)]
pub(super) struct Network {
    /// `[vocabulary, hidden]`, where they are not the weights of `words`.
    embeddings: Option<Tensor>,
    /// `[positions, hidden]`
    places: Tensor,
    embedding_norm: Norm,
    layers: Vec<Layer>,
    transform: Linear,
    activation: Activation,
    transform_norm: Norm,
    /// `[hidden]` to `[vocabulary]`.
    words: Linear,
    /// How texts look at themselves; at pictures with as many heads.
    attention: PagedAttention,
}

/// One layer: its text, then the picture, then each token by itself; each added to what it was given, and normalised.
#[derive(Debug)]
struct Layer {
    /// Query, key and value as one: `[hidden]` to `[3 x hidden]`.
    qkv: Linear,
    attention_output: Linear,
    attention_norm: Norm,
    queries: Linear,
    /// Key and value as one: a picture's row to `[2 x hidden]`.
    picture: Linear,
    cross_output: Linear,
    cross_norm: Norm,
    feed_forward: FeedForward,
    output_norm: Norm,
}

impl Network {
    /// Takes its tensors out of `scope`, for pictures of rows of `row` numbers.
    pub(super) fn load(
        scope: &Scope<'_>,
        config: &TextConfig,
        row: usize,
    ) -> std::result::Result<Self, ArchError> {
        let (width, eps) = (config.hidden_size, config.norm_eps);
        let (bert, head) = (scope.sub("bert"), scope.sub("cls.predictions"));
        let embeddings = bert.sub("embeddings");
        let table = embeddings.tensor("word_embeddings.weight", [config.vocab_size, width])?;
        let (weight, embedded) = if config.tied {
            (table, None)
        } else {
            (head.tensor("decoder.weight", [config.vocab_size, width])?, Some(table))
        };
        let bias = if head.contains("bias") { "bias" } else { "decoder.bias" };
        let bias = head.tensor(bias, [config.vocab_size])?;
        let layers = (0..config.num_hidden_layers)
            .map(|i| Layer::load(&bert.sub("encoder.layer").sub(i), config, row));
        Ok(Self {
            embeddings: embedded,
            places: embeddings.tensor("position_embeddings.weight", [config.max_positions, width])?,
            embedding_norm: embeddings.layer_norm("LayerNorm", width, eps, Bias::Present)?,
            layers: layers.collect::<std::result::Result<_, _>>()?,
            transform: head.linear("transform.dense", width, width, Bias::Present)?,
            activation: config.activation,
            transform_norm: head.layer_norm("transform.LayerNorm", width, eps, Bias::Present)?,
            words: Linear::joined(&[weight], &[bias], scope.precision())?,
            attention: looking_back(config),
        })
    }

    /// What is kept of a picture, whose rows are `[rows, numbers of a row]`.
    pub(super) fn remember(&self, picture: &Tensor) -> Result<PictureMemory> {
        let layers = self.layers.iter().map(|layer| layer.picture.forward(picture));
        Ok(PictureMemory(layers.collect::<Result<_>>()?))
    }

    /// Has texts read, and keeps what becomes of their tokens in `memory`. The logits of what comes after the last
    /// token of each are `[texts, vocabulary]`, in order. There must be at least one.
    pub(super) fn read(&self, readings: &[Reading<'_>], memory: &mut TextMemory) -> Result<Tensor> {
        let parts = || readings.iter().flat_map(|reading| &reading.texts);
        let tokens: Vec<u32> = parts().flat_map(|part| part.tokens).copied().collect();
        let places: Vec<u32> = parts().flat_map(Part::places).collect();
        let texts: Vec<PagedText<'_>> = parts().map(Part::paged).collect();
        let heads =
            Attention { heads: self.attention.heads, scale: self.attention.scale, window: None, bias: None };
        let mut xs = self.embed(&tokens, &places)?;
        for (number, layer) in self.layers.iter().enumerate() {
            let qkv = layer.qkv.forward(&xs)?;
            let attended = self.attention.forward(&qkv, None, &texts, memory.of_layer(number))?;
            xs = layer.attention_norm.forward_add(layer.attention_output.forward(&attended)?, &xs)?;
            let seen = look_at(heads, number, &layer.queries.forward(&xs)?, readings)?;
            xs = layer.cross_norm.forward_add(layer.cross_output.forward(&seen)?, &xs)?;
            xs = layer.output_norm.forward_add(layer.feed_forward.forward(&xs)?, &xs)?;
        }
        let mut end = 0;
        let last = texts.iter().map(|text| {
            end += text.tokens as u32;
            end - 1
        });
        self.tell(&rows(&xs, &last.collect::<Vec<_>>())?)
    }

    /// `[tokens, hidden]`
    fn embed(&self, tokens: &[u32], places: &[u32]) -> Result<Tensor> {
        let words = match &self.embeddings {
            Some(table) => rows(table, tokens)?,
            None => self.words.weights_of(tokens)?,
        };
        self.embedding_norm.forward_add(words, &rows(&self.places, places)?)
    }

    /// `[tokens, hidden]` to `[tokens, vocabulary]`.
    fn tell(&self, xs: &Tensor) -> Result<Tensor> {
        let transformed = self.transform.forward_activated(xs, self.activation)?;
        self.words.forward(&self.transform_norm.forward(&transformed)?)
    }
}

impl Layer {
    fn load(scope: &Scope<'_>, config: &TextConfig, row: usize) -> std::result::Result<Self, ArchError> {
        let (width, inner, eps) = (config.hidden_size, config.intermediate_size, config.norm_eps);
        let linear = |name| scope.linear(name, width, width, Bias::Present);
        let norm = |name| scope.layer_norm(name, width, eps, Bias::Present);
        let own = ["attention.self.query", "attention.self.key", "attention.self.value"];
        let pictures = ["crossattention.self.key", "crossattention.self.value"];
        let feed_forward = FeedForward {
            up: scope.linear("intermediate.dense", width, inner, Bias::Present)?,
            down: scope.linear("output.dense", inner, width, Bias::Present)?,
            activation: config.activation,
            gate: Gate::Absent,
        };
        Ok(Self {
            qkv: scope.joined(own, width, [width; 3], Bias::Present)?,
            attention_output: linear("attention.output.dense")?,
            attention_norm: norm("attention.output.LayerNorm")?,
            queries: linear("crossattention.self.query")?,
            picture: scope.joined(pictures, row, [width; 2], Bias::Present)?,
            cross_output: linear("crossattention.output.dense")?,
            cross_norm: norm("crossattention.output.LayerNorm")?,
            feed_forward,
            output_norm: norm("output.LayerNorm")?,
        })
    }
}

/// A token looks at itself and at what is before it in its text.
fn looking_back(config: &TextConfig) -> PagedAttention {
    PagedAttention {
        heads: config.num_attention_heads,
        kv_heads: config.num_attention_heads,
        head_size: config.head_size(),
        scale: usual_scale(config.head_size()),
        cap: None,
        direction: Direction::Backward,
        window: None,
        norms: None,
        style: RopeStyle::Halves,
    }
}
