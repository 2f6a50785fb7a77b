//! From a request whose pictures are seen to the tokens that the decoder reads.

use std::ops::Range;
use std::sync::Arc;

use super::family::Together;
use super::weights::InlaidWeights;
use crate::arch::decoder::{Inlay, NewText, PromptTokens};
use crate::capability::{DescribeRequest, ImagePlace, InvalidRequest, ModelError, Prompt};
use crate::text::{CivilTime, GuardedText, Shown};

/// By what prompts share beginnings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Apart {
    /// That of the rows' ids.
    pub(super) epoch: u64,
    /// That of no other prompt.
    pub(super) alone: u64,
}

impl InlaidWeights {
    /// The tokens of a prompt with `seen` in the places of its pictures. `now` is what a chat template may know of the
    /// time.
    pub(super) fn tokens(
        &self,
        request: &DescribeRequest,
        seen: Vec<Arc<Inlay>>,
        apart: Apart,
        now: CivilTime,
    ) -> Result<PromptTokens, ModelError> {
        let words = self.words(request, now)?;
        let places = words.count(&self.placeholder);
        if places != seen.len() {
            let reason = format!("the prompt has places for {places} pictures, and there are {}", seen.len());
            return Err(InvalidRequest::new("images", reason).into());
        }
        let token = |id| self.decoder.tokenizer().written(id);
        let fillings = seen.iter().map(|inlay| self.plan.family.filling(inlay.shape, &token));
        let fillings: Vec<String> = fillings
            .collect::<Result<_, u32>>()
            .map_err(|id| ModelError::failed(format!("the tokenizer does not know token {id}")))?;
        let filled = words.filled(&self.placeholder, fillings);
        let told = match self.plan.family.together() {
            Together::Prompt => self.decoder.tokens_of_bare(&filled)?,
            _ => self.decoder.tokens_of(&filled)?,
        };
        let (tokens, spans) = self.inlaid(&told, &seen)?;
        self.check_length(tokens.len())?;
        let shapes = spans.iter().cloned().zip(seen.iter().map(|inlay| inlay.shape)).collect::<Vec<_>>();
        let places = self.plan.family.places(tokens.len(), &shapes);
        let (together, apart) = match self.plan.family.together() {
            Together::Nothing => (Vec::new(), apart.epoch),
            Together::Picture => (spans, apart.epoch),
            // What is seen from a beginning hangs on what follows it.
            Together::Prompt => (std::iter::once(0..tokens.len()).collect(), apart.alone),
        };
        let text = NewText { tokens, together, apart, places };
        Ok(PromptTokens { text, told, inlays: seen })
    }

    /// Refuses a prompt that is too long to be read at once, where it must be.
    fn check_length(&self, tokens: usize) -> Result<(), InvalidRequest> {
        let most = self.plan.family.longest_together(self.plan.decoder.max_tokens());
        if self.plan.family.together() != Together::Prompt || tokens <= most {
            return Ok(());
        }
        let reason =
            format!("it has {tokens} tokens, and this model reads at most {most} at once: shorten it");
        Err(InvalidRequest::new("prompt", reason))
    }

    /// The prompt in words, with a placeholder for each picture.
    fn words(&self, request: &DescribeRequest, now: CivilTime) -> Result<GuardedText, ModelError> {
        let mark = self.mark.as_str();
        match (&request.generate.prompt, request.all_places()) {
            (Prompt::Raw(text), None) => Ok(self.framed(GuardedText::plain(text))),
            (Prompt::Raw(text), Some(places)) => {
                let pieces: Vec<_> = ImagePlace::cut(text, places.iter().map(|place| place.at)).collect();
                Ok(self.framed(GuardedText::marked(&pieces, mark, &self.placeholder)?))
            }
            (Prompt::Tokens(_), _) => {
                Err(InvalidRequest::new("prompt", "tokens are no words that pictures could be among").into())
            }
            (Prompt::Chat(chat), places) => {
                let places = places.unwrap_or_default();
                self.decoder.render_shown(chat, Shown { places: &places, mark }, now)
            }
        }
    }

    /// A prompt that is no conversation, as a model that sees all of it at once reads it: the token that begins texts
    /// comes behind the last picture, and the line ends.
    fn framed(&self, words: GuardedText) -> GuardedText {
        match self.plan.family.together() {
            Together::Prompt => {
                let begin = self.plan.decoder.begins_with().unwrap_or_default();
                words.with_behind(&self.placeholder, begin, "\n")
            }
            _ => words,
        }
    }

    /// `told` with the ids of rows where it has the token that stands for one; and where each picture's are, from
    /// its first to its last.
    fn inlaid(&self, told: &[u32], seen: &[Arc<Inlay>]) -> Result<(Vec<u32>, Vec<Range<usize>>), ModelError> {
        let image_token = self.plan.family.image_token();
        let mut places = told.iter().enumerate().filter(|(_, id)| **id == image_token).map(|(at, _)| at);
        let (mut tokens, mut spans) = (told.to_vec(), Vec::with_capacity(seen.len()));
        let mismatch = || {
            let reason = "the model's tokenizer does not make as many tokens of a picture as it has rows";
            ModelError::failed(reason)
        };
        for inlay in seen {
            let mut span: Option<Range<usize>> = None;
            for id in inlay.ids.clone() {
                let at = places.next().ok_or_else(mismatch)?;
                tokens[at] = id;
                span = Some(span.map_or(at, |span| span.start)..at + 1);
            }
            spans.extend(span);
        }
        if places.next().is_some() {
            let reason = "a text has the token that stands for rows of pictures: leave it out, or mark places of \
                          pictures with the model's placeholder";
            return Err(InvalidRequest::new("prompt", reason).into());
        }
        Ok((tokens, spans))
    }
}
