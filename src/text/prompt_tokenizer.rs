//! Prompts to token ids and back, for models that write.
//!
//! Another reader of the same files than [`Tokenizer`](super::Tokenizer): nothing is cut, a prompt that is
//! too long is refused by whoever knows the model's length; ids can be turned back into text; and the
//! control tokens of a chat template are kept apart from what only looks like them in a message
//! ([`ContentGuard`]).

use std::collections::BTreeSet;
use std::path::Path;

use tokenizers::{
    AddedVocabulary, Model, NormalizedString, Normalizer, NormalizerWrapper, OffsetType, PreTokenizer,
};

use super::TokenizerError;
use super::content_guard::{ContentGuard, Covers, GuardedText};
use super::spelling::Spelling;
use super::tokenizer::{contained, read_library, special_ids};
use crate::capability::InvalidRequest;

/// The longest control token there is room for; none in use comes near it.
const MAX_CONTROL_BYTES: usize = 256;

/// How many ids are looked through for a token that stands for text whatever stands before it.
const ANCHOR_SEARCH: u32 = 2_048;

/// A loaded tokenizer. All of it takes `&self`: one serves any number of threads.
#[derive(Debug)]
pub(crate) struct PromptTokenizer {
    library: tokenizers::Tokenizer,
    /// The added tokens again, with every control token matched before anything is normalized: the places
    /// that the guard covers and the places where the library finds one are then the same.
    guarded: AddedVocabulary,
    guard: ContentGuard,
    special_ids: BTreeSet<u32>,
    control_ids: BTreeSet<u32>,
    spelling: Spelling,
    anchor: Option<u32>,
}

impl PromptTokenizer {
    /// Reads `tokenizer.json`. `control_ids` are tokens that must not be made from a message even though the
    /// file does not call them special: those that end an answer.
    pub(crate) fn load(path: &Path, control_ids: &[u32]) -> Result<Self, TokenizerError> {
        Self::new(read_library(path)?, control_ids).map_err(|error| error.of_file(path))
    }

    /// Takes a tokenizer as it is, such as one put together from a GGUF file.
    pub(crate) fn new(library: tokenizers::Tokenizer, control_ids: &[u32]) -> Result<Self, TokenizerError> {
        let tokens = library.get_added_tokens_decoder();
        let special_ids = special_ids(&library);
        let control_ids: BTreeSet<u32> = special_ids.iter().chain(control_ids).copied().collect();
        let is_control = |id: &u32| control_ids.contains(id);
        let controls: Vec<String> =
            tokens.iter().filter(|(id, _)| is_control(id)).map(|(_, token)| token.content.clone()).collect();
        if let Some(long) = controls.iter().find(|text| text.len() > MAX_CONTROL_BYTES) {
            let reason = format!(
                "a special token has {} bytes, and at most {MAX_CONTROL_BYTES} make sense",
                long.len()
            );
            return Err(TokenizerError::Failed(reason));
        }
        let mut tokens: Vec<_> = tokens.into_iter().collect();
        tokens.sort_unstable_by_key(|(id, _)| *id);
        let tokens = tokens.into_iter().map(|(id, token)| {
            let normalized = token.normalized && !is_control(&id);
            token.normalized(normalized)
        });
        let mut guarded = AddedVocabulary::new();
        contained(|| guarded.add_tokens(tokens, library.get_model(), library.get_normalizer()))?;
        let spelling = Spelling::of(library.get_decoder());
        let mut tokenizer = Self {
            library,
            guarded,
            guard: ContentGuard::new(controls),
            special_ids,
            control_ids,
            spelling,
            anchor: None,
        };
        tokenizer.anchor = (0..ANCHOR_SEARCH).find(|id| tokenizer.is_anchor(*id));
        Ok(tokenizer)
    }

    /// The tokens of a prompt as it is, with the tokenizer's own special tokens around it; what looks like a
    /// special token in it becomes one. As transformers' `tokenizer(text)`.
    pub(crate) fn encode_raw(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        Ok(contained(|| self.library.encode_fast(text, true))?.get_ids().to_vec())
    }

    /// The tokens of a rendered conversation. No special tokens are put around it: the template wrote them.
    /// What looks like one in a message stays text.
    ///
    /// # Errors
    ///
    /// [`InvalidRequest`] where this tokenizer makes a special token even of text that it was told is none.
    pub(crate) fn encode_chat(&self, chat: &GuardedText) -> Result<Vec<u32>, EncodeChatError> {
        self.encode_guarded(chat, false)
    }

    /// The same with the tokenizer's own special tokens around it.
    ///
    /// # Errors
    ///
    /// As [`encode_chat`](Self::encode_chat).
    pub(crate) fn encode_chat_and_around(&self, chat: &GuardedText) -> Result<Vec<u32>, EncodeChatError> {
        self.encode_guarded(chat, true)
    }

    fn encode_guarded(&self, chat: &GuardedText, around: bool) -> Result<Vec<u32>, EncodeChatError> {
        let covered = contained(|| self.library.encode_fast(chat.text.as_str(), around))?;
        if chat.covers.is_empty() {
            return Ok(covered.get_ids().to_vec());
        }
        let ids = self.encode_uncovered(&chat.text, &chat.covers, around)?;
        let controls =
            |ids: &[u32]| ids.iter().copied().filter(|id| self.control_ids.contains(id)).collect::<Vec<_>>();
        if controls(&ids) != controls(covered.get_ids()) {
            let reason = "it has the text of a special token in it, and this model's tokenizer cannot take \
                          that for mere text";
            return Err(InvalidRequest::new("messages", reason).into());
        }
        Ok(ids)
    }

    /// As the library encodes, step by step, with what is covered put back once the special tokens have been
    /// split off.
    fn encode_uncovered(
        &self,
        text: &str,
        covers: &Covers,
        around: bool,
    ) -> Result<Vec<u32>, TokenizerError> {
        contained(|| {
            let uncover = Uncover { covers, then: self.library.get_normalizer() };
            let mut pieces = self.guarded.extract_and_normalize(Some(&uncover), text);
            if let Some(pre_tokenizer) = self.library.get_pre_tokenizer() {
                pre_tokenizer.pre_tokenize(&mut pieces)?;
            }
            self.library.get_model().tokenize_in_pretokenized(&mut pieces, None)?;
            let encoding = pieces.into_encoding(None, 0, OffsetType::None)?;
            Ok(self.library.post_process(encoding, None, around)?.get_ids().to_vec())
        })
    }

    /// What must be covered in a message before a template puts it beside control tokens.
    pub(crate) fn guard(&self) -> &ContentGuard {
        &self.guard
    }

    /// The text of `ids`, without the special tokens among them.
    pub(crate) fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        contained(|| self.library.decode(ids, true))
    }

    /// The id of the token written like this.
    pub(crate) fn id_of(&self, token: &str) -> Option<u32> {
        self.library.token_to_id(token)
    }

    /// How the token is written in the vocabulary, where there is one.
    pub(crate) fn written(&self, id: u32) -> Option<String> {
        self.library.id_to_token(id)
    }

    /// Whether text leaves this token out.
    pub(crate) fn is_special(&self, id: u32) -> bool {
        self.special_ids.contains(&id)
    }

    /// Whether this token steers the model and is not part of what it says.
    pub(super) fn is_control(&self, id: u32) -> bool {
        self.control_ids.contains(&id)
    }

    /// How the vocabulary is spelt.
    pub(super) fn spelling(&self) -> Spelling {
        self.spelling
    }

    /// One more than the highest id.
    pub(super) fn vocabulary_size(&self) -> usize {
        let added = self.library.get_added_tokens_decoder().keys().max().map_or(0, |id| *id as usize + 1);
        self.library.get_vocab_size(true).max(added)
    }

    /// What this token stands for in the middle of a text, if it is one and not special.
    pub(crate) fn bytes_of(&self, id: u32) -> Option<Vec<u8>> {
        if self.is_special(id) { None } else { self.written(id).map(|token| self.spelling.bytes(&token)) }
    }

    /// An ordinary token, to stand before others so that they are not at a text's start.
    pub(super) fn anchor(&self) -> Option<u32> {
        self.anchor
    }

    fn is_anchor(&self, id: u32) -> bool {
        let lone = || self.written(id).is_some_and(|token| self.spelling.lone_byte(&token).is_some());
        let stands = || self.decode(&[id]).is_ok_and(|text| !text.is_empty() && !text.contains('\u{FFFD}'));
        !self.is_control(id) && !lone() && stands()
    }
}

/// A conversation could not be turned into tokens.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EncodeChatError {
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Invalid(#[from] InvalidRequest),
}

/// Puts back what was covered, and normalizes.
struct Uncover<'a> {
    covers: &'a Covers,
    then: Option<&'a NormalizerWrapper>,
}

impl Normalizer for Uncover<'_> {
    fn normalize(&self, text: &mut NormalizedString) -> tokenizers::Result<()> {
        for (cover, original) in self.covers.pairs() {
            text.replace(cover, original.encode_utf8(&mut [0; 4]))?;
        }
        self.then.map_or(Ok(()), |normalizer| normalizer.normalize(text))
    }
}

#[cfg(test)]
mod tests;
