//! A request whose picture is seen, as its texts grow.

use super::memory::{PictureMemory, Reading, TextMemory};
use super::weights::BlipWeights;
use crate::arch::answer::{Answer, Endings};
use crate::capability::{GenerateRequest, ModelError, TextCompletion, Token};
use crate::text::SamplingScratch;

/// Texts about one picture, which begin alike.
#[derive(Debug)]
pub(super) struct Captioning {
    request: GenerateRequest,
    prompt: Vec<u32>,
    picture: PictureMemory,
    texts: Vec<Text>,
}

/// One of them.
#[derive(Debug)]
struct Text {
    answer: Answer,
    memory: TextMemory,
    /// The token that it reads next.
    newest: u32,
}

impl Captioning {
    /// Texts that have read their `prompt`, of which `memory` is kept, and no more. `seed` is for answers that are
    /// drawn and not told another.
    pub(super) fn new(
        weights: &BlipWeights,
        request: GenerateRequest,
        prompt: Vec<u32>,
        picture: PictureMemory,
        memory: &TextMemory,
        seed: u64,
    ) -> Self {
        let seed = request.sampling.seed.unwrap_or(seed);
        let texts = (0..request.n).map(|index| Text {
            answer: Answer::new(index, &request, &prompt, seed, &weights.tokenizer, None),
            memory: memory.clone(),
            newest: weights.plan.config.text.begin,
        });
        let texts = texts.collect();
        Self { request, prompt, picture, texts }
    }

    /// The texts that are under way, each to read the token that it got last.
    pub(super) fn reading(&mut self) -> Reading<'_> {
        let open = self.texts.iter_mut().filter(|text| !text.answer.has_ended());
        let texts = open.map(|text| (&mut text.memory, text.newest)).collect();
        Reading { picture: &self.picture, texts }
    }

    /// Gives each text that is under way its next token, from the logits that come for it.
    pub(super) fn take<'a>(
        &mut self,
        mut logits: impl FnMut() -> Option<&'a [f32]>,
        weights: &BlipWeights,
        scratch: &mut SamplingScratch,
    ) -> Result<Vec<Token>, ModelError> {
        let (request, max_tokens) = (&self.request.stop_token_ids, self.request.max_tokens);
        let ends = Endings { model: weights.plan.ends(), request, max_tokens };
        let open = self.texts.iter_mut().filter(|text| !text.answer.has_ended());
        let tokens = open.map(|text| {
            let logits = logits().ok_or_else(|| ModelError::failed("there are fewer logits than texts"))?;
            let token = text.answer.take(logits, ends, &weights.tokenizer, scratch)?;
            text.newest = token.id;
            Ok(token)
        });
        tokens.collect()
    }

    /// How many texts are under way.
    pub(super) fn open(&self) -> usize {
        self.texts.iter().filter(|text| !text.answer.has_ended()).count()
    }

    /// How many tokens are kept.
    pub(super) fn kept_tokens(&self) -> usize {
        self.texts.iter().map(|text| text.memory.tokens()).sum()
    }

    pub(super) fn into_completion(self) -> TextCompletion {
        TextCompletion {
            choices: self.texts.into_iter().map(|text| text.answer.into_choice()).collect(),
            prompt_token_ids: self.prompt,
            cached_prompt_tokens: 0,
        }
    }
}
