//! The network: what all workers of a model share. Computes on packed texts; `tokens` below is the sum of their
//! lengths.

use candle_core::{Device, Result, Tensor};

use super::config::{Reading, TextTowerConfig};
use crate::arch::encoder::{FeedForward, Gate, Layer, Orientation, SelfAttention, rows, usual_scale};
use crate::arch::packed::PackedTexts;
use crate::arch::vit::Layout;
use crate::arch::{ArchError, Architecture, Bias, Scope};
use crate::kernels::{Linear, Norm, add};

/// What a token's score for one behind it loses: as good as all.
const HIDDEN: f32 = -1e9;

/// A text tower.
#[derive(Debug)]
pub(crate) struct Network {
    words: Tensor,
    places: Tensor,
    layers: Vec<Layer>,
    norm: Norm,
    head: Option<Linear>,
    reading: Reading,
}

/// Which of the vectors that a text's tokens have after each layer are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Those after all layers but so many, through the last norm.
    Normed(usize),
    /// Those after all layers but so many, as they are.
    Raw(usize),
}

/// What a network makes of texts that are of one length.
#[derive(Debug)]
pub(crate) struct TextVectors {
    /// Of every token: `[tokens, width]`.
    pub(crate) tokens: Tensor,
    /// Of every text: `[texts, dimensions]`, or `[texts, width]` where no layer follows.
    pub(crate) pooled: Tensor,
}

impl Network {
    /// Takes its tensors out of `root`.
    pub(crate) fn load(root: &Scope<'_>, config: &TextTowerConfig) -> std::result::Result<Self, ArchError> {
        let width = config.hidden_size;
        let head = match config.architecture {
            Architecture::Clip => root.linear("text_projection", width, config.dimensions, Bias::Absent)?,
            _ => inside(root).linear("head", width, config.dimensions, Bias::Present)?,
        };
        Ok(Self { head: Some(head), ..Self::headless(root, config)? })
    }

    /// The same without the layer that makes a text's vector comparable with those of pictures.
    pub(crate) fn headless(
        root: &Scope<'_>,
        config: &TextTowerConfig,
    ) -> std::result::Result<Self, ArchError> {
        let width = config.hidden_size;
        let scope = inside(root);
        let embeddings = scope.sub("embeddings");
        let orientation = Orientation { biases: hiding(config)?, ..Orientation::default() };
        let layers = (0..config.num_hidden_layers)
            .map(|i| load_layer(&scope.sub("encoder.layers").sub(i), config, orientation.clone()));
        Ok(Self {
            words: embeddings.tensor("token_embedding.weight", [config.vocab_size, width])?,
            places: embeddings.tensor("position_embedding.weight", [config.max_positions, width])?,
            layers: layers.collect::<std::result::Result<_, _>>()?,
            norm: scope.layer_norm("final_layer_norm", width, config.norm_eps, Bias::Present)?,
            head: None,
            reading: config.reading,
        })
    }

    /// One vector per text, `[texts, dimensions]`. There must be at least one; ids and positions must be within
    /// the tables, which whoever embeds sees to.
    pub(crate) fn forward(&self, texts: &PackedTexts) -> Result<Tensor> {
        self.pooled(&through(self.embedded(texts)?, &self.layers, texts)?, texts)
    }

    /// The vectors of tokens at some depth, and that of each text, likewise.
    pub(crate) fn read(&self, texts: &PackedTexts, depth: Depth) -> Result<TextVectors> {
        let (Depth::Normed(left_out) | Depth::Raw(left_out)) = depth;
        let (before, after) = self.layers.split_at(self.layers.len().saturating_sub(left_out));
        let xs = through(self.embedded(texts)?, before, texts)?;
        let tokens = match depth {
            Depth::Normed(_) => self.norm.forward(&xs)?,
            Depth::Raw(_) => xs.clone(),
        };
        let pooled = self.pooled(&through(xs, after, texts)?, texts)?;
        Ok(TextVectors { tokens, pooled })
    }

    fn embedded(&self, texts: &PackedTexts) -> Result<Tensor> {
        add(rows(&self.words, &texts.ids)?, &rows(&self.places, &texts.positions)?)
    }

    /// The vectors that stand for the texts, after all layers.
    fn pooled(&self, xs: &Tensor, texts: &PackedTexts) -> Result<Tensor> {
        let standing = |span: &std::ops::Range<usize>| {
            let place = self.reading.place(&texts.ids[span.clone()]);
            (span.start + place) as u32
        };
        let standing: Vec<u32> = texts.spans.iter().map(standing).collect();
        let pooled = self.norm.forward(&rows(xs, &standing)?)?;
        match &self.head {
            Some(head) => head.forward(&pooled),
            None => Ok(pooled),
        }
    }
}

/// Where the tower's tensors are: some files have nothing else.
fn inside<'a>(root: &Scope<'a>) -> Scope<'a> {
    root.sub_if("text_model", "embeddings.token_embedding.weight")
}

fn through(mut xs: Tensor, layers: &[Layer], texts: &PackedTexts) -> Result<Tensor> {
    for layer in layers {
        xs = layer.forward(&xs, &texts.positions, &texts.spans)?;
    }
    Ok(xs)
}

impl Reading {
    /// Which token of a text stands for it. There is at least one.
    fn place(self, ids: &[u32]) -> usize {
        let first = |wanted: u32| ids.iter().position(|id| *id == wanted).unwrap_or(0);
        match self {
            Self::UpTo(end) => first(end),
            Self::UpToHighest => first(ids.iter().copied().max().unwrap_or(0)),
            Self::Whole { .. } => ids.len() - 1,
        }
    }
}

/// What is added to scores, by distance, where tokens see only those before them: `[heads, 2 x positions - 1]`.
fn hiding(config: &TextTowerConfig) -> Result<Option<Tensor>> {
    if let Reading::Whole { .. } = config.reading {
        return Ok(None);
    }
    let reach = config.max_positions - 1;
    let line = (0..=2 * reach).map(|at| if at > reach { HIDDEN } else { 0.0 });
    let heads = config.num_attention_heads;
    let all: Vec<f32> = std::iter::repeat_n(line, heads).flatten().collect();
    Tensor::from_vec(all, (heads, 2 * reach + 1), &Device::Cpu).map(Some)
}

fn load_layer(
    scope: &Scope<'_>,
    config: &TextTowerConfig,
    orientation: Orientation,
) -> std::result::Result<Layer, ArchError> {
    let (width, inner) = (config.hidden_size, config.intermediate_size);
    let norm = |name| scope.layer_norm(name, width, config.norm_eps, Bias::Present);
    // The same layers as in the part that reads pictures.
    let names = &Layout::CLIP;
    let attention = SelfAttention {
        qkv: names.qkv.load(scope, width, Bias::Present)?,
        output: scope.linear(names.attention_output, width, width, Bias::Present)?,
        heads: config.num_attention_heads,
        head_size: config.head_size(),
        scale: usual_scale(config.head_size()),
        orientation,
    };
    let feed_forward = FeedForward {
        up: scope.linear(names.up, width, inner, Bias::Present)?,
        down: scope.linear(names.down, inner, width, Bias::Present)?,
        activation: config.activation,
        gate: Gate::Absent,
    };
    Ok(Layer::of(norm(names.attention_norm)?, attention, norm(names.feed_forward_norm)?, feed_forward))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_text_is_the_first_one() {
        assert_eq!(Reading::UpTo(9).place(&[1, 4, 9, 9]), 2);
        assert_eq!(Reading::UpTo(9).place(&[1, 4]), 0);
        assert_eq!(Reading::UpToHighest.place(&[1, 8, 7, 8]), 1);
        assert_eq!(Reading::Whole { padding: 0 }.place(&[1, 8, 0, 0]), 3);
    }
}
