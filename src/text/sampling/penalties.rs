//! Making tokens less likely that have been there before.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::capability::SamplingOptions;

/// How many different tokens there is room for at first.
const ROOM: usize = 1_024;

/// The tokens so far and what each of them costs.
#[derive(Debug)]
pub(super) struct Penalties {
    repetition: f32,
    frequency: f32,
    presence: f32,
    /// How often each token has been generated; those of the prompt alone, 0 times.
    counts: HashMap<u32, u32, FixedState>,
}

impl Penalties {
    pub(super) fn new(options: &SamplingOptions, prompt: &[u32]) -> Self {
        let mut penalties = Self {
            repetition: options.repetition_penalty,
            frequency: options.frequency_penalty,
            presence: options.presence_penalty,
            counts: HashMap::default(),
        };
        if !penalties.are_off() {
            penalties.counts.reserve(ROOM);
        }
        if penalties.repeats_cost() {
            penalties.counts.extend(prompt.iter().map(|id| (*id, 0)));
        }
        penalties
    }

    /// Whether they would change nothing, whatever came before.
    pub(super) fn are_off(&self) -> bool {
        !self.repeats_cost() && self.frequency == 0.0 && self.presence == 0.0
    }

    fn repeats_cost(&self) -> bool {
        (self.repetition - 1.0).abs() > 0.0
    }

    /// `id` has been generated.
    pub(super) fn record(&mut self, id: u32) {
        if !self.are_off() {
            let count = self.counts.entry(id).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// First the repetition penalty, as in transformers; then the others, as `OpenAI` documents them:
    /// `score - count * frequency - (count > 0) * presence`.
    pub(super) fn apply(&self, scores: &mut [f32]) {
        for (id, count) in &self.counts {
            let Some(score) = scores.get_mut(*id as usize) else { continue };
            *score = if *score < 0.0 { *score * self.repetition } else { *score / self.repetition };
            if *count > 0 {
                *score -= self.frequency * *count as f32 + self.presence;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_penalty_costs_what_it_says() {
        let table: [(f32, f32, f32, [f32; 4]); 4] = [
            (2.0, 0.0, 0.0, [1.0, -4.0, 0.5, -1.0]),
            (1.0, 0.5, 0.0, [2.0, -3.0, 0.5, -1.0]),
            (1.0, 0.0, 0.5, [2.0, -2.5, 0.5, -1.0]),
            (2.0, 0.5, 0.5, [1.0, -5.5, 0.5, -1.0]),
        ];
        for (repetition_penalty, frequency_penalty, presence_penalty, expected) in table {
            let options = SamplingOptions {
                repetition_penalty,
                frequency_penalty,
                presence_penalty,
                ..SamplingOptions::greedy()
            };
            // 9 is in no vocabulary of four.
            let mut penalties = Penalties::new(&options, &[0, 0, 9]);
            penalties.record(1);
            penalties.record(1);
            let mut scores = [2.0, -2.0, 0.5, -1.0];
            penalties.apply(&mut scores);
            assert_eq!(scores.map(f32::to_bits), expected.map(f32::to_bits), "{scores:?}");
        }
    }

    #[test]
    fn nothing_is_kept_where_nothing_costs() {
        let mut penalties = Penalties::new(&SamplingOptions::greedy(), &[1, 2, 3]);
        penalties.record(4);
        assert!(penalties.are_off() && penalties.counts.is_empty());
    }
}
