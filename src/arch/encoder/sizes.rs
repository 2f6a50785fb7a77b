//! How many numbers a network has and holds.

use std::num::NonZeroUsize;

use super::config::{EncoderConfig, Gate, Segments};
use super::layer::FEED_FORWARD_ROWS;
use crate::kernels::scratch_numbers;

impl EncoderConfig {
    /// How many segments there are, where it is the tokenizer that says which a token is in.
    pub(crate) fn given_segments(&self) -> Option<usize> {
        match self.segments {
            Segments::Given(segments) => Some(segments),
            Segments::Absent | Segments::First(_) => None,
        }
    }

    /// How many numbers the weights of all linear layers are.
    pub(crate) fn linear_numbers(&self) -> u64 {
        let (width, inner) = (self.hidden_size as u64, self.intermediate_size as u64);
        let layer = 4 * width * width + width * (self.up_size() as u64) + width * inner;
        layer.saturating_mul(self.layers.len() as u64)
    }

    /// How many numbers are computed once and shared by all layers: angles, and biases by distance, for texts
    /// of up to `length` tokens.
    pub(crate) fn table_numbers(&self, length: usize) -> u64 {
        let mut rotary: Vec<_> = self.layers.iter().filter_map(|layer| layer.rotary).collect();
        rotary.dedup();
        rotary.truncate(2);
        let angles: u64 = rotary.iter().map(|rotary| numbers(length, rotary.turned)).sum();
        match self.distances {
            Some(_) => angles.saturating_add(numbers(length, 2 * self.num_attention_heads)),
            None => angles,
        }
    }

    /// How many numbers a pass of `batch` tokens, or of one longer text, holds at once on so many threads.
    pub(crate) fn pass_numbers(&self, batch: usize, length: usize, threads: NonZeroUsize) -> u64 {
        let gated = if self.gate == Gate::Present { self.intermediate_size } else { 0 };
        let heads = (self.num_attention_heads, self.head_size());
        layer_numbers(batch.max(length), length, heads, self.up_size() + gated, threads)
    }
}

/// How many numbers `tokens` tokens of texts or pictures of up to `longest` hold at once on their way through a
/// [`Layer`](super::Layer) of so many heads of a size, whose feed-forward part holds `inner` of each token.
pub(crate) fn layer_numbers(
    tokens: usize,
    longest: usize,
    (heads, head_size): (usize, usize),
    inner: usize,
    threads: NonZeroUsize,
) -> u64 {
    let hidden = heads * head_size;
    // Either attention, with input as it is and normalised, query, key, value and output; or the feed-forward part
    // of one block, with input, output so far and the block's own.
    let texts = (tokens / longest.max(1)).max(1);
    let scratch = scratch_numbers(heads.saturating_mul(texts), head_size, longest, threads) as u64;
    let attention = numbers(tokens, 7 * hidden).saturating_add(scratch);
    // Each thread computes a piece of its own at most.
    let rows = tokens.min(FEED_FORWARD_ROWS.saturating_mul(threads.get()));
    let feed_forward = numbers(tokens, 3 * hidden).saturating_add(numbers(rows, inner + 2 * hidden));
    attention.max(feed_forward)
}

fn numbers(rows: usize, width: usize) -> u64 {
    (rows as u64).saturating_mul(width as u64)
}
