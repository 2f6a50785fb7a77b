//! From a row of logits to the next token of one request.
//!
//! A [`Sampler`] belongs to one answer to one request and holds all that its choices depend on: the options,
//! the tokens so far, the state of its own generator. It never looks at another request, so a request draws
//! the same tokens alone and in any batch. Room to work in is a [`SamplingScratch`], one for each worker,
//! which remembers nothing.
//!
//! The order is that of transformers' `_get_logits_processor` (repetition penalty; then temperature, top-k,
//! top-p, min-p), with what others have (frequency and presence penalties, bias, a mask of
//! allowed tokens) between the two, as in vLLM's sampler. Log-probabilities are those of the logits as they
//! come, as in vLLM's `raw_logprobs`.

mod candidates;
mod penalties;
mod random;
mod weights;

use candidates::Candidates;
use penalties::Penalties;
use random::SplitMix64;
pub(crate) use random::seed_of_choice;
use weights::{Weights, maximum};

use crate::capability::{ModelError, SamplingOptions};

/// Below this a temperature is greedy: dividing by less says nothing more. As in vLLM.
const GREEDY_BELOW: f32 = 1e-5;

/// Room for one row at a time: reused, so that sampling allocates nothing once it has grown.
#[derive(Debug, Default)]
pub(crate) struct SamplingScratch {
    scores: Vec<f32>,
    weights: Weights,
    candidates: Candidates,
}

/// The token that was taken.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sampled {
    pub(crate) id: u32,
    /// Where the request asks for it.
    pub(crate) logprobs: Option<SampledLogprobs>,
}

/// How likely the token was and what else was, by the unaltered logits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SampledLogprobs {
    pub(crate) chosen: f32,
    /// Ids with their log-probabilities, likeliest first; of equals the lower id.
    pub(crate) top: Vec<(u32, f32)>,
}

/// Chooses the tokens of one answer, one after the other.
#[derive(Debug)]
pub(crate) struct Sampler {
    options: SamplingOptions,
    logprobs: Option<usize>,
    penalties: Penalties,
    random: SplitMix64,
}

impl Sampler {
    /// `prompt` are the prompt's tokens, which the repetition penalty counts; `seed` is this answer's own,
    /// from [`seed_of_choice`]. `options` have been validated.
    pub(crate) fn new(options: &SamplingOptions, logprobs: Option<usize>, prompt: &[u32], seed: u64) -> Self {
        let penalties = Penalties::new(options, prompt);
        Self { options: options.clone(), logprobs, penalties, random: SplitMix64::new(seed) }
    }

    /// Takes the next token and remembers it. `logits` is one row, `[vocabulary]`; in `allowed`, bit `i % 32`
    /// of word `i / 32` says whether token `i` may be taken, and tokens past its end may not.
    ///
    /// # Errors
    ///
    /// [`ModelError::Numeric`] if a logit is not finite, or where nothing is allowed.
    pub(crate) fn sample(
        &mut self,
        logits: &[f32],
        allowed: Option<&[u32]>,
        scratch: &mut SamplingScratch,
    ) -> Result<Sampled, ModelError> {
        if logits.is_empty() || !all_finite(logits) {
            return Err(ModelError::Numeric("the logits of a token are not all finite".to_owned()));
        }
        let id = if self.options.temperature < GREEDY_BELOW && allowed.is_none() && self.leaves_logits() {
            first_maximum(logits)
        } else {
            self.choose(logits, allowed, scratch)?
        };
        self.penalties.record(id);
        let logprobs = self.logprobs.map(|n| logprobs(logits, id, n, scratch));
        Ok(Sampled { id, logprobs })
    }

    /// Whether nothing alters the logits.
    fn leaves_logits(&self) -> bool {
        self.penalties.are_off() && self.options.logit_bias.is_empty()
    }

    fn choose(
        &mut self,
        logits: &[f32],
        allowed: Option<&[u32]>,
        scratch: &mut SamplingScratch,
    ) -> Result<u32, ModelError> {
        let scores = &mut scratch.scores;
        scores.clear();
        scores.extend_from_slice(logits);
        self.penalties.apply(scores);
        for (id, bias) in &self.options.logit_bias {
            if let Some(score) = scores.get_mut(*id as usize) {
                *score += bias;
            }
        }
        if let Some(allowed) = allowed {
            forbid_others(scores, allowed);
        }
        let best = maximum(scores);
        if !best.is_finite() {
            return Err(ModelError::Numeric("no token may be taken".to_owned()));
        }
        if self.options.temperature < GREEDY_BELOW {
            return Ok(first_maximum(scores));
        }
        let at = self.random.unit();
        Ok(scratch.candidates.draw(scores, best, &self.options, at, &mut scratch.weights))
    }
}

/// Written without an early exit inside a block, so that it compiles to wide compares.
fn all_finite(logits: &[f32]) -> bool {
    logits.chunks(256).all(|block| block.iter().fold(true, |finite, x| finite & x.is_finite()))
}

/// Of equals the lowest id, as torch's `argmax` does on a CPU.
fn first_maximum(scores: &[f32]) -> u32 {
    let best = maximum(scores);
    scores.iter().position(|score| *score >= best).unwrap_or(0) as u32
}

fn forbid_others(scores: &mut [f32], allowed: &[u32]) {
    let words = allowed.iter().copied().chain(std::iter::repeat(0));
    for (block, word) in scores.chunks_mut(32).zip(words) {
        if word == u32::MAX {
            continue;
        }
        for (bit, score) in block.iter_mut().enumerate() {
            if word >> bit & 1 == 0 {
                *score = f32::NEG_INFINITY;
            }
        }
    }
}

fn logprobs(logits: &[f32], id: u32, n: usize, scratch: &mut SamplingScratch) -> SampledLogprobs {
    let best = maximum(logits);
    let total = scratch.weights.fill(logits, best, 1.0, f32::NEG_INFINITY);
    let norm = f64::from(best) + total.ln();
    let logprob = |id: u32| (f64::from(logits[id as usize]) - norm) as f32;
    let top = scratch.candidates.likeliest(logits, n).map(|id| (id, logprob(id))).collect();
    SampledLogprobs { chosen: logprob(id), top }
}

#[cfg(test)]
mod tests;
