//! Attention of many texts at once, each token seeing its own text's past, or all of it, with keys and values kept
//! in blocks that a text holds anywhere in memory (Kwon et al., "Efficient Memory Management for Large Language
//! Model Serving with `PagedAttention`", arXiv 2309.06180).
//!
//! A row's result depends on its own text only, to the last bit: sums run over its past in the same order
//! whatever else is in the step, and however the text was cut into steps.

mod angles;
mod kv;
mod tile;
mod widen;

use std::ops::Range;

use candle_core::{Result, Storage, Tensor, bail};
use rayon::prelude::*;

use super::contiguous;
use super::norm::rms_rows;
use super::rope::{RopeStyle, turn};
pub(crate) use angles::Angles;
pub use kv::KvFormat;
pub(crate) use kv::PagedKv;
use tile::Tile;

/// How many tokens a block holds: as many as a wide register holds numbers.
pub(crate) const BLOCK_TOKENS: usize = 16;

/// How many tokens of a text one task takes.
const QUERIES_PER_TASK: usize = 8;

/// The tokens of one text that a step computes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PagedText<'a> {
    /// How many.
    pub(crate) tokens: usize,
    /// The place of the first of them in its text.
    pub(crate) position: usize,
    /// Where the text's keys and values are, first to last; the computed tokens' own places included.
    pub(crate) blocks: &'a [u32],
    /// Tokens of the text that see each other, whichever comes first: in order and apart from each other. One of
    /// which a part is computed must be computed to its end.
    pub(crate) together: &'a [Range<usize>],
}

/// How queries and keys are normalised before they are turned.
#[derive(Debug)]
pub(crate) struct RowNorms {
    /// As wide as one head, or as all of them.
    pub(crate) query: Vec<f32>,
    pub(crate) key: Vec<f32>,
    pub(crate) eps: f32,
}

/// Which way a token looks in its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// At itself and what is before it.
    Backward,
    /// At what is after it, too: a text must be computed whole, in one step.
    BothWays,
}

/// Attention over blocks.
#[derive(Debug)]
pub(crate) struct PagedAttention {
    /// Heads of queries; a multiple of those of keys.
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_size: usize,
    /// What scores are multiplied by.
    pub(crate) scale: f32,
    /// A score becomes `cap * tanh(score / cap)`.
    pub(crate) cap: Option<f32>,
    pub(crate) direction: Direction,
    /// In each direction a token sees so many tokens, itself included.
    pub(crate) window: Option<usize>,
    pub(crate) norms: Option<RowNorms>,
    pub(crate) style: RopeStyle,
}

impl PagedAttention {
    /// How many numbers a thread needs besides input and output, to attend over a text of `tokens` with `group`
    /// heads of queries to each of keys.
    pub(crate) fn scratch_numbers(group: usize, head_size: usize, tokens: usize) -> usize {
        let columns = tokens.saturating_add(2 * BLOCK_TOKENS);
        // A block of one head is widened where it is kept as f16.
        let rows = (QUERIES_PER_TASK * group).saturating_mul(columns.saturating_add(head_size));
        rows.saturating_add(BLOCK_TOKENS.saturating_mul(head_size))
    }

    /// `qkv` is `[tokens, (heads + 2 kv_heads) x head size]`, the texts' tokens end to end; keys and values go
    /// into `kv`. The result is `[tokens, heads x head size]`. Without `angles` nothing is turned.
    pub(crate) fn forward(
        &self,
        qkv: &Tensor,
        angles: Option<&Angles>,
        texts: &[PagedText<'_>],
        kv: &mut PagedKv,
    ) -> Result<Tensor> {
        let (tokens, width) = qkv.dims2()?;
        self.check(tokens, width, angles, texts, kv)?;
        let (storage, layout) = qkv.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else { bail!("paged attention is computed on the CPU") };
        let qkv = contiguous(storage, layout, "paged attention")?;
        let (queries, keys) = self.prepared(qkv, angles, tokens);
        let value_columns = width - self.kv_heads * self.head_size;
        let values = qkv.chunks_exact(width).map(|row| &row[value_columns..]);
        kv.write(&places(texts), keys.chunks_exact(self.kv_heads * self.head_size), values);
        let mut out = vec![0f32; queries.len()];
        self.attend(&queries, texts, kv, &mut out);
        Tensor::from_vec(out, (tokens, self.heads * self.head_size), &candle_core::Device::Cpu)
    }

    fn check(
        &self,
        tokens: usize,
        width: usize,
        angles: Option<&Angles>,
        texts: &[PagedText<'_>],
        kv: &PagedKv,
    ) -> Result<()> {
        let fits = |text: &PagedText<'_>| {
            let end = text.position + text.tokens;
            let parted = |span: &Range<usize>| span.start < end && end < span.end;
            end <= text.blocks.len() * BLOCK_TOKENS
                && !text.together.iter().any(parted)
                && text.blocks.iter().all(|block| (*block as usize) < kv.blocks())
        };
        let told = texts.iter().map(|text| text.tokens).sum::<usize>();
        let turned = angles.is_none_or(|angles| angles.fit(tokens, self.head_size));
        let shaped = width == (self.heads + 2 * self.kv_heads) * self.head_size
            && (kv.heads, kv.head_size) == (self.kv_heads, self.head_size);
        if told != tokens || !shaped || !turned || !texts.iter().all(fits) {
            bail!("paged attention: {tokens} x {width} does not fit {told} tokens in their blocks");
        }
        Ok(())
    }

    /// Queries and keys of all tokens, normalised and turned, queries scaled too: `[tokens, heads x head size]` and
    /// `[tokens, kv_heads x head size]`.
    fn prepared(&self, qkv: &[f32], angles: Option<&Angles>, tokens: usize) -> (Vec<f32>, Vec<f32>) {
        let (query, key) = (self.heads * self.head_size, self.kv_heads * self.head_size);
        let (mut queries, mut keys) = (vec![0f32; tokens * query], vec![0f32; tokens * key]);
        let prepared = queries.par_chunks_mut(query).zip(keys.par_chunks_mut(key));
        let rows = prepared.zip(qkv.par_chunks(query + 2 * key)).enumerate();
        rows.for_each(|(token, ((queries, keys), row))| {
            queries.copy_from_slice(&row[..query]);
            keys.copy_from_slice(&row[query..][..key]);
            let norms = self.norms.as_ref();
            self.prepare(queries, norms.map(|norms| norms.query.as_slice()), angles, token);
            self.prepare(keys, norms.map(|norms| norms.key.as_slice()), angles, token);
            queries.iter_mut().for_each(|x| *x *= self.scale);
        });
        (queries, keys)
    }

    fn prepare(&self, heads: &mut [f32], norm: Option<&[f32]>, angles: Option<&Angles>, token: usize) {
        if let (Some(weight), Some(norms)) = (norm, &self.norms) {
            rms_rows(heads, &[], weight, norms.eps);
        }
        if let Some(angles) = angles {
            turn(heads, self.head_size, angles.of(token), self.style);
        }
    }

    /// The tokens of a text are cut into tasks, one for each head of keys.
    fn attend(&self, queries: &[f32], texts: &[PagedText<'_>], kv: &PagedKv, out: &mut [f32]) {
        let group = self.heads / self.kv_heads * self.head_size;
        let mut rows = out
            .chunks_exact_mut(self.heads * self.head_size)
            .zip(queries.chunks_exact(self.heads * self.head_size));
        let mut tiles = Vec::new();
        for text in texts {
            for first in (0..text.tokens).step_by(QUERIES_PER_TASK) {
                let tokens = QUERIES_PER_TASK.min(text.tokens - first);
                let start = tiles.len();
                tiles.extend((0..self.kv_heads).map(|head| Tile::new(*text, text.position + first, head)));
                for (out, query) in rows.by_ref().take(tokens) {
                    let parts = out.chunks_exact_mut(group).zip(query.chunks_exact(group));
                    tiles[start..]
                        .iter_mut()
                        .zip(parts)
                        .for_each(|(tile, (out, query))| tile.add(out, query));
                }
            }
        }
        tiles.into_par_iter().for_each(|tile| tile.attend(self, kv));
    }
}

/// The block of each token, and its place in it.
fn places(texts: &[PagedText<'_>]) -> Vec<(u32, usize)> {
    let mut places = Vec::new();
    for text in texts {
        let positions = text.position..text.position + text.tokens;
        places.extend(positions.map(|at| (text.blocks[at / BLOCK_TOKENS], at % BLOCK_TOKENS)));
    }
    places
}

#[cfg(test)]
mod tests;
