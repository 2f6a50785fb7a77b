//! One task of attention: a few neighbouring tokens of a text, and the heads that share one head of keys.

use std::array::from_fn;
use std::ops::Range;

use super::super::exponential::soft_maximum;
use super::super::widened;
use super::kv::Widened;
use super::{BLOCK_TOKENS, Direction, PagedAttention, PagedKv, PagedText};

/// Rows that one pass over a block's keys or values serves at most.
const ROWS: usize = 4;
/// Numbers in a wide register.
const LANES: usize = BLOCK_TOKENS;

/// Neighbouring tokens, with their queries and where their results go.
#[derive(Debug)]
pub(super) struct Tile<'a> {
    text: PagedText<'a>,
    /// The place of the first token in its text.
    position: usize,
    kv_head: usize,
    /// For each token, `[heads of the group, head size]`.
    outs: Vec<&'a mut [f32]>,
    queries: Vec<f32>,
}

impl<'a> Tile<'a> {
    pub(super) fn new(text: PagedText<'a>, position: usize, kv_head: usize) -> Self {
        Self { text, position, kv_head, outs: Vec::new(), queries: Vec::new() }
    }

    /// The next token.
    pub(super) fn add(&mut self, out: &'a mut [f32], query: &[f32]) {
        self.outs.push(out);
        self.queries.extend_from_slice(query);
    }

    /// What the text's `token`-th token sees of it. Neither end is before that of an earlier token.
    fn seen(&self, token: usize, attention: &PagedAttention) -> Range<usize> {
        let window = attention.window.unwrap_or(usize::MAX);
        let end = match attention.direction {
            Direction::Backward => token + 1,
            Direction::BothWays => token.saturating_add(window).min(self.text.position + self.text.tokens),
        };
        let seen = (token + 1).saturating_sub(window)..end;
        match self.text.together.iter().find(|span| span.contains(&token)) {
            Some(span) => seen.start..seen.end.max(span.end),
            None => seen,
        }
    }

    /// `softmax(cap(q k)) v` over all that each token sees.
    pub(super) fn attend(mut self, attention: &PagedAttention, kv: &PagedKv) {
        let size = attention.head_size;
        let group = attention.heads / attention.kv_heads;
        let rows = self.queries.len() / size;
        let seen = |row: usize| self.seen(self.position + row / group, attention);
        let blocks = seen(0).start / BLOCK_TOKENS..seen(rows - 1).end.div_ceil(BLOCK_TOKENS);
        let offset = blocks.start * BLOCK_TOKENS;
        let columns = blocks.len() * BLOCK_TOKENS;
        let held = &self.text.blocks[blocks];
        let mut room = Widened::default();
        let mut scores = vec![0f32; rows * columns];
        for (i, block) in held.iter().enumerate() {
            match held.get(i + 1) {
                Some(next) => kv.prefetch_keys(*next, self.kv_head),
                None => kv.prefetch_values(held[0], self.kv_head),
            }
            let keys = kv.keys(*block, self.kv_head, &mut room);
            score_block(&self.queries, size, keys, &mut scores[i * BLOCK_TOKENS..], columns);
        }
        let ranges: Vec<Range<usize>> =
            (0..rows).map(seen).map(|seen| seen.start - offset..seen.end - offset).collect();
        let mut sums = vec![0f32; rows];
        for ((row, sum), seen) in scores.chunks_exact_mut(columns).zip(&mut sums).zip(&ranges) {
            if let Some(cap) = attention.cap {
                row[seen.clone()].iter_mut().for_each(|x| *x = cap * (*x / cap).tanh());
            }
            row[..seen.start].fill(f32::NEG_INFINITY);
            row[seen.end..].fill(f32::NEG_INFINITY);
            soft_maximum(row, &[], 1.0, sum);
        }
        let mut mixed = vec![0f32; rows * size];
        for (i, block) in held.iter().enumerate() {
            if let Some(next) = held.get(i + 1) {
                kv.prefetch_values(*next, self.kv_head);
            }
            let values = kv.values(*block, self.kv_head, &mut room);
            mix_block(i * BLOCK_TOKENS, &scores, columns, &ranges, values, &mut mixed);
        }
        for (out, mixed) in self
            .outs
            .iter_mut()
            .flat_map(|out| out.chunks_exact_mut(size))
            .zip(mixed.chunks_exact(size).zip(&sums))
        {
            let (mixed, sum) = mixed;
            out.iter_mut().zip(mixed).for_each(|(out, x)| *out = x / sum);
        }
    }
}

// The scores of all rows with one block's keys. `scores` begins at the block's column of the first row, and
// rows are `columns` apart.
widened! {
    fn score_block(queries: &[f32], size: usize, keys: &[f32], scores: &mut [f32], columns: usize) {
        let (keys, _) = keys.as_chunks::<BLOCK_TOKENS>();
        let rows = queries.len() / size;
        let mut row = 0;
        while row < rows {
            let (queries, scores) = (&queries[row * size..], &mut scores[row * columns..]);
            row += match rows - row {
                ROWS.. => score::<ROWS, FUSED>(queries, size, keys, scores, columns),
                2.. => score::<2, FUSED>(queries, size, keys, scores, columns),
                _ => score::<1, FUSED>(queries, size, keys, scores, columns),
            };
        }
    }
}

/// Scores of `N` rows, which it returns. Each is two sums, of the even and the odd places, so that one addition
/// need not wait for the last; how many rows share a pass changes nothing in them.
#[allow(clippy::inline_always, reason = "its callers are compiled for wider instruction sets")]
#[inline(always)]
fn score<const N: usize, const FUSED: bool>(
    queries: &[f32],
    size: usize,
    keys: &[[f32; BLOCK_TOKENS]],
    scores: &mut [f32],
    columns: usize,
) -> usize {
    let queries: [&[f32]; N] = from_fn(|row| &queries[row * size..][..size]);
    let mut sums = [[[0f32; BLOCK_TOKENS]; 2]; N];
    let (pairs, last) = keys[..size].as_chunks::<2>();
    for (d, pair) in pairs.iter().enumerate() {
        for (sums, query) in sums.iter_mut().zip(queries) {
            for (half, (sums, keys)) in sums.iter_mut().zip(pair).enumerate() {
                add_multiple::<FUSED>(sums, query[2 * d + half], keys);
            }
        }
    }
    for keys in last {
        for (sums, query) in sums.iter_mut().zip(queries) {
            add_multiple::<FUSED>(&mut sums[0], query[size - 1], keys);
        }
    }
    for (row, [even, odd]) in sums.iter().enumerate() {
        let scores = scores[row * columns..][..BLOCK_TOKENS].iter_mut();
        scores.zip(even.iter().zip(odd)).for_each(|(score, (even, odd))| *score = even + odd);
    }
    N
}

/// `sums += x ys`
#[allow(clippy::inline_always, reason = "its callers are compiled for wider instruction sets")]
#[inline(always)]
fn add_multiple<const FUSED: bool>(sums: &mut [f32; LANES], x: f32, ys: &[f32; LANES]) {
    for (sum, y) in sums.iter_mut().zip(ys) {
        *sum = if FUSED { x.mul_add(*y, *sum) } else { *sum + x * y };
    }
}

/// Adds the values of one block, whose first column is `first`, to all rows that see of it. What a row does
/// not see is not read: it may be another text's.
fn mix_block(
    first: usize,
    weights: &[f32],
    columns: usize,
    seen: &[Range<usize>],
    values: &[f32],
    mixed: &mut [f32],
) {
    let size = values.len() / BLOCK_TOKENS;
    let within = |seen: &Range<usize>| {
        let [start, end] = [seen.start, seen.end].map(|x| x.clamp(first, first + BLOCK_TOKENS) - first);
        start..end
    };
    let mut row = 0;
    while row < seen.len() {
        let part = within(&seen[row]);
        let alike = seen[row..].iter().take(ROWS).take_while(|seen| within(seen) == part).count();
        let rows = [1, 1, 2, 2, ROWS][alike];
        let weights = &weights[row * columns + first + part.start..];
        let values = &values[part.start * size..part.end * size];
        mix_rows(rows, weights, columns, values, size, &mut mixed[row * size..][..rows * size]);
        row += rows;
    }
}

// `rows` is [`ROWS`], 2 or 1.
widened! {
    fn mix_rows(
        rows: usize,
        weights: &[f32],
        columns: usize,
        values: &[f32],
        size: usize,
        mixed: &mut [f32],
    ) {
        match rows {
            ROWS => mix::<ROWS, 2, FUSED>(weights, columns, values, size, mixed),
            2 => mix::<2, 4, FUSED>(weights, columns, values, size, mixed),
            _ => mix::<1, 8, FUSED>(weights, columns, values, size, mixed),
        }
    }
}

/// `mixed += weights values`: `[N, size] += [N, tokens] [tokens, size]`, `C` registers of each row at a time. Every
/// number is added to in the order of the tokens, whatever `N` and `C` are.
#[allow(clippy::inline_always, reason = "its callers are compiled for wider instruction sets")]
#[inline(always)]
fn mix<const N: usize, const C: usize, const FUSED: bool>(
    weights: &[f32],
    columns: usize,
    values: &[f32],
    size: usize,
    mixed: &mut [f32],
) {
    let tokens = values.len() / size;
    if tokens == 0 {
        return;
    }
    let weights: [&[f32]; N] = from_fn(|row| &weights[row * columns..][..tokens]);
    let mut d = 0;
    while d + C * LANES <= size {
        mix_columns::<N, C, FUSED>(weights, values, size, d, mixed);
        d += C * LANES;
    }
    while d + LANES <= size {
        mix_columns::<N, 1, FUSED>(weights, values, size, d, mixed);
        d += LANES;
    }
    for d in d..size {
        for (row, weights) in weights.iter().enumerate() {
            for (weight, values) in weights.iter().zip(values.chunks_exact(size)) {
                let sum = &mut mixed[row * size + d];
                *sum = if FUSED { weight.mul_add(values[d], *sum) } else { *sum + weight * values[d] };
            }
        }
    }
}

/// The numbers from the `d`-th on of each row, as many as `C` registers hold.
#[allow(clippy::inline_always, reason = "its callers are compiled for wider instruction sets")]
#[inline(always)]
fn mix_columns<const N: usize, const C: usize, const FUSED: bool>(
    weights: [&[f32]; N],
    values: &[f32],
    size: usize,
    d: usize,
    mixed: &mut [f32],
) {
    let mut sums: [[[f32; LANES]; C]; N] =
        from_fn(|row| from_fn(|c| from_fn(|lane| mixed[row * size + d + c * LANES..][..LANES][lane])));
    for (token, values) in values.chunks_exact(size).enumerate() {
        let (values, _) = values[d..][..C * LANES].as_chunks::<LANES>();
        for (sums, weights) in sums.iter_mut().zip(weights) {
            for (sums, values) in sums.iter_mut().zip(values) {
                add_multiple::<FUSED>(sums, weights[token], values);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        mixed[row * size + d..][..C * LANES].copy_from_slice(sums.as_flattened());
    }
}
