//! A request: before its picture is seen, and then as its texts grow.

use super::memory::{Part, PictureMemory, Reading};
use super::weights::BlipWeights;
use crate::arch::answer::{Answer, Endings};
use crate::capability::{GenerateRequest, ImageSource, ModelError, Slot, TextCompletion, Token};
use crate::kernels::BLOCK_TOKENS;
use crate::text::SamplingScratch;

/// A request whose picture is not seen yet.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) slot: Slot,
    pub(super) image: ImageSource,
    pub(super) request: GenerateRequest,
    /// What all of its texts begin with: at least one token.
    pub(super) prompt: Vec<u32>,
}

impl Waiting {
    /// How many blocks its texts hold together at their longest.
    pub(super) fn blocks(&self) -> usize {
        let (shared, own) = self.shared_and_own();
        shared + own * self.request.n
    }

    /// The blocks that the prompt fills, which are one for all texts, and those that each text has for itself.
    fn shared_and_own(&self) -> (usize, usize) {
        let shared = self.prompt.len() / BLOCK_TOKENS;
        let whole = (self.prompt.len() + self.request.max_tokens).div_ceil(BLOCK_TOKENS);
        (shared, whole - shared)
    }
}

/// Texts about one picture, which begin alike.
#[derive(Debug)]
pub(super) struct Captioning {
    request: GenerateRequest,
    prompt: Vec<u32>,
    picture: PictureMemory,
    texts: Vec<Text>,
    /// All that the texts hold.
    pub(super) blocks: Vec<u32>,
}

/// One of them.
#[derive(Debug)]
struct Text {
    answer: Answer,
    /// Where its keys and values are, first to last.
    blocks: Vec<u32>,
    /// How many of its tokens were read.
    read: usize,
    /// Those that come after them.
    unread: Vec<u32>,
}

impl Captioning {
    /// The texts of a request whose picture is seen, with the blocks that it asked for. The first of them is to read
    /// all of the prompt, the others what of it is not in blocks that are one for all. `seed` is for answers that are
    /// drawn and not told another.
    pub(super) fn new(
        weights: &BlipWeights,
        waiting: Waiting,
        picture: PictureMemory,
        blocks: Vec<u32>,
        seed: u64,
    ) -> Self {
        let (shared, own) = waiting.shared_and_own();
        let Waiting { request, prompt, .. } = waiting;
        let seed = request.sampling.seed.unwrap_or(seed);
        let (shared, rest) = blocks.split_at(shared);
        let texts = rest.chunks(own).enumerate().map(|(index, own)| {
            let read = if index == 0 { 0 } else { shared.len() * BLOCK_TOKENS };
            let answer = Answer::new(index, &request, &prompt, seed, &weights.tokenizer, None);
            Text { answer, blocks: [shared, own].concat(), read, unread: prompt[read..].to_vec() }
        });
        let texts = texts.collect();
        Self { request, prompt, picture, texts, blocks }
    }

    /// What its texts read next: at first the prompt, once for all, and then each that is under way what it has not
    /// read.
    pub(super) fn reading(&self) -> Reading<'_> {
        let readers = if self.texts[0].read == 0 { 1 } else { self.texts.len() };
        let open = self.texts.iter().filter(|text| !text.answer.has_ended());
        Reading { picture: &self.picture, texts: open.take(readers).map(Text::part).collect() }
    }

    /// Gives each text that is under way its next token, from the logits of those that have read: those of the prompt
    /// are for all.
    pub(super) fn take(
        &mut self,
        logits: &[Vec<f32>],
        weights: &BlipWeights,
        scratch: &mut SamplingScratch,
    ) -> Result<Vec<Token>, ModelError> {
        let (request, max_tokens) = (&self.request.stop_token_ids, self.request.max_tokens);
        let ends = Endings { model: weights.plan.ends(), request, max_tokens };
        let mut open: Vec<_> = self.texts.iter_mut().filter(|text| !text.answer.has_ended()).collect();
        open.iter_mut().take(logits.len()).for_each(|text| {
            text.read += text.unread.len();
            text.unread.clear();
        });
        let tokens = open.into_iter().zip(logits.iter().cycle()).map(|(text, logits)| {
            let token = text.answer.take(logits, ends, &weights.tokenizer, scratch)?;
            text.unread.push(token.id);
            Ok(token)
        });
        tokens.collect()
    }

    /// Whether no text is under way any more.
    pub(super) fn has_ended(&self) -> bool {
        self.texts.iter().all(|text| text.answer.has_ended())
    }

    pub(super) fn into_completion(self) -> TextCompletion {
        TextCompletion {
            choices: self.texts.into_iter().map(|text| text.answer.into_choice()).collect(),
            prompt_token_ids: self.prompt,
            cached_prompt_tokens: 0,
        }
    }
}

impl Text {
    fn part(&self) -> Part<'_> {
        Part { tokens: &self.unread, position: self.read, blocks: &self.blocks }
    }
}
