//! How the next token is chosen, as requests say it.

use std::collections::BTreeMap;

use crate::capability::SamplingOptions;

/// OpenAI's temperature where a request names none.
const TEMPERATURE: f32 = 1.0;

/// The fields of a request that are about sampling.
#[derive(Clone, Debug, Default)]
pub(super) struct Sampling {
    pub(super) temperature: Option<f32>,
    pub(super) top_p: Option<f32>,
    pub(super) top_k: Option<i64>,
    pub(super) min_p: Option<f32>,
    pub(super) repetition_penalty: Option<f32>,
    pub(super) frequency_penalty: Option<f32>,
    pub(super) presence_penalty: Option<f32>,
    pub(super) logit_bias: Option<BTreeMap<u32, f32>>,
    pub(super) seed: Option<i64>,
}

impl Sampling {
    /// What the pools are told; they refuse what is out of range.
    pub(super) fn options(self) -> SamplingOptions {
        let mut options = SamplingOptions::with_temperature(self.temperature.unwrap_or(TEMPERATURE));
        options.top_p = self.top_p.unwrap_or(options.top_p);
        // Elsewhere 0 and -1 stand for all tokens.
        options.top_k = self.top_k.and_then(|top_k| usize::try_from(top_k).ok()).filter(|top_k| *top_k > 0);
        options.min_p = self.min_p.unwrap_or(options.min_p);
        options.repetition_penalty = self.repetition_penalty.unwrap_or(options.repetition_penalty);
        options.frequency_penalty = self.frequency_penalty.unwrap_or(options.frequency_penalty);
        options.presence_penalty = self.presence_penalty.unwrap_or(options.presence_penalty);
        options.logit_bias = self.logit_bias.unwrap_or_default();
        options.seed = self.seed.map(i64::cast_unsigned);
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_as_openai_has_it() {
        assert_eq!(Sampling::default().options(), SamplingOptions::with_temperature(1.0));
        let said = Sampling { top_k: Some(-1), seed: Some(-1), ..Sampling::default() }.options();
        assert_eq!((said.top_k, said.seed), (None, Some(u64::MAX)));
        let said = Sampling { top_k: Some(7), temperature: Some(0.0), ..Sampling::default() }.options();
        assert_eq!((said.top_k, said.temperature), (Some(7), 0.0));
    }
}
