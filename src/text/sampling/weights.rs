//! What each token's score is worth in a draw: a softmax without its division.

use std::f32::consts::LOG2_E;

/// How many weights are summed at a time.
const BLOCK: usize = 1_024;

/// `exp((score - best) / temperature)` for each score: the best one's is 1. None is negative.
#[derive(Debug, Default)]
pub(super) struct Weights {
    values: Vec<f32>,
    /// The sum of each [`BLOCK`] of them.
    sums: Vec<f64>,
}

impl Weights {
    /// Weighs the scores of at least `floor`; others, and those that are minus infinity, weigh nothing.
    /// Returns the sum. `best` is the largest score, and `inverse` is 1 over the temperature.
    pub(super) fn fill(&mut self, scores: &[f32], best: f32, inverse: f32, floor: f32) -> f64 {
        self.values.clear();
        let weight = |score: &f32| if *score >= floor { exp((*score - best) * inverse) } else { 0.0 };
        self.values.extend(scores.iter().map(weight));
        self.sums.clear();
        self.sums.extend(self.values.chunks(BLOCK).map(sum));
        self.sums.iter().sum()
    }

    pub(super) fn values(&self) -> &[f32] {
        &self.values
    }

    /// The token at which the running sum first exceeds `target`, which is less than the sum of all.
    pub(super) fn find(&self, mut target: f64) -> u32 {
        let mut block = 0;
        while block + 1 < self.sums.len() && target >= self.sums[block] {
            target -= self.sums[block];
            block += 1;
        }
        let from = block * BLOCK;
        let mut last = None;
        for (place, weight) in self.values.iter().enumerate().skip(from) {
            if *weight > 0.0 {
                last = Some(place);
                target -= f64::from(*weight);
                if target < 0.0 {
                    break;
                }
            }
        }
        // Rounding may leave the target just past the end, even past a last block without weight.
        let any = || self.values.iter().rposition(|weight| *weight > 0.0);
        last.or_else(any).unwrap_or(0) as u32
    }
}

/// In sixteen sums side by side, which compile to wide additions.
fn sum(block: &[f32]) -> f64 {
    let mut lanes = [0f32; 16];
    let mut rows = block.chunks_exact(16);
    for row in &mut rows {
        for (lane, x) in lanes.iter_mut().zip(row) {
            *lane += x;
        }
    }
    lanes.iter().chain(rows.remainder()).map(|x| f64::from(*x)).sum()
}

/// The largest number; minus infinity if there is none. For numbers that are no NaN.
pub(super) fn maximum(scores: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let mut rows = scores.chunks_exact(16);
    for row in &mut rows {
        for (lane, x) in lanes.iter_mut().zip(row) {
            *lane = if *x > *lane { *x } else { *lane };
        }
    }
    lanes.iter().chain(rows.remainder()).copied().fold(f32::NEG_INFINITY, f32::max)
}

/// e to the `x`, for `x` up to 0; nothing below -87, where f32 ends. Off by at most 3 in 10^7.
///
/// Not the system's: this compiles to wide arithmetic, a vocabulary has 150,000 tokens, and the same seed
/// must draw the same token on any machine. `x` is split into `n ln 2 + r`, and the series of e^r cut after
/// the sixth power.
fn exp(x: f32) -> f32 {
    /// Adding it leaves the nearest whole number in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    /// The first bits of ln 2, so few that times `n` they are exact, and the rest.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let shifted = x.max(-87.0) * LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let series = [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
    let e_r = series.into_iter().fold(1.0 / 720.0, |sum, term| sum * r + term);
    let two_n = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    if x >= -87.0 { e_r * two_n } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_right_all_the_way() {
        for step in 0..=870_000 {
            let x = -(step as f32) * 1e-4;
            let expected = f64::from(x).exp();
            let error = (f64::from(exp(x)) - expected).abs() / expected;
            assert!(error < 3e-7, "exp({x}) is off by {error}");
        }
        assert_eq!((exp(0.0), exp(-87.5), exp(-1e30), exp(f32::NEG_INFINITY)), (1.0, 0.0, 0.0, 0.0));
    }

    #[test]
    fn a_draw_never_lands_on_what_weighs_nothing() {
        let mut weights = Weights::default();
        let mut scores = vec![f32::NEG_INFINITY; 5_000];
        scores[1_500] = 0.0;
        let total = weights.fill(&scores, 0.0, 1.0, f32::NEG_INFINITY);
        for target in [0.0, total * 0.5, total, total * 1.5] {
            assert_eq!(weights.find(target), 1_500, "{target}");
        }
    }
}
