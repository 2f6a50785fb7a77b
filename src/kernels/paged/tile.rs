//! One task of attention: a few neighbouring tokens of a text, and the heads that share one head of keys.

use std::array::from_fn;
use std::ops::Range;

use super::super::widened;
use super::{BLOCK_TOKENS, Direction, PagedAttention, PagedKv, PagedText};

/// Rows that one pass over a block's keys or values serves.
const ROWS: usize = 4;

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

    /// `softmax(cap(q k)) v` over all that each token sees.
    pub(super) fn attend(mut self, attention: &PagedAttention, kv: &PagedKv) {
        let size = attention.head_size;
        let group = attention.heads / attention.kv_heads;
        let rows = self.queries.len() / size;
        let seen = |row: usize| {
            let token = self.position + row / group;
            let window = attention.window.unwrap_or(usize::MAX);
            let end = match attention.direction {
                Direction::Backward => token + 1,
                Direction::BothWays => {
                    token.saturating_add(window).min(self.text.position + self.text.tokens)
                }
            };
            (token + 1).saturating_sub(window)..end
        };
        let blocks = seen(0).start / BLOCK_TOKENS..seen(rows - 1).end.div_ceil(BLOCK_TOKENS);
        let offset = blocks.start * BLOCK_TOKENS;
        let columns = blocks.len() * BLOCK_TOKENS;
        let held = &self.text.blocks[blocks];
        let mut scores = vec![0f32; rows * columns];
        for (i, block) in held.iter().enumerate() {
            let keys = kv.part(&kv.keys, *block, self.kv_head);
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
            exponentiate(row, sum);
        }
        let mut mixed = vec![0f32; rows * size];
        for (i, block) in held.iter().enumerate() {
            let values = kv.part(&kv.values, *block, self.kv_head);
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
        let whole = rows - rows % ROWS;
        for row in (0..whole).step_by(ROWS) {
            score::<ROWS>(&queries[row * size..], size, keys, &mut scores[row * columns..], columns);
        }
        for row in whole..rows {
            score::<1>(&queries[row * size..], size, keys, &mut scores[row * columns..], columns);
        }
    }
}

/// How many rows share a pass changes nothing in any row's sums.
#[allow(clippy::inline_always, reason = "its callers are compiled for wider instruction sets")]
#[inline(always)]
fn score<const N: usize>(
    queries: &[f32],
    size: usize,
    keys: &[[f32; BLOCK_TOKENS]],
    scores: &mut [f32],
    columns: usize,
) {
    let queries: [&[f32]; N] = from_fn(|row| &queries[row * size..][..size]);
    let mut sums = [[0f32; BLOCK_TOKENS]; N];
    for (d, keys) in keys.iter().take(size).enumerate() {
        for (sums, query) in sums.iter_mut().zip(queries) {
            let x = query[d];
            for (sum, key) in sums.iter_mut().zip(keys) {
                *sum += x * key;
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        scores[row * columns..][..BLOCK_TOKENS].copy_from_slice(sums);
    }
}

// Each number becomes e to the power of what it is over the greatest; `sum` becomes their sum.
widened! {
    fn exponentiate(row: &mut [f32], sum: &mut f32) {
        let (chunks, _) = row.as_chunks_mut::<BLOCK_TOKENS>();
        let mut greatest = [f32::NEG_INFINITY; BLOCK_TOKENS];
        for chunk in chunks.iter() {
            for (greatest, x) in greatest.iter_mut().zip(chunk) {
                *greatest = if *x > *greatest { *x } else { *greatest };
            }
        }
        let greatest = greatest.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sums = [0f32; BLOCK_TOKENS];
        for chunk in chunks {
            for (sum, x) in sums.iter_mut().zip(chunk) {
                *x = exp(*x - greatest);
                *sum += *x;
            }
        }
        *sum = sums.iter().sum();
    }
}

/// e^x for x up to 0, to within 2e-7 of its value, without a branch; below e^-87, nothing.
///
/// `2^n e^r` with n the nearest whole number to `x log2 e`; e^r by its series, which six terms exhaust for f32
/// on |r| <= ln 2 / 2.
#[allow(clippy::inline_always, reason = "its callers are compiled for wider instruction sets")]
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Adding this leaves no room for a fraction, so that what was added is rounded, in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let series = 1.0 / 720.0;
    let series = series * r + 1.0 / 120.0;
    let series = series * r + 1.0 / 24.0;
    let series = series * r + 1.0 / 6.0;
    let series = series * r + 0.5;
    let series = series * r * r + r + 1.0;
    let power = f32::from_bits(shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23);
    if x < -87.0 { 0.0 } else { series * power }
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
    let whole = |seen: &Range<usize>| seen.start <= first && first + BLOCK_TOKENS <= seen.end;
    let mut row = 0;
    while row < seen.len() {
        let weights = &weights[row * columns + first..];
        let mixed = &mut mixed[row * size..];
        if seen.len() - row >= ROWS && seen[row..row + ROWS].iter().all(whole) {
            mix_rows(weights, columns, values, &mut mixed[..ROWS * size]);
            row += ROWS;
            continue;
        }
        let start = seen[row].start.clamp(first, first + BLOCK_TOKENS) - first;
        let end = seen[row].end.clamp(first, first + BLOCK_TOKENS) - first;
        if start < end {
            mix_row(&weights[start..end], &values[start * size..end * size], &mut mixed[..size]);
        }
        row += 1;
    }
}

widened! {
    fn mix_rows(weights: &[f32], columns: usize, values: &[f32], mixed: &mut [f32]) {
        let weights: [&[f32]; ROWS] = from_fn(|row| &weights[row * columns..][..BLOCK_TOKENS]);
        mix::<ROWS>(weights, values, mixed);
    }
}

widened! {
    fn mix_row(weights: &[f32], values: &[f32], mixed: &mut [f32]) {
        mix::<1>([weights], values, mixed);
    }
}

/// `mixed += weights values`: `[N, size] += [N, tokens] [tokens, size]`.
#[allow(clippy::inline_always, reason = "its callers are compiled for wider instruction sets")]
#[inline(always)]
fn mix<const N: usize>(weights: [&[f32]; N], values: &[f32], mixed: &mut [f32]) {
    const LANES: usize = 16;
    let size = mixed.len() / N;
    let whole = size - size % LANES;
    for d in (0..whole).step_by(LANES) {
        let mut sums: [[f32; LANES]; N] =
            from_fn(|row| from_fn(|lane| mixed[row * size + d..][..LANES][lane]));
        for (token, values) in values.chunks_exact(size).enumerate() {
            let values = &values[d..][..LANES];
            for (sums, weights) in sums.iter_mut().zip(weights) {
                let weight = weights[token];
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum += weight * value;
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            mixed[row * size + d..][..LANES].copy_from_slice(sums);
        }
    }
    for d in whole..size {
        for (row, weights) in weights.iter().enumerate() {
            for (weight, values) in weights.iter().zip(values.chunks_exact(size)) {
                mixed[row * size + d] += weight * values[d];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn powers_of_e_are_those_of_the_standard_library() {
        for i in 0..=870_000 {
            let x = f64::from(i) * -1e-4;
            let off = (f64::from(exp(x as f32)) / f64::from(x as f32).exp() - 1.0).abs();
            assert!(off < 4e-7, "e^{x} is off by {off}");
        }
        assert_eq!((exp(0.0), exp(f32::NEG_INFINITY)), (1.0, 0.0));
        assert!(exp(f32::NAN).is_nan());
    }
}
