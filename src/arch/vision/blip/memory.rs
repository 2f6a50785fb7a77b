//! What is kept of texts and pictures: keys and values, layer by layer.

use candle_core::{Result, Tensor};

use super::config::TextConfig;
use crate::kernels::{Attention, KvFormat, PagedKv, PagedText, Span};

/// Of all texts of one worker, in blocks of which a text holds any.
#[derive(Debug)]
pub(super) struct TextMemory {
    layers: Vec<PagedKv>,
    /// The blocks that no text holds.
    free: Vec<u32>,
    blocks: usize,
}

/// Of one picture: what its rows have become in each layer, `[rows, 2 x hidden]`.
#[derive(Debug)]
pub(super) struct PictureMemory(pub(super) Vec<Tensor>);

/// Texts of one request that read, and what they are about.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    pub(super) picture: &'a PictureMemory,
    /// At least one.
    pub(super) texts: Vec<Part<'a>>,
}

/// What one text reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    /// At least one.
    pub(super) tokens: &'a [u32],
    /// The place of the first of them in its text.
    pub(super) position: usize,
    /// As of [`PagedText`].
    pub(super) blocks: &'a [u32],
}

impl TextMemory {
    /// Of so many blocks.
    pub(super) fn new(config: &TextConfig, blocks: usize) -> Self {
        let (heads, size) = (config.num_attention_heads, config.head_size());
        let layer = |_| PagedKv::new(KvFormat::F32, blocks, heads, size);
        let layers = (0..config.num_hidden_layers).map(layer).collect();
        Self { layers, free: (0..blocks as u32).rev().collect(), blocks }
    }

    /// So many blocks, unless there are fewer that no text holds.
    pub(super) fn take(&mut self, blocks: usize) -> Option<Vec<u32>> {
        let left = self.free.len().checked_sub(blocks)?;
        Some(self.free.split_off(left))
    }

    /// No text holds these any more.
    pub(super) fn give_back(&mut self, blocks: &[u32]) {
        self.free.extend_from_slice(blocks);
    }

    /// How many blocks no text holds, and how many there are.
    pub(super) fn free(&self) -> (usize, usize) {
        (self.free.len(), self.blocks)
    }

    pub(super) fn of_layer(&mut self, layer: usize) -> &mut PagedKv {
        &mut self.layers[layer]
    }
}

impl<'a> Part<'a> {
    /// Where each of the tokens is in its text.
    pub(super) fn places(&self) -> std::ops::Range<u32> {
        self.position as u32..(self.position + self.tokens.len()) as u32
    }

    pub(super) fn paged(&self) -> PagedText<'a> {
        let Self { tokens, position, blocks } = *self;
        PagedText { tokens: tokens.len(), position, blocks, together: &[] }
    }
}

/// Has texts look at their pictures: `queries`, `[tokens, hidden]`, are those of all that is read, in order.
pub(super) fn look_at(
    heads: Attention<'_>,
    layer: usize,
    queries: &Tensor,
    readings: &[Reading<'_>],
) -> Result<Tensor> {
    let mut start = 0;
    let seen = readings.iter().map(|Reading { picture, texts }| {
        let tokens = texts.iter().map(|text| text.tokens.len()).sum();
        let asking = queries.narrow(0, start, tokens)?;
        start += tokens;
        let rows = &picture.0[layer];
        heads.across(&asking, rows, &[Span { queries: 0..tokens, keys: 0..rows.dim(0)? }])
    });
    let seen = seen.collect::<Result<Vec<_>>>()?;
    match seen.as_slice() {
        [one] => Ok(one.clone()),
        several => Tensor::cat(several, 0),
    }
}
