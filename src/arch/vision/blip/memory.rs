//! What is kept of texts and pictures: keys and values, layer by layer.

use candle_core::{Device, Result, Tensor};

use crate::kernels::{Attention, Span};

/// Of one text: what its tokens so far have become in each layer.
#[derive(Clone, Debug)]
pub(super) struct TextMemory {
    /// Of each layer `[tokens, 2 x hidden]`: all keys of a token, then its values.
    layers: Vec<Vec<f32>>,
    tokens: usize,
}

/// Of one picture: what its rows have become in each layer, `[rows, 2 x hidden]`.
#[derive(Debug)]
pub(super) struct PictureMemory(pub(super) Vec<Tensor>);

/// The texts of one request that read a token, and what they are about.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    pub(super) picture: &'a PictureMemory,
    /// At least one: the text, and the token.
    pub(super) texts: Vec<(&'a mut TextMemory, u32)>,
}

impl TextMemory {
    /// Of no tokens.
    pub(super) fn new(layers: usize) -> Self {
        Self { layers: vec![Vec::new(); layers], tokens: 0 }
    }

    /// How many tokens were read.
    pub(super) fn tokens(&self) -> usize {
        self.tokens
    }

    /// Counts tokens that every layer has kept.
    pub(super) fn count(&mut self, tokens: usize) {
        self.tokens += tokens;
    }

    /// Keeps the keys and values of `rows`, which have queries of `width` numbers before them.
    pub(super) fn keep(&mut self, layer: usize, rows: &[Vec<f32>], width: usize) {
        rows.iter().for_each(|row| self.layers[layer].extend_from_slice(&row[width..]));
    }
}

/// Has the newest token of each text look at all of its text. `qkv` is `[texts, 3 x hidden]`, the result `[texts,
/// hidden]`.
pub(super) fn look_back(
    heads: Attention<'_>,
    layer: usize,
    qkv: &Tensor,
    readings: &mut [Reading<'_>],
) -> Result<Tensor> {
    let width = qkv.dim(1)? / 3;
    let (mut all, mut spans, mut end) = (Vec::new(), Vec::new(), 0);
    let texts = readings.iter_mut().flat_map(|reading| reading.texts.iter_mut());
    for (place, (row, (memory, _))) in qkv.to_vec2::<f32>()?.iter().zip(texts).enumerate() {
        memory.keep(layer, std::slice::from_ref(row), width);
        all.extend_from_slice(&memory.layers[layer]);
        let start = end;
        end += memory.tokens + 1;
        spans.push(Span { queries: place..place + 1, keys: start..end });
    }
    let keys_values = Tensor::from_vec(all, (end, 2 * width), &Device::Cpu)?;
    heads.across(&qkv.narrow(1, 0, width)?.contiguous()?, &keys_values, &spans)
}

/// Has texts look at pictures: `queries`, `[tokens, hidden]`, so many of them at each picture in turn.
pub(super) fn look_at(
    heads: Attention<'_>,
    layer: usize,
    queries: &Tensor,
    pictures: &[(usize, &PictureMemory)],
) -> Result<Tensor> {
    let mut start = 0;
    let seen = pictures.iter().map(|(tokens, picture)| {
        let asking = queries.narrow(0, start, *tokens)?;
        start += tokens;
        let rows = &picture.0[layer];
        heads.across(&asking, rows, &[Span { queries: 0..*tokens, keys: 0..rows.dim(0)? }])
    });
    let seen = seen.collect::<Result<Vec<_>>>()?;
    match seen.as_slice() {
        [one] => Ok(one.clone()),
        several => Tensor::cat(several, 0),
    }
}
