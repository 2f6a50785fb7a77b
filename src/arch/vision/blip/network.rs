//! The network that writes: what all workers of a model share.

use candle_core::{Device, Result, Tensor};

use super::config::TextConfig;
use super::memory::{PictureMemory, Reading, TextMemory, look_at, look_back};
use crate::arch::encoder::{FeedForward, Gate, rows, usual_scale};
use crate::arch::{ArchError, Bias, Scope};
use crate::kernels::{Activation, Attention, Linear, Norm};

/// What a token's score for one behind it loses: as good as all.
const HIDDEN: f32 = -1e9;

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
    heads: usize,
    scale: f32,
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
            heads: config.num_attention_heads,
            scale: usual_scale(config.head_size()),
        })
    }

    /// What is kept of a picture, whose rows are `[rows, numbers of a row]`.
    pub(super) fn remember(&self, picture: &Tensor) -> Result<PictureMemory> {
        let layers = self.layers.iter().map(|layer| layer.picture.forward(picture));
        Ok(PictureMemory(layers.collect::<Result<_>>()?))
    }

    /// Reads the beginning of a text, of at least one token, about a picture. The logits of what comes next are
    /// `[1, vocabulary]`.
    pub(super) fn begin(&self, tokens: &[u32], picture: &PictureMemory) -> Result<(TextMemory, Tensor)> {
        let mut memory = TextMemory::new(self.layers.len());
        let places: Vec<u32> = (0..tokens.len() as u32).collect();
        let mut xs = self.embed(tokens, &places)?;
        let hiding = hiding(self.heads, tokens.len())?;
        let heads = Attention { bias: Some(&hiding), ..self.heads() };
        for (number, layer) in self.layers.iter().enumerate() {
            let qkv = layer.qkv.forward(&xs)?;
            memory.keep(number, &qkv.to_vec2()?, qkv.dim(1)? / 3);
            #[allow(clippy::single_range_in_vec_init, reason = "one text is a span like any other")]
            let attended = heads.forward(&qkv, &[0..tokens.len()])?;
            xs = layer.after(&xs, &attended, |queries| {
                look_at(self.heads(), number, queries, &[(tokens.len(), picture)])
            })?;
        }
        memory.count(tokens.len());
        let last = xs.narrow(0, tokens.len() - 1, 1)?;
        Ok((memory, self.tell(&last)?))
    }

    /// Has texts read a token each. The logits of what comes next are `[texts, vocabulary]`, in order.
    pub(super) fn go_on(&self, readings: &mut [Reading<'_>]) -> Result<Tensor> {
        let texts = readings.iter().flat_map(|reading| &reading.texts);
        let (tokens, places): (Vec<u32>, Vec<u32>) =
            texts.map(|(memory, token)| (*token, memory.tokens() as u32)).unzip();
        let mut xs = self.embed(&tokens, &places)?;
        for (number, layer) in self.layers.iter().enumerate() {
            let qkv = layer.qkv.forward(&xs)?;
            let attended = look_back(self.heads(), number, &qkv, readings)?;
            let pictures = readings.iter().map(|reading| (reading.texts.len(), reading.picture));
            let pictures: Vec<_> = pictures.collect();
            xs = layer.after(&xs, &attended, |queries| look_at(self.heads(), number, queries, &pictures))?;
        }
        readings.iter_mut().flat_map(|reading| &mut reading.texts).for_each(|(memory, _)| memory.count(1));
        self.tell(&xs)
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

    fn heads(&self) -> Attention<'static> {
        Attention { heads: self.heads, scale: self.scale, window: None, bias: None }
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

    /// All of the layer behind its texts' looking at themselves. `look` has queries, `[tokens, hidden]`, look at
    /// pictures.
    fn after(
        &self,
        xs: &Tensor,
        attended: &Tensor,
        look: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let xs = self.attention_norm.forward_add(self.attention_output.forward(attended)?, xs)?;
        let seen = look(&self.queries.forward(&xs)?)?;
        let xs = self.cross_norm.forward_add(self.cross_output.forward(&seen)?, &xs)?;
        self.output_norm.forward_add(self.feed_forward.forward(&xs)?, &xs)
    }
}

/// What is added to scores by distance, so that so many tokens see only those before them: `[heads, 2 x tokens - 1]`.
fn hiding(heads: usize, tokens: usize) -> Result<Tensor> {
    let reach = tokens - 1;
    let line = (0..=2 * reach).map(|at| if at > reach { HIDDEN } else { 0.0 });
    let all: Vec<f32> = std::iter::repeat_n(line, heads).flatten().collect();
    Tensor::from_vec(all, (heads, 2 * reach + 1), &Device::Cpu)
}
