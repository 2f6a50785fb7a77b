//! What happens to queries and keys between their linear layer and their meeting.

use super::super::widened;

/// Which numbers of a head are turned together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pairing {
    /// The i-th of the turned numbers and the i-th of their second half.
    Halves,
    /// Neighbours.
    Neighbours,
}

/// By how much each token of a step is turned.
#[derive(Clone, Debug, Default)]
pub(crate) struct Angles {
    /// `[tokens, pairs]`
    cosines: Vec<f32>,
    /// `[tokens, pairs]`
    sines: Vec<f32>,
    pairs: usize,
}

impl Angles {
    /// For tokens that are turned by `pairs` frequencies each.
    pub(crate) fn new(pairs: usize) -> Self {
        Self { pairs, ..Self::default() }
    }

    /// One more token, at `position`; `frequencies` are radians per position. Sines and cosines are multiplied
    /// by `scale`.
    pub(crate) fn push(&mut self, position: usize, frequencies: &[f32], scale: f32) {
        let angles = frequencies.iter().map(|frequency| position as f32 * frequency);
        let (sines, cosines): (Vec<f32>, Vec<f32>) = angles.map(f32::sin_cos).unzip();
        self.sines.extend(sines.into_iter().map(|x| x * scale));
        self.cosines.extend(cosines.into_iter().map(|x| x * scale));
    }

    pub(super) fn fit(&self, tokens: usize, head_size: usize) -> bool {
        2 * self.pairs <= head_size
            && self.cosines.len() == tokens * self.pairs
            && self.sines.len() == self.cosines.len()
    }

    /// Cosines and sines of a token.
    pub(super) fn of(&self, token: usize) -> (&[f32], &[f32]) {
        let range = token * self.pairs..(token + 1) * self.pairs;
        (&self.cosines[range.clone()], &self.sines[range])
    }
}

/// Turns each head of `heads`, `[heads, head size]`. Numbers beyond the pairs stay.
pub(super) fn turn(
    heads: &mut [f32],
    head_size: usize,
    (cosines, sines): (&[f32], &[f32]),
    pairing: Pairing,
) {
    match pairing {
        Pairing::Halves => turn_halves(heads, head_size, cosines, sines),
        Pairing::Neighbours => turn_neighbours(heads, head_size, cosines, sines),
    }
}

widened! {
    fn turn_halves(heads: &mut [f32], head_size: usize, cosines: &[f32], sines: &[f32]) {
        for head in heads.chunks_exact_mut(head_size) {
            let (first, rest) = head.split_at_mut(cosines.len());
            for (((a, b), c), s) in first.iter_mut().zip(rest).zip(cosines).zip(sines) {
                (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
            }
        }
    }
}

widened! {
    fn turn_neighbours(heads: &mut [f32], head_size: usize, cosines: &[f32], sines: &[f32]) {
        for head in heads.chunks_exact_mut(head_size) {
            for ((pair, c), s) in head.chunks_exact_mut(2).zip(cosines).zip(sines) {
                let (a, b) = (pair[0], pair[1]);
                (pair[0], pair[1]) = (a * c - b * s, b * c + a * s);
            }
        }
    }
}

/// `x / sqrt(mean square + eps) * weight` over each part of `row` as wide as `weight`.
pub(super) fn normalise(row: &mut [f32], weight: &[f32], eps: f32) {
    normalise_parts(row, weight, eps);
}

widened! {
    fn normalise_parts(row: &mut [f32], weight: &[f32], eps: f32) {
        const STRANDS: usize = 16;
        for part in row.chunks_exact_mut(weight.len()) {
            let mut strands = [0f32; STRANDS];
            let (chunks, rest) = part.as_chunks::<STRANDS>();
            for chunk in chunks {
                for (strand, x) in strands.iter_mut().zip(chunk) {
                    *strand += x * x;
                }
            }
            let squares = strands.iter().sum::<f32>() + rest.iter().map(|x| x * x).sum::<f32>();
            let scale = 1.0 / (squares / weight.len() as f32 + eps).sqrt();
            for (x, w) in part.iter_mut().zip(weight) {
                *x = *x * scale * w;
            }
        }
    }
}
