//! The model that one worker owns.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::answer::{Answer, Endings};
use super::runner::Runner;
use super::scheduler::{Refusal, TextId};
use super::weights::DecoderWeights;
use crate::capability::{
    Capacity, GenerateRequest, InvalidRequest, JobContext, Model, ModelError, Outbox, Slot, TextCompletion,
    TextToText,
};
use crate::kernels::threads;
use crate::text::{CivilTime, SamplingScratch};

/// One worker's text generation: shared weights, a cache of its own, and the requests admitted.
///
/// Each step gives every running answer one token, and reads a part of the prompts that are new. Answers end
/// when a step has ended them; a canceled request gives its part of the cache back at once.
#[derive(Debug)]
pub struct TextGenerator {
    weights: Arc<DecoderWeights>,
    runner: Runner,
    requests: BTreeMap<Slot, Admitted>,
    /// Whose the texts are.
    owners: BTreeMap<TextId, (Slot, usize)>,
    scratch: SamplingScratch,
    seeds: fastrand::Rng,
    unix_now: fn() -> i64,
}

/// A request under way.
#[derive(Debug)]
struct Admitted {
    request: GenerateRequest,
    prompt: Vec<u32>,
    answers: Vec<Answer>,
    /// Prompt tokens that the cache knew, for the first answer.
    found: Option<usize>,
}

impl TextGenerator {
    /// A model on `weights` for the calling thread, which gets `threads` threads to compute on, itself
    /// included. Copies none of the weights. `unix_now` tells chat templates that ask for it the time, in
    /// seconds since 1970.
    ///
    /// A thread takes its threads once and keeps them while it lives: for a second model on the same thread
    /// `threads` changes nothing.
    pub fn new(weights: Arc<DecoderWeights>, threads: NonZeroUsize, unix_now: fn() -> i64) -> Self {
        threads::adopt(threads);
        let plan = weights.plan();
        let runner = Runner::new(weights.network.clone(), plan.limits(), plan.kv_format());
        Self {
            weights,
            runner,
            requests: BTreeMap::new(),
            owners: BTreeMap::new(),
            scratch: SamplingScratch::default(),
            seeds: fastrand::Rng::new(),
            unix_now,
        }
    }

    /// The shared weights.
    pub fn weights(&self) -> &Arc<DecoderWeights> {
        &self.weights
    }

    /// Blocks of the cache that no request holds, and all there are.
    #[doc(hidden)]
    pub fn free_blocks(&self) -> (usize, usize) {
        self.runner.scheduler.free_blocks()
    }

    /// Admits a text for each answer. They have their prompt in common: the first one reads it.
    fn begin(&mut self, request: &GenerateRequest, prompt: &[u32]) -> Result<Vec<Answer>, ModelError> {
        let seed = request.sampling.seed.unwrap_or_else(|| self.seeds.u64(..));
        // First what may fail for one of them alone, so that none is admitted unless all are.
        let constraint = self.weights.plan().forms.compiled(&request.response_format)?;
        let mut answers: Vec<Answer> = Vec::with_capacity(request.n);
        for index in 0..request.n {
            let first = answers.first().map(|answer| answer.text);
            let text =
                self.runner.scheduler.admit(prompt.to_vec(), request.max_tokens, first).map_err(invalid)?;
            let (tokenizer, constraint) = (&self.weights.tokenizer, constraint.as_deref().cloned());
            answers.push(Answer::new(text, index, request, prompt, seed, tokenizer, constraint));
        }
        Ok(answers)
    }

    /// Gives the text its next token; ends it, and its request, where that was the last one.
    fn advance(&mut self, text: TextId, logits: &[f32], out: &mut Outbox<TextToText>) {
        let Some((slot, index)) = self.owners.get(&text).copied() else { return };
        let Some(admitted) = self.requests.get_mut(&slot) else { return };
        admitted.found.get_or_insert_with(|| self.runner.scheduler.found(text));
        let ends = Endings {
            model: &self.weights.ends,
            request: &admitted.request.stop_token_ids,
            max_tokens: admitted.request.max_tokens,
        };
        let answer = &mut admitted.answers[index];
        match answer.take(logits, ends, &self.weights.tokenizer, &mut self.scratch) {
            Ok(token) => {
                self.runner.scheduler.push(text, token.id);
                out.event(slot, token);
            }
            Err(error) => {
                self.cancel(slot);
                return out.fail(slot, error);
            }
        }
        if answer.has_ended() {
            self.runner.scheduler.end(text);
            self.owners.remove(&text);
        }
        if admitted.answers.iter().all(Answer::has_ended) {
            let admitted = self.requests.remove(&slot).expect("it was just looked at");
            out.finish(slot, admitted.into_completion());
        }
    }
}

impl Admitted {
    fn into_completion(self) -> TextCompletion {
        TextCompletion {
            choices: self.answers.into_iter().map(Answer::into_choice).collect(),
            prompt_token_ids: self.prompt,
            cached_prompt_tokens: self.found.unwrap_or(0),
        }
    }
}

fn invalid(refusal: Refusal) -> ModelError {
    let field = match refusal {
        Refusal::Empty => "prompt",
        Refusal::TooLong { .. } => "max_tokens",
    };
    InvalidRequest::new(field, refusal.to_string()).into()
}

impl Model<TextToText> for TextGenerator {
    fn capacity(&self) -> Capacity {
        let limits = self.weights.plan().limits();
        let tokens = limits.blocks * crate::kernels::BLOCK_TOKENS;
        Capacity { jobs: limits.texts as u32, cost: tokens as u64 }
    }

    fn admit(&mut self, slot: Slot, request: GenerateRequest, _: &JobContext) -> Result<(), ModelError> {
        self.weights.plan().check(&request)?;
        let prompt = self.weights.tokenize(&request, CivilTime::from_unix((self.unix_now)()))?;
        let answers = self.begin(&request, &prompt)?;
        self.owners.extend(answers.iter().enumerate().map(|(index, answer)| (answer.text, (slot, index))));
        self.requests.insert(slot, Admitted { request, prompt, answers, found: None });
        Ok(())
    }

    /// One token for every running answer, and a part of the prompts that are new.
    fn step(&mut self, out: &mut Outbox<TextToText>) -> Result<(), ModelError> {
        let sayings = self.runner.step()?;
        sayings.each(|said| self.advance(said.text, said.logits, out))
    }

    fn cancel(&mut self, slot: Slot) {
        let Some(admitted) = self.requests.remove(&slot) else { return };
        for answer in &admitted.answers {
            self.runner.scheduler.end(answer.text);
            self.owners.remove(&answer.text);
        }
    }
}
