//! Attention on the CPU: nothing is padded, copied to a mask, or kept longer than a few rows need it.
//!
//! Per text and head, keys and values are packed into panels; then some rows of scores at a time are computed,
//! turned into weights where they lie, and multiplied by the values. The soft maximum is taken over whole rows, as
//! a text's scores for a few queries fit a cache; there is nothing to rescale on the way.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::keys::PackedKeys;
use super::{Attention, Span, check_spans};
use crate::kernels::contiguous;
use crate::kernels::cpu::Vectors;
use crate::kernels::exponential::soft_maximum;
use crate::kernels::output::Output;
use crate::kernels::panel::{Panel, Rows, Target, multiply, panel_width, tile_rows};

/// How many tiles of queries are taken at a time: their scores stay in a core's second cache up to some
/// thousand tokens, and a panel of keys is used for all of them.
const QUERY_TILES: usize = 4;

/// How many products are worth a task of their own.
const TASK_PRODUCTS: usize = 1 << 18;

/// The start of a sum of products.
const ZEROS: [f32; 64] = [0.0; 64];

/// How many numbers attention over a text of `tokens` needs beyond its input and output: for the keys and values of a
/// head, and for the scores of a thread.
pub(super) fn scratch_numbers(head_size: usize, tokens: usize) -> (usize, usize) {
    let width = panel_width(Vectors::detected());
    let tokens = tokens.next_multiple_of(width);
    let rows = QUERY_TILES * tile_rows(Vectors::detected());
    (tokens * (head_size + head_size.next_multiple_of(width)), rows * (tokens + width))
}

impl Attention<'_> {
    /// As [`forward`](Self::forward), on the CPU, with vectors.
    pub(super) fn packed(&self, qkv: &Tensor, spans: &[Range<usize>], vectors: Vectors) -> Result<Tensor> {
        let spans = spans.iter().map(|span| Span { queries: span.clone(), keys: span.clone() }).collect();
        let op = Packed { attention: self, spans, vectors };
        match self.bias {
            Some(bias) => qkv.apply_op2_no_bwd(bias, &Within(op)),
            None => qkv.apply_op1_no_bwd(&Within(op)),
        }
    }

    /// As [`across`](Self::across), on the CPU, with vectors.
    pub(super) fn packed_across(
        &self,
        queries: &Tensor,
        keys_values: &Tensor,
        spans: Vec<Span>,
        vectors: Vectors,
    ) -> Result<Tensor> {
        queries.apply_op2_no_bwd(keys_values, &Across(Packed { attention: self, spans, vectors }))
    }
}

struct Packed<'a> {
    attention: &'a Attention<'a>,
    spans: Vec<Span>,
    vectors: Vectors,
}

/// Queries, keys and values are in one tensor.
struct Within<'a>(Packed<'a>);

/// Queries are in one tensor, keys and values in another.
struct Across<'a>(Packed<'a>);

impl CustomOp1 for Within<'_> {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        self.run(qkv, layout, &[])
    }
}

impl CustomOp2 for Within<'_> {
    fn name(&self) -> &'static str {
        "biased-attention"
    }

    fn cpu_fwd(
        &self,
        qkv: &CpuStorage,
        layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.run(qkv, layout, contiguous(bias, bias_layout, "attention")?)
    }
}

impl Within<'_> {
    /// `bias` is `[heads, 2 x reach + 1]`, or empty.
    fn run(&self, qkv: &CpuStorage, layout: &Layout, bias: &[f32]) -> Result<(CpuStorage, Shape)> {
        let qkv = contiguous(qkv, layout, "attention")?;
        let (tokens, width) = layout.shape().dims2()?;
        let heads = self.0.attention.heads;
        if heads == 0 || width == 0 || !width.is_multiple_of(3 * heads) {
            bail!("attention: rows of {width} numbers do not hold {heads} heads of queries, keys and values");
        }
        self.0.check_bias(bias)?;
        let part = |number: usize| Part { numbers: qkv, stride: width, first: number * (width / 3) };
        let parts = Parts { queries: part(0), keys: part(1), values: part(2) };
        self.0.run(&parts, width / 3, (tokens, tokens), bias)
    }
}

impl CustomOp2 for Across<'_> {
    fn name(&self) -> &'static str {
        "cross-attention"
    }

    fn cpu_fwd(
        &self,
        queries: &CpuStorage,
        layout: &Layout,
        keys_values: &CpuStorage,
        keys_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let queries = contiguous(queries, layout, "attention")?;
        let keys = contiguous(keys_values, keys_layout, "attention")?;
        let ((tokens, width), (others, both)) = (layout.shape().dims2()?, keys_layout.shape().dims2()?);
        let heads = self.0.attention.heads;
        if heads == 0 || width == 0 || !width.is_multiple_of(heads) || both != 2 * width {
            bail!("attention: {heads} heads of {width} numbers of queries, {both} of keys and values");
        }
        let part = |first| Part { numbers: keys, stride: both, first };
        let queries = Part { numbers: queries, stride: width, first: 0 };
        let parts = Parts { queries, keys: part(0), values: part(width) };
        self.0.run(&parts, width, (tokens, others), &[])
    }
}

impl Packed<'_> {
    /// `width` numbers of each token come out; there are as many tokens that ask and that are asked as `rows` says.
    fn run(
        &self,
        parts: &Parts<'_>,
        width: usize,
        rows: (usize, usize),
        bias: &[f32],
    ) -> Result<(CpuStorage, Shape)> {
        let (heads, head_size) = (self.attention.heads, width / self.attention.heads);
        check_spans(&self.spans, rows)?;
        let mut out = Vec::with_capacity(rows.0 * width);
        let target = Output::of(&mut out);
        let longest = self.spans.iter().map(|span| span.keys.len()).max().unwrap_or(0);
        let products = rows.0 * longest * head_size * 2 / self.spans.len().max(1) + 1;
        let count = self.spans.len() * heads;
        let tasks = (0..count).into_par_iter();
        let tasks = tasks.with_min_len((TASK_PRODUCTS / products).max(1));
        // Fewer heads than threads, each a task of many blocks: the blocks go round.
        let spread = count < rayon::current_num_threads();
        tasks.for_each_init(<(PackedKeys, Scores)>::default, |(keys, scores), number| {
            let (span, head) = (&self.spans[number / heads], number % heads);
            let bias = &bias[head * (bias.len() / heads)..][..bias.len() / heads];
            let text = HeadOfText { parts, span, head, head_size, width, bias };
            keys.pack(&text, panel_width(self.vectors));
            self.attend(keys, (!spread).then_some(scores), &text, target);
        });
        // SAFETY: the spans tile the rows and the heads the columns, and each task has written its own.
        #[allow(unsafe_code)]
        unsafe {
            out.set_len(rows.0 * width);
        }
        Ok((CpuStorage::F32(out), (rows.0, width).into()))
    }

    /// On the calling thread with its `scores`, or with none on all threads.
    fn attend(&self, keys: &PackedKeys, scores: Option<&mut Scores>, text: &HeadOfText<'_>, out: Output) {
        let (queries, keys_there) = (text.span.queries.len(), text.span.keys.len());
        let width = panel_width(self.vectors);
        let block = QUERY_TILES * tile_rows(self.vectors);
        let attend = |scores: &mut Scores, start: usize| {
            let queries = start..(start + block).min(queries);
            let reach = self.attention.window.unwrap_or(keys_there.max(queries.end));
            // Whole panels of keys, but for the text's end.
            let first = queries.start.saturating_sub(reach) / width * width;
            let seen = first..queries.end.saturating_add(reach).min(keys_there);
            scores.score(self, text, &keys.keys, &queries, &seen);
            let sums = scores.weigh(self, text, &queries, &seen, width);
            scores.combine(self, text, &keys.values, (&queries, &seen), &sums, out);
        };
        let blocks = 0..queries.div_ceil(block);
        match scores {
            Some(scores) => blocks.for_each(|number| attend(scores, number * block)),
            None => {
                let blocks = blocks.into_par_iter();
                blocks.for_each_init(Scores::default, |scores, number| attend(scores, number * block));
            }
        }
    }

    fn check_bias(&self, bias: &[f32]) -> Result<()> {
        let reach = (bias.len() / self.attention.heads).saturating_sub(1) / 2;
        let longest = self.spans.iter().map(|span| span.keys.len()).max().unwrap_or(0);
        if !bias.is_empty() && longest > reach + 1 {
            bail!("attention: a bias for distances up to {reach}, for a text of {longest}");
        }
        Ok(())
    }
}

/// A part of every row of a tensor, all its heads.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    numbers: &'a [f32],
    /// How many numbers after a row the next one begins.
    stride: usize,
    /// Where in a row it begins.
    first: usize,
}

impl<'a> Part<'a> {
    /// A row, from this number of the part on.
    fn from(self, row: usize, column: usize) -> &'a [f32] {
        &self.numbers[row * self.stride + self.first + column..]
    }
}

pub(super) struct Parts<'a> {
    queries: Part<'a>,
    pub(super) keys: Part<'a>,
    pub(super) values: Part<'a>,
}

/// One head's part of one text.
pub(super) struct HeadOfText<'a> {
    pub(super) parts: &'a Parts<'a>,
    pub(super) span: &'a Span,
    head: usize,
    pub(super) head_size: usize,
    /// Of the rows that come out.
    width: usize,
    /// By distance, from the most negative; or empty.
    bias: &'a [f32],
}

impl<'a> HeadOfText<'a> {
    /// The head's part of a token that is asked.
    pub(super) fn row(&self, part: Part<'a>, token: usize) -> &'a [f32] {
        &part.from(self.span.keys.start + token, self.head * self.head_size)[..self.head_size]
    }
}

/// What one thread needs while it attends, kept from block to block.
#[derive(Default)]
pub(super) struct Scores {
    /// `[queries, keys up to a whole panel]`
    scores: Vec<f32>,
    /// `[queries, panel width]`: where a panel of results is wider than what is left of the head.
    results: Vec<f32>,
}

impl Scores {
    /// The products of these queries with these keys.
    fn score(
        &mut self,
        op: &Packed<'_>,
        text: &HeadOfText<'_>,
        packed: &[f32],
        queries: &Range<usize>,
        keys: &Range<usize>,
    ) {
        let (width, size) = (panel_width(op.vectors), text.head_size);
        let stride = keys.len().next_multiple_of(width);
        self.scores.resize(queries.len() * stride, 0.0);
        let asking = text.parts.queries;
        let numbers = asking.from(text.span.queries.start + queries.start, text.head * size);
        let left = Rows { numbers, stride: asking.stride, count: queries.len() };
        for (number, key) in keys.clone().step_by(width).enumerate() {
            let panel = Panel::F32(&packed[key * size..]);
            let target = Target { first: self.scores[number * width..].as_mut_ptr(), stride };
            // SAFETY: the scores are this thread's own, with room for a panel's columns in each row.
            #[allow(unsafe_code)]
            unsafe {
                multiply(op.vectors, left, size, panel, &ZEROS, target);
            }
        }
    }

    /// Turns scores into weights up to a factor; returns what each row's sum to.
    fn weigh(
        &mut self,
        op: &Packed<'_>,
        text: &HeadOfText<'_>,
        queries: &Range<usize>,
        keys: &Range<usize>,
        width: usize,
    ) -> Vec<f32> {
        let stride = keys.len().next_multiple_of(width);
        let mut sums = vec![0.0; queries.len()];
        let rows = self.scores.chunks_exact_mut(stride).zip(queries.clone()).zip(&mut sums);
        for ((row, query), sum) in rows {
            let row = &mut row[..keys.len()];
            // The bias for distance `keys.start - query` is the first of this row's.
            let bias = match text.bias.len() {
                0 => &[][..],
                numbers => &text.bias[(numbers - 1) / 2 + keys.start - query..][..keys.len()],
            };
            let seen = match op.attention.window {
                None => 0..row.len(),
                Some(window) => {
                    query.saturating_sub(window).max(keys.start) - keys.start
                        ..(query.saturating_add(window) + 1).min(keys.end) - keys.start
                }
            };
            row[..seen.start].fill(0.0);
            row[seen.end..].fill(0.0);
            let bias = if bias.is_empty() { bias } else { &bias[seen.clone()] };
            soft_maximum(&mut row[seen], bias, op.attention.scale, sum);
        }
        sums
    }

    /// The values, weighted, to where they belong.
    fn combine(
        &mut self,
        op: &Packed<'_>,
        text: &HeadOfText<'_>,
        packed: &[f32],
        (queries, keys): (&Range<usize>, &Range<usize>),
        sums: &[f32],
        out: Output,
    ) {
        let (width, tokens, size) = (panel_width(op.vectors), text.span.keys.len(), text.head_size);
        let left =
            Rows { numbers: &self.scores, stride: keys.len().next_multiple_of(width), count: queries.len() };
        self.results.resize(queries.len() * width, 0.0);
        for (number, column) in (0..size).step_by(width).enumerate() {
            let panel = Panel::F32(&packed[(number * tokens + keys.start) * width..]);
            let target = Target { first: self.results.as_mut_ptr(), stride: width };
            // SAFETY: the results are this thread's own, with room for a panel's columns of every row.
            #[allow(unsafe_code)]
            unsafe {
                multiply(op.vectors, left, keys.len(), panel, &ZEROS, target);
            }
            let columns = text.head * size + column..text.head * size + (column + width).min(size);
            for (row, (results, sum)) in self.results.chunks_exact(width).zip(sums).enumerate() {
                let place = text.span.queries.start + queries.start + row;
                // SAFETY: this head's columns of this text's rows are this task's alone.
                #[allow(unsafe_code)]
                let place = unsafe { out.row(place, columns.clone(), text.width) };
                let scale = sum.recip();
                for (slot, x) in place.iter_mut().zip(results) {
                    *slot = x * scale;
                }
            }
        }
    }
}
