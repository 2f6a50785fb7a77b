//! Texts read whole, for their tokens' vectors and not for what comes next.

use std::num::NonZeroUsize;

use candle_core::{Result, Tensor};

use super::config::{DecoderConfig, ExpertsConfig, FeedForwardConfig};
use super::network::{Body, KvCache, StepText, widest_feed_forward};
use super::tensors::Checkpoint;
use super::weight_format::WeightFormat;
use crate::arch::packed::PackedTexts;
use crate::arch::{ArchError, Scope};
use crate::kernels::{BLOCK_TOKENS, PagedAttention, PagedKv, PagedText};

impl Body {
    /// Takes its tensors out of a checkpoint of transformers, wherever in it the network lies.
    pub(crate) fn of_checkpoint(
        root: &Scope<'_>,
        config: &DecoderConfig,
    ) -> std::result::Result<Self, ArchError> {
        let tensors = Checkpoint::new(root.clone(), config, WeightFormat::numbers(root.precision()));
        Self::load(&tensors, config.clone())
    }

    /// One vector per token, `[tokens, hidden]`, after the last norm. There must be at least one token, and all
    /// must be in the vocabulary. Keys and values last no longer than the layer that made them.
    pub(crate) fn read(&self, texts: &PackedTexts) -> Result<Tensor> {
        let config = self.config();
        let mut blocks = Vec::with_capacity(texts.spans.len());
        let mut taken = 0u32;
        for span in &texts.spans {
            let end = taken + span.len().div_ceil(BLOCK_TOKENS) as u32;
            blocks.push((taken..end).collect::<Vec<_>>());
            taken = end;
        }
        let texts_of = texts.spans.iter().zip(&blocks).map(|(span, blocks)| StepText {
            paged: PagedText { tokens: span.len(), position: 0, blocks, together: &[] },
            places: None,
            stretched: config.stretches_over().is_some_and(|over| span.len() > over),
        });
        let steps: Vec<StepText<'_>> = texts_of.collect();
        let mut cache = KvCache::passing(config, taken as usize);
        let hidden = self.forward(self.vectors(&texts.ids)?, &steps, &mut cache)?;
        self.normalised(&hidden)
    }
}

impl DecoderConfig {
    /// How many numbers the weights of all linear layers are, the head's aside.
    pub(crate) fn linear_numbers(&self) -> u64 {
        let (hidden, query, kv) =
            (self.hidden_size as u64, self.query_width() as u64, self.kv_width() as u64);
        let attention = hidden.saturating_mul(2 * query + 2 * kv);
        let layer = |feed_forward| match feed_forward {
            FeedForwardConfig::Dense { width } => 3 * width as u64,
            FeedForwardConfig::Experts(ExpertsConfig { count, width, .. }) => {
                count as u64 * (3 * width as u64 + 1)
            }
        };
        let rows = self.layers.iter().map(|of| layer(of.feed_forward)).fold(0, u64::saturating_add);
        attention.saturating_mul(self.layers.len() as u64).saturating_add(hidden.saturating_mul(rows))
    }

    /// How many earlier tokens a token must see for attention to cost as much as all linear layers. Attention does
    /// about a sixth of their products in the same time.
    pub(super) fn past(&self) -> usize {
        let seen = 2 * 6 * (self.query_width() * self.layers.len()) as u64;
        ((self.linear_numbers() / seen.max(1)) as usize).max(1)
    }

    /// How many numbers a pass of `batch` tokens, or of one longer text, holds at once on so many threads.
    pub(crate) fn pass_numbers(&self, batch: usize, length: usize, threads: NonZeroUsize) -> u64 {
        // The shortest texts hold a block each.
        let blocks = batch.max(length.div_ceil(BLOCK_TOKENS));
        let kept = PagedKv::numbers(blocks, self.kv_heads, self.head_size) as u64;
        self.forward_numbers(batch.max(length), length, threads).saturating_add(kept)
    }

    /// How many numbers a step holds at once on so many threads, beside weights and cache: it reads `read` tokens
    /// and continues `texts` texts of up to `length` tokens.
    pub(super) fn step_numbers(
        &self,
        read: usize,
        texts: usize,
        length: usize,
        threads: NonZeroUsize,
    ) -> u64 {
        // As they are computed, and twice more where they are capped.
        let logits = (3 * texts as u64).saturating_mul(self.vocab_size as u64);
        self.forward_numbers(read + texts, length, threads).saturating_add(logits)
    }

    /// How many numbers `tokens` tokens of texts of up to `length` hold at once on their way through a layer.
    fn forward_numbers(&self, tokens: usize, length: usize, threads: NonZeroUsize) -> u64 {
        let (query, kv) = (self.query_width(), self.kv_width());
        // What comes in, its norm and what is added to it; and either queries, keys and values, queries and
        // keys as they are turned, the queries as they are shared out, and what attention makes of them; or the
        // feed-forward part.
        let row = 3 * self.hidden_size + (4 * query + 3 * kv).max(widest_feed_forward(self));
        let angles: usize = self.ropes.iter().map(|rope| 2 * rope.frequencies.len()).sum();
        let scores = PagedAttention::scratch_numbers(self.heads / self.kv_heads, self.head_size, length);
        let scores = (scores as u64).saturating_mul(threads.get() as u64);
        (tokens as u64).saturating_mul((row + angles) as u64).saturating_add(scores)
    }
}
