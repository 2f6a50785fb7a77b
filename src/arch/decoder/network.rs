//! The network: tokens of many texts in, vectors and logits out.
//!
//! Reference: `transformers/models/llama/modeling_llama.py` and its kin. Computes in f32; `tokens` below is
//! the sum over all texts of a step.

use candle_core::{Result, Tensor};

use super::config::{DecoderConfig, FeedForwardConfig, RopeConfig};
use super::layer::{Layer, Surroundings, norm};
use super::projection::Vocabulary;
use super::tensors::Tensors;
use crate::arch::ArchError;
use crate::kernels::{Angles, Norm, PagedKv, PagedText};

/// A decoder's weights: what all workers of a model share.
#[derive(Debug)]
pub(super) struct Network {
    config: DecoderConfig,
    vocabulary: Vocabulary,
    layers: Vec<Layer>,
    norm: Norm,
}

/// One worker's keys and values, a set of blocks per layer.
#[derive(Debug)]
pub(super) struct KvCache {
    layers: Vec<PagedKv>,
}

impl KvCache {
    /// Room for `blocks` blocks of every layer.
    pub(super) fn new(config: &DecoderConfig, blocks: usize) -> Self {
        let layer = |_| PagedKv::new(blocks, config.kv_heads, config.head_size);
        Self { layers: config.layers.iter().map(layer).collect() }
    }

    /// How many bytes that takes.
    pub(super) fn bytes(config: &DecoderConfig, blocks: usize) -> u64 {
        let numbers = PagedKv::numbers(blocks, config.kv_heads, config.head_size) as u64;
        numbers.saturating_mul(4).saturating_mul(config.layers.len() as u64)
    }
}

/// What goes in.
#[derive(Debug)]
pub(super) enum Inputs<'a> {
    /// Token ids, all below the vocabulary's size.
    Ids(&'a [u32]),
    /// `[tokens, hidden]`, scaled as the network's own table would be.
    #[allow(dead_code, reason = "what images become")]
    Vectors(Tensor),
}

/// One text's share of a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct StepText<'a> {
    pub(super) paged: PagedText<'a>,
    /// Whether the text is so long that its positions are stretched.
    pub(super) stretched: bool,
}

impl Network {
    pub(super) fn load(
        tensors: &impl Tensors,
        config: DecoderConfig,
    ) -> std::result::Result<Self, ArchError> {
        let (tokens, width) = (config.vocab_size, config.hidden_size);
        let vocabulary = if config.tied {
            Vocabulary::Tied(tensors.tied(tokens, width)?)
        } else {
            let table = tensors.table(tokens, width)?;
            Vocabulary::Apart { table, head: tensors.head(width, tokens)? }
        };
        let layers = (0..config.layers.len()).map(|index| Layer::load(tensors, &config, index));
        let layers = layers.collect::<std::result::Result<_, _>>()?;
        Ok(Self { vocabulary, layers, norm: norm(&tensors.last_norm(width)?, &config)?, config })
    }

    pub(super) fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// One vector per token, `[tokens, hidden]`, before the last norm. The texts' keys and values up to here
    /// are in `cache`; those of the step's tokens are put there.
    pub(super) fn forward(
        &self,
        inputs: Inputs<'_>,
        texts: &[StepText<'_>],
        cache: &mut KvCache,
    ) -> Result<Tensor> {
        let mut xs = match inputs {
            Inputs::Ids(ids) => {
                let rows = self.vocabulary.vectors(ids)?;
                // Doubled sums are exact, so that a scale of one changes nothing.
                rows.affine(self.config.embedding_scale, 0.0)?
            }
            Inputs::Vectors(vectors) => vectors,
        };
        let angles: Vec<Angles> = self.config.ropes.iter().map(|rope| angles(rope, texts)).collect();
        let paged: Vec<PagedText<'_>> = texts.iter().map(|text| text.paged).collect();
        let around = Surroundings { texts: &paged, angles: &angles };
        for (layer, kv) in self.layers.iter().zip(&mut cache.layers) {
            xs = layer.forward(&xs, around, kv)?;
        }
        Ok(xs)
    }

    /// The logits of some of the rows that [`forward`](Self::forward) gave: `[rows, vocabulary]`.
    pub(super) fn logits(&self, hidden: &Tensor, rows: &[u32]) -> Result<Tensor> {
        let hidden = hidden.index_select(&Tensor::new(rows, hidden.device())?, 0)?;
        let logits = self.vocabulary.logits(&self.norm.forward(&hidden)?)?;
        match self.config.logit_cap {
            Some(cap) => logits.affine(cap.recip(), 0.0)?.tanh()?.affine(cap, 0.0),
            None => Ok(logits),
        }
    }
}

/// By how much each token of the step is turned.
fn angles(rope: &RopeConfig, texts: &[StepText<'_>]) -> Angles {
    let mut angles = Angles::new(rope.frequencies.len());
    for text in texts {
        let frequencies = match &rope.stretched {
            Some(stretched) if text.stretched => &stretched.frequencies,
            _ => &rope.frequencies,
        };
        let first = text.paged.position;
        (first..first + text.paged.tokens)
            .for_each(|position| angles.push(position, frequencies, rope.scale));
    }
    angles
}

/// How many numbers the largest step holds at once, beside weights and cache: it reads `read` tokens and
/// continues `texts` texts of up to `length` tokens.
pub(super) fn step_numbers(config: &DecoderConfig, read: usize, texts: usize, length: usize) -> u64 {
    let rows = (read + texts) as u64;
    let wide = config.layers.iter().map(|layer| match layer.feed_forward {
        FeedForwardConfig::Dense { width } => 3 * width,
        FeedForwardConfig::Experts { chosen, width, .. } => 3 * chosen * width,
    });
    let (query, kv) = (config.query_width(), config.kv_width());
    // What comes in, its norm, and either queries, keys, values and what attention makes of them, or gate and
    // up and their product.
    let within = (3 * query + 2 * kv).max(wide.max().unwrap_or(0)) + 3 * config.hidden_size;
    // Scores of each thread's task, and the logits of all texts.
    let scores = 64 * config.heads / config.kv_heads * length;
    let logits = 3 * texts * config.vocab_size;
    rows.saturating_mul(within as u64).saturating_add(scores as u64).saturating_add(logits as u64)
}
