//! The tokens that a draw is made from.

use std::cmp::Ordering;

use super::weights::Weights;
use crate::capability::SamplingOptions;

/// A token that may be drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Candidate {
    id: u32,
    weight: f32,
}

impl Candidate {
    /// Heavier first; of equals the lower id.
    fn order(self, other: Self) -> Ordering {
        other.weight.total_cmp(&self.weight).then(self.id.cmp(&other.id))
    }
}

/// Room for the tokens that a draw is made from.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// In the order of their ids, so that the same draw finds the same token whatever happened in between.
    kept: Vec<Candidate>,
    ranked: Vec<Candidate>,
    largest: Vec<f32>,
    ids: Vec<u32>,
}

impl Candidates {
    /// Draws a token: `at`, from 0 to 1, says how far along the kept tokens' weights. `best` is the largest
    /// score and finite. The vocabulary is gone through a few times, never sorted.
    pub(super) fn draw(
        &mut self,
        scores: &[f32],
        best: f32,
        options: &SamplingOptions,
        at: f64,
        weights: &mut Weights,
    ) -> u32 {
        let floor = options.top_k.map_or(f32::NEG_INFINITY, |k| self.kth_largest(scores, k));
        let total = weights.fill(scores, best, options.temperature.recip(), floor);
        if options.top_k.is_none() && options.top_p >= 1.0 && options.min_p <= 0.0 {
            return weights.find(at * total);
        }
        self.keep(weights.values(), total, options);
        let sum: f64 = self.kept.iter().map(|candidate| f64::from(candidate.weight)).sum();
        let mut rest = at * sum;
        let drawn = self.kept.iter().find(|candidate| {
            rest -= f64::from(candidate.weight);
            rest < 0.0
        });
        // The best token is always kept; rounding may leave a little past the last one.
        drawn.or(self.kept.last()).map_or(0, |candidate| candidate.id)
    }

    /// Leaves in `kept` what top-p and then min-p leave of these weights, whose sum is `total`.
    fn keep(&mut self, weights: &[f32], total: f64, options: &SamplingOptions) {
        if options.top_p >= 1.0 {
            return self.gather(weights, options.min_p);
        }
        // All tokens that follow a token of the nucleus weigh no more than it, and together with it more than
        // `1 - top_p`: so none of the nucleus weighs less than its share of that. (A little off: rounding.)
        let share = (1.0 - f64::from(options.top_p)) * total / weights.len() as f64;
        self.gather(weights, 0.999 * share as f32);
        let last = self.last_of_nucleus(f64::from(options.top_p) * total);
        self.kept.retain(|candidate| {
            candidate.weight >= options.min_p && last.is_none_or(|last| candidate.order(last).is_le())
        });
    }

    fn gather(&mut self, weights: &[f32], lightest: f32) {
        let heavy = weights.iter().zip(0..).filter(|(weight, _)| **weight > 0.0 && **weight >= lightest);
        self.kept.clear();
        self.kept.extend(heavy.map(|(weight, id)| Candidate { id, weight: *weight }));
    }

    /// The lightest token of the nucleus: the last before which less than `mass` weighs heavier.
    ///
    /// Halves what is in question each time, and never sorts it.
    fn last_of_nucleus(&mut self, mass: f64) -> Option<Candidate> {
        self.ranked.clear();
        self.ranked.extend_from_slice(&self.kept);
        let (mut open, mut before) = (self.ranked.as_mut_slice(), 0.0);
        while open.len() > 1 {
            let middle = open.len() / 2;
            open.select_nth_unstable_by(middle, |a, b| a.order(*b));
            let upper: f64 = open[..middle].iter().map(|candidate| f64::from(candidate.weight)).sum();
            if before + upper >= mass {
                open = &mut open[..middle];
            } else {
                before += upper;
                open = &mut open[middle..];
            }
        }
        open.first().copied()
    }

    /// The `k`-th largest score; minus infinity if there are no more than `k`.
    ///
    /// Gathers what is larger than the `k` largest so far, and thins it out when it has doubled.
    fn kth_largest(&mut self, scores: &[f32], k: usize) -> f32 {
        if k == 0 || k >= scores.len() {
            return f32::NEG_INFINITY;
        }
        let (largest, room) = (&mut self.largest, k.saturating_mul(2).max(256));
        let mut floor = f32::NEG_INFINITY;
        largest.clear();
        for score in scores {
            if *score > floor {
                largest.push(*score);
                if largest.len() >= room {
                    floor = thin_out(largest, k);
                }
            }
        }
        if largest.len() < k { f32::NEG_INFINITY } else { thin_out(largest, k) }
    }

    /// The ids of the `n` largest logits, largest first; of equals the lower id.
    pub(super) fn likeliest(&mut self, logits: &[f32], n: usize) -> impl Iterator<Item = u32> {
        let floor = if n == 0 { f32::INFINITY } else { self.kth_largest(logits, n) };
        let largest = logits.iter().zip(0..).filter(|(logit, _)| **logit >= floor).map(|(_, id)| id);
        self.ids.clear();
        self.ids.extend(largest);
        self.ids.sort_unstable_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b)));
        self.ids.truncate(n);
        self.ids.iter().copied()
    }
}

/// Leaves the `k` largest, and returns the least of them.
fn thin_out(scores: &mut Vec<f32>, k: usize) -> f32 {
    let (_, kth, _) = scores.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    let kth = *kth;
    scores.truncate(k);
    kth
}
