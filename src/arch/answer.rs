//! One answer to a request, as it grows, whatever network its logits come from.

use std::sync::Arc;

use crate::capability::{
    Choice, FinishReason, GenerateRequest, InvalidRequest, ModelError, Token, TokenLogprob, TokenLogprobs,
};
use crate::text::{
    Constraint, Piece, PromptTokenizer, SampledLogprobs, Sampler, SamplingScratch, TokenStream,
    seed_of_choice,
};

/// One answer under way.
#[derive(Debug)]
pub(crate) struct Answer {
    index: usize,
    sampler: Sampler,
    stream: TokenStream,
    constraint: Option<Constraint>,
    written: String,
    token_ids: Vec<u32>,
    logprobs: Vec<TokenLogprobs>,
    /// Why it ended, once it has.
    ended: Option<FinishReason>,
}

/// What ends answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Endings<'a> {
    /// The model's own tokens for it.
    pub(crate) model: &'a [u32],
    pub(crate) request: &'a [u32],
    pub(crate) max_tokens: usize,
}

/// Refuses an answer that leaves a prompt no room in a text of `max_tokens` tokens, and tokens that a model with so
/// many in its `vocabulary` does not have.
pub(crate) fn check_answer(
    request: &GenerateRequest,
    vocabulary: usize,
    max_tokens: usize,
) -> Result<(), InvalidRequest> {
    if request.least_tokens() >= max_tokens {
        let reason = format!("prompt and answer have {max_tokens} tokens at most");
        return Err(InvalidRequest::new("max_tokens", reason));
    }
    let biased = request.sampling.logit_bias.keys().map(|id| ("logit_bias", *id));
    let stops = request.stop_token_ids.iter().map(|id| ("stop_token_ids", *id));
    match biased.chain(stops).find(|(_, id)| *id as usize >= vocabulary) {
        Some((field, id)) => {
            Err(InvalidRequest::new(field, format!("there is no token {id}: the model has {vocabulary}")))
        }
        None => Ok(()),
    }
}

impl Answer {
    /// The `index`-th answer to `request`, whose prompt has the tokens `prompt`.
    pub(crate) fn new(
        index: usize,
        request: &GenerateRequest,
        prompt: &[u32],
        seed: u64,
        tokenizer: &Arc<PromptTokenizer>,
        constraint: Option<Constraint>,
    ) -> Self {
        let sampler = Sampler::new(&request.sampling, request.logprobs, prompt, seed_of_choice(seed, index));
        Self {
            index,
            sampler,
            stream: TokenStream::new(tokenizer.clone(), &request.stop),
            constraint,
            written: String::new(),
            token_ids: Vec::new(),
            logprobs: Vec::new(),
            ended: None,
        }
    }

    /// Takes the next token from its logits.
    pub(crate) fn take(
        &mut self,
        logits: &[f32],
        ends: Endings<'_>,
        tokenizer: &PromptTokenizer,
        scratch: &mut SamplingScratch,
    ) -> Result<Token, ModelError> {
        let allowed = self.constraint.as_mut().map(Constraint::allowed).transpose()?;
        let sampled = self.sampler.sample(logits, allowed, scratch)?;
        if let Some(constraint) = &mut self.constraint {
            constraint.commit(sampled.id)?;
        }
        self.token_ids.push(sampled.id);
        let piece = self.piece(sampled.id, ends)?;
        self.written.push_str(&piece.text);
        let logprobs = sampled.logprobs.map(|logprobs| described(sampled.id, &logprobs, tokenizer));
        self.logprobs.extend(logprobs.clone());
        Ok(Token { choice: self.index, id: sampled.id, text: piece.text, logprobs })
    }

    /// What the token adds to the text; decides whether the answer has ended.
    fn piece(&mut self, id: u32, ends: Endings<'_>) -> Result<Piece, ModelError> {
        if ends.model.contains(&id) || ends.request.contains(&id) {
            self.ended = Some(FinishReason::Stop);
            return self.stream.finish().map_err(ModelError::failed);
        }
        let mut piece = self.stream.push(id).map_err(ModelError::failed)?;
        if piece.stopped {
            self.ended = Some(FinishReason::Stop);
        } else if self.token_ids.len() >= ends.max_tokens {
            let rest = self.stream.finish().map_err(ModelError::failed)?;
            piece.text.push_str(&rest.text);
            self.ended = Some(if rest.stopped { FinishReason::Stop } else { FinishReason::Length });
        }
        Ok(piece)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// The answer, once it has ended.
    pub(crate) fn into_choice(self) -> Choice {
        Choice {
            text: self.written,
            token_ids: self.token_ids,
            finish_reason: self.ended.unwrap_or(FinishReason::Length),
            logprobs: self.logprobs,
        }
    }
}

fn described(chosen: u32, logprobs: &SampledLogprobs, tokenizer: &PromptTokenizer) -> TokenLogprobs {
    let one = |id, logprob| TokenLogprob { id, bytes: tokenizer.bytes_of(id).unwrap_or_default(), logprob };
    TokenLogprobs {
        chosen: one(chosen, logprobs.chosen),
        top: logprobs.top.iter().map(|(id, logprob)| one(*id, *logprob)).collect(),
    }
}
