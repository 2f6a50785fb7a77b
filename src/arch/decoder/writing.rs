//! Requests for text under way in one worker, whatever was put into their prompts.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::inlays::{Inlay, Inlays};
use super::runner::Runner;
use super::scheduler::{NewText, Refusal, TextId};
use super::weights::DecoderWeights;
use crate::arch::answer::{Answer, Endings};
use crate::capability::{
    Capability, GenerateRequest, InvalidRequest, ModelError, Outbox, Slot, TextCompletion, Token,
};
use crate::text::SamplingScratch;

/// One worker's requests, on shared weights and a cache of its own.
#[derive(Debug)]
pub(crate) struct Writing {
    weights: Arc<DecoderWeights>,
    runner: Runner,
    requests: BTreeMap<Slot, Admitted>,
    /// Whose the texts are.
    owners: BTreeMap<TextId, (Slot, usize)>,
    scratch: SamplingScratch,
    seeds: fastrand::Rng,
}

/// The tokens of a prompt.
#[derive(Debug)]
pub(crate) struct PromptTokens {
    /// As the network reads them.
    pub(crate) text: NewText,
    /// As the caller is told them: all are in the vocabulary.
    pub(crate) told: Vec<u32>,
    /// What the ids beyond the vocabulary stand for.
    pub(crate) inlays: Vec<Arc<Inlay>>,
}

impl From<Vec<u32>> for PromptTokens {
    fn from(tokens: Vec<u32>) -> Self {
        Self { told: tokens.clone(), text: tokens.into(), inlays: Vec::new() }
    }
}

/// A request under way.
#[derive(Debug)]
struct Admitted {
    request: GenerateRequest,
    prompt: Vec<u32>,
    /// Each with the text that it is the end of.
    answers: Vec<(TextId, Answer)>,
    /// Prompt tokens that the cache knew, for the first answer.
    found: Option<usize>,
    /// Kept while texts may have to be read again.
    _inlays: Vec<Arc<Inlay>>,
}

impl Writing {
    /// With room for so many rows of pictures.
    pub(crate) fn new(weights: Arc<DecoderWeights>, inlays: usize) -> Self {
        let plan = weights.plan();
        let runner = Runner::new(weights.network.clone(), plan.limits(), plan.kv_format(), inlays);
        Self {
            weights,
            runner,
            requests: BTreeMap::new(),
            owners: BTreeMap::new(),
            scratch: SamplingScratch::default(),
            seeds: fastrand::Rng::new(),
        }
    }

    pub(crate) fn weights(&self) -> &Arc<DecoderWeights> {
        &self.weights
    }

    /// The rows that texts may have ids of.
    pub(crate) fn inlays(&self) -> &Inlays {
        &self.runner.inlays
    }

    pub(crate) fn inlays_mut(&mut self) -> &mut Inlays {
        &mut self.runner.inlays
    }

    /// Blocks of the cache that no request holds, and all there are.
    pub(crate) fn free_blocks(&self) -> (usize, usize) {
        self.runner.scheduler.free_blocks()
    }

    /// Takes in a request, whose prompt has these tokens.
    ///
    /// # Errors
    ///
    /// If prompt and answer are too long, or the form it asks for cannot be compiled.
    pub(crate) fn begin(
        &mut self,
        slot: Slot,
        request: GenerateRequest,
        prompt: PromptTokens,
    ) -> Result<(), ModelError> {
        let PromptTokens { text, told, inlays } = prompt;
        let room = self.weights.plan().max_tokens().saturating_sub(text.tokens.len());
        let request = request.cut_to(room);
        let answers = self.answers(&request, &text, &told)?;
        self.owners.extend(answers.iter().enumerate().map(|(index, (text, _))| (*text, (slot, index))));
        let admitted = Admitted { request, prompt: told, answers, found: None, _inlays: inlays };
        self.requests.insert(slot, admitted);
        Ok(())
    }

    /// Admits a text for each answer. They have their prompt in common: the first one reads it.
    fn answers(
        &mut self,
        request: &GenerateRequest,
        text: &NewText,
        told: &[u32],
    ) -> Result<Vec<(TextId, Answer)>, ModelError> {
        let seed = request.sampling.seed.unwrap_or_else(|| self.seeds.u64(..));
        // First what may fail for one of them alone, so that none is admitted unless all are.
        let constraint = self.weights.plan().forms.compiled(&request.response_format)?;
        let mut answers: Vec<(TextId, Answer)> = Vec::with_capacity(request.n);
        for index in 0..request.n {
            let first = answers.first().map(|(text, _)| *text);
            let text =
                self.runner.scheduler.admit(text.clone(), request.max_tokens, first).map_err(invalid)?;
            let (tokenizer, constraint) = (&self.weights.tokenizer, constraint.as_deref().cloned());
            let answer = Answer::new(index, request, told, seed, tokenizer, constraint);
            answers.push((text, answer));
        }
        Ok(answers)
    }

    /// One token for every running answer, and a part of the prompts that are new.
    pub(crate) fn step<C>(&mut self, out: &mut Outbox<C>) -> Result<(), ModelError>
    where
        C: Capability<Event = Token, Output = TextCompletion>,
    {
        let sayings = self.runner.step()?;
        sayings.each(|said| self.advance(said.text, said.logits, out))
    }

    /// Gives the text its next token; ends it, and its request, where that was the last one.
    fn advance<C>(&mut self, text: TextId, logits: &[f32], out: &mut Outbox<C>)
    where
        C: Capability<Event = Token, Output = TextCompletion>,
    {
        let Some((slot, index)) = self.owners.get(&text).copied() else { return };
        let Some(admitted) = self.requests.get_mut(&slot) else { return };
        admitted.found.get_or_insert_with(|| self.runner.scheduler.found(text));
        let ends = Endings {
            model: &self.weights.ends,
            request: &admitted.request.stop_token_ids,
            max_tokens: admitted.request.max_tokens,
        };
        let (_, answer) = &mut admitted.answers[index];
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
        if admitted.answers.iter().all(|(_, answer)| answer.has_ended()) {
            let admitted = self.requests.remove(&slot).expect("it was just looked at");
            out.finish(slot, admitted.into_completion());
        }
    }

    /// Forgets a request, if it is one of those under way.
    pub(crate) fn cancel(&mut self, slot: Slot) {
        let Some(admitted) = self.requests.remove(&slot) else { return };
        for (text, _) in &admitted.answers {
            self.runner.scheduler.end(*text);
            self.owners.remove(text);
        }
    }
}

impl Admitted {
    fn into_completion(self) -> TextCompletion {
        TextCompletion {
            choices: self.answers.into_iter().map(|(_, answer)| answer.into_choice()).collect(),
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
