//! Attention on the CPU: nothing is padded, copied to a mask, or kept longer than a few rows need it.
//!
//! Per text and head, keys and values are packed into panels; then some rows of scores at a time are computed,
//! turned into weights where they lie, and multiplied by the values. The soft maximum is taken over whole rows, as
//! a text's scores for a few queries fit a cache; there is nothing to rescale on the way.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::Attention;
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

/// How many numbers attention over a text of `tokens` needs on each thread, beyond its input and output.
pub(super) fn scratch_numbers(head_size: usize, tokens: usize) -> usize {
    let width = panel_width(Vectors::detected());
    let tokens = tokens.next_multiple_of(width);
    let rows = QUERY_TILES * tile_rows(Vectors::detected());
    tokens * (head_size + head_size.next_multiple_of(width) + rows) + rows * width
}

impl Attention<'_> {
    /// As [`forward`](Self::forward), on the CPU, with vectors.
    pub(super) fn packed(&self, qkv: &Tensor, spans: &[Range<usize>], vectors: Vectors) -> Result<Tensor> {
        let op = Packed { attention: self, spans, vectors };
        match self.bias {
            Some(bias) => qkv.apply_op2_no_bwd(bias, &op),
            None => qkv.apply_op1_no_bwd(&op),
        }
    }
}

struct Packed<'a> {
    attention: &'a Attention<'a>,
    spans: &'a [Range<usize>],
    vectors: Vectors,
}

impl CustomOp1 for Packed<'_> {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        self.run(qkv, layout, &[])
    }
}

impl CustomOp2 for Packed<'_> {
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

impl Packed<'_> {
    /// `bias` is `[heads, 2 x reach + 1]`, or empty.
    fn run(&self, qkv: &CpuStorage, layout: &Layout, bias: &[f32]) -> Result<(CpuStorage, Shape)> {
        let qkv = contiguous(qkv, layout, "attention")?;
        let (tokens, width) = layout.shape().dims2()?;
        let heads = self.attention.heads;
        self.check(tokens, width, bias)?;
        let mut out = Vec::with_capacity(tokens * width / 3);
        let target = Output::of(&mut out);
        let head_size = width / 3 / heads;
        let longest = self.spans.iter().map(Range::len).max().unwrap_or(0);
        let products = tokens * longest * head_size * 2 / self.spans.len().max(1) + 1;
        let tasks = (0..self.spans.len() * heads).into_par_iter();
        let tasks = tasks.with_min_len((TASK_PRODUCTS / products).max(1));
        tasks.for_each_init(Scratch::default, |scratch, number| {
            let (span, head) = (&self.spans[number / heads], number % heads);
            let bias = &bias[head * (bias.len() / heads)..][..bias.len() / heads];
            let rows = &qkv[span.start * width..span.end * width];
            let text = HeadOfText { rows, width, head, head_size, first: span.start, bias };
            scratch.attend(self, &text, target);
        });
        // SAFETY: the spans tile the rows and the heads the columns, and each task has written its own.
        #[allow(unsafe_code)]
        unsafe {
            out.set_len(tokens * width / 3);
        }
        Ok((CpuStorage::F32(out), (tokens, width / 3).into()))
    }

    fn check(&self, tokens: usize, width: usize, bias: &[f32]) -> Result<()> {
        let heads = self.attention.heads;
        if heads == 0 || width == 0 || !width.is_multiple_of(3 * heads) {
            bail!("attention: rows of {width} numbers do not hold {heads} heads of queries, keys and values");
        }
        let mut end = 0;
        for span in self.spans {
            if span.start != end || span.is_empty() {
                bail!("attention: texts must follow each other, and {span:?} does not follow {end}");
            }
            end = span.end;
            let reach = (bias.len() / heads).saturating_sub(1) / 2;
            if !bias.is_empty() && span.len() > reach + 1 {
                bail!("attention: a bias for distances up to {reach}, for a text of {}", span.len());
            }
        }
        if end != tokens {
            bail!("attention: texts of {end} tokens in all, and {tokens} rows");
        }
        Ok(())
    }
}

/// One head's part of one text.
struct HeadOfText<'a> {
    /// `[tokens, 3 x heads x head size]`
    rows: &'a [f32],
    width: usize,
    head: usize,
    head_size: usize,
    /// Where the text's rows are in the output.
    first: usize,
    /// By distance, from the most negative; or empty.
    bias: &'a [f32],
}

/// The parts of a row.
#[derive(Clone, Copy)]
enum Part {
    Query,
    Key,
    Value,
}

impl<'a> HeadOfText<'a> {
    fn tokens(&self) -> usize {
        self.rows.len() / self.width
    }

    /// From the head's part of the row of `token` on.
    fn part(&self, token: usize, part: Part) -> &'a [f32] {
        &self.rows[token * self.width + part as usize * (self.width / 3) + self.head * self.head_size..]
    }
}

/// What one thread needs while it attends, kept from text to text.
#[derive(Default)]
struct Scratch {
    /// Panels of keys, each `[head size, panel width]`.
    keys: Vec<f32>,
    /// Panels of the values' columns, each `[tokens, panel width]`.
    values: Vec<f32>,
    /// `[queries, keys up to a whole panel]`
    scores: Vec<f32>,
    /// `[queries, panel width]`: where a panel of results is wider than what is left of the head.
    results: Vec<f32>,
}

impl Scratch {
    fn attend(&mut self, op: &Packed<'_>, text: &HeadOfText<'_>, out: Output) {
        let (width, tokens) = (panel_width(op.vectors), text.tokens());
        self.pack(text, width);
        let block = QUERY_TILES * tile_rows(op.vectors);
        for start in (0..tokens).step_by(block) {
            let queries = start..(start + block).min(tokens);
            let reach = op.attention.window.unwrap_or(tokens);
            // Whole panels of keys, but for the text's end.
            let first = queries.start.saturating_sub(reach) / width * width;
            let keys = first..queries.end.saturating_add(reach).min(tokens);
            self.score(op, text, &queries, &keys);
            let sums = self.weigh(op, text, &queries, &keys, width);
            self.combine(op, text, &queries, &keys, &sums, out);
        }
    }

    fn pack(&mut self, text: &HeadOfText<'_>, width: usize) {
        let (tokens, size) = (text.tokens(), text.head_size);
        self.keys.clear();
        self.keys.resize(tokens.next_multiple_of(width) * size, 0.0);
        self.values.clear();
        self.values.resize(size.next_multiple_of(width) * tokens, 0.0);
        for token in 0..tokens {
            let column = &mut self.keys[token / width * width * size + token % width..];
            for (slot, x) in column.iter_mut().step_by(width).zip(&text.part(token, Part::Key)[..size]) {
                *slot = *x;
            }
            for (panel, part) in text.part(token, Part::Value)[..size].chunks(width).enumerate() {
                self.values[(panel * tokens + token) * width..][..part.len()].copy_from_slice(part);
            }
        }
    }

    /// The products of these queries with these keys.
    fn score(&mut self, op: &Packed<'_>, text: &HeadOfText<'_>, queries: &Range<usize>, keys: &Range<usize>) {
        let (width, size) = (panel_width(op.vectors), text.head_size);
        let stride = keys.len().next_multiple_of(width);
        self.scores.resize(queries.len() * stride, 0.0);
        let left =
            Rows { numbers: text.part(queries.start, Part::Query), stride: text.width, count: queries.len() };
        for (number, key) in keys.clone().step_by(width).enumerate() {
            let panel = Panel::F32(&self.keys[key * size..]);
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
        queries: &Range<usize>,
        keys: &Range<usize>,
        sums: &[f32],
        out: Output,
    ) {
        let (width, tokens, size) = (panel_width(op.vectors), text.tokens(), text.head_size);
        let left =
            Rows { numbers: &self.scores, stride: keys.len().next_multiple_of(width), count: queries.len() };
        self.results.resize(queries.len() * width, 0.0);
        for (number, column) in (0..size).step_by(width).enumerate() {
            let panel = Panel::F32(&self.values[(number * tokens + keys.start) * width..]);
            let target = Target { first: self.results.as_mut_ptr(), stride: width };
            // SAFETY: the results are this thread's own, with room for a panel's columns of every row.
            #[allow(unsafe_code)]
            unsafe {
                multiply(op.vectors, left, keys.len(), panel, &ZEROS, target);
            }
            let columns = text.head * size + column..text.head * size + (column + width).min(size);
            for (row, (results, sum)) in self.results.chunks_exact(width).zip(sums).enumerate() {
                let place = text.first + queries.start + row;
                // SAFETY: this head's columns of this text's rows are this task's alone.
                #[allow(unsafe_code)]
                let place = unsafe { out.row(place, columns.clone(), text.width / 3) };
                let scale = sum.recip();
                for (slot, x) in place.iter_mut().zip(results) {
                    *slot = x * scale;
                }
            }
        }
    }
}
