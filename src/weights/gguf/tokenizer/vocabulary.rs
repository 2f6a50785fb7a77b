//! The list of tokens, before anything is made of it.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use super::flaw::VocabularyFlaw;
use crate::weights::gguf::metadata::{Metadata, Texts, brief};

/// The most tokens accepted; the largest vocabularies in use have 262,144.
const MAX_TOKENS: usize = 1 << 20;
/// The longest token accepted, in bytes; the longest in use, runs of spaces, have 256.
const MAX_TOKEN_BYTES: usize = 1024;
/// The most tokens that are looked for in texts before they are split, and their bytes in all.
const MAX_ADDED: usize = 1 << 16;
const MAX_ADDED_BYTES: usize = 1 << 22;

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// A piece of text.
    Normal,
    /// What the vocabulary cannot express.
    Unknown,
    /// Steers the model; no text.
    Control,
    /// A piece of text that is never split.
    UserDefined,
    /// Nothing.
    Unused,
    /// One byte, for what no piece covers.
    Byte,
}

/// The tokens of a file: all different, none empty.
pub(super) struct Vocabulary<'a> {
    tokens: Vec<Cow<'a, str>>,
    ids: HashMap<Cow<'a, str>, u32>,
    /// `None` where the file does not say.
    uses: Option<Vec<Use>>,
}

impl<'a> Vocabulary<'a> {
    pub(super) fn read(metadata: &'a Metadata) -> Result<Self, VocabularyFlaw> {
        let texts: &Texts = metadata.require("tokenizer.ggml.tokens")?;
        if texts.len() > MAX_TOKENS {
            return Err(VocabularyFlaw::TooManyTokens { count: texts.len(), limit: MAX_TOKENS });
        }
        let mut tokens = Vec::with_capacity(texts.len());
        let mut ids = HashMap::with_capacity(texts.len());
        for (id, text) in texts.iter().enumerate() {
            if text.len() > MAX_TOKEN_BYTES {
                return Err(VocabularyFlaw::TokenTooLong { id, len: text.len(), limit: MAX_TOKEN_BYTES });
            }
            // llama.cpp's name for them: some vocabularies have holes.
            let token =
                if text.is_empty() { Cow::Owned(format!("[EMPTY_{id}]")) } else { Cow::Borrowed(text) };
            let second = id as u32;
            if let Some(first) = ids.insert(token.clone(), second) {
                return Err(VocabularyFlaw::DuplicateToken { first, second, text: brief(text) });
            }
            tokens.push(token);
        }
        let uses = metadata.get::<Vec<i32>>("tokenizer.ggml.token_type")?;
        let uses: Option<Vec<Use>> = uses.map(|codes| codes.into_iter().map(Use::from_code).collect());
        let vocabulary = Self { tokens, ids, uses };
        if let Some(uses) = &vocabulary.uses {
            vocabulary.check_count("types", uses.len())?;
        }
        Ok(vocabulary)
    }

    pub(super) fn check_count(&self, what: &'static str, found: usize) -> Result<(), VocabularyFlaw> {
        let tokens = self.len();
        if found == tokens { Ok(()) } else { Err(VocabularyFlaw::WrongCount { what, found, tokens }) }
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    pub(super) fn has(&self, id: u32) -> bool {
        (id as usize) < self.len()
    }

    pub(super) fn text(&self, id: u32) -> Option<&str> {
        self.tokens.get(id as usize).map(|text| &**text)
    }

    pub(super) fn id(&self, text: &str) -> Option<u32> {
        self.ids.get(text).copied()
    }

    /// What the token is for: a piece of text where the file does not say.
    pub(super) fn use_of(&self, id: u32) -> Use {
        let stated = self.uses.as_ref().and_then(|uses| uses.get(id as usize));
        stated.copied().unwrap_or(Use::Normal)
    }

    /// All tokens with their ids, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        (0u32..).zip(self.tokens.iter().map(|text| &**text))
    }

    /// The tokens that are found in a text before it is split, and whether they are special rather than text.
    /// Where the file does not say what tokens are for, these are `own`.
    pub(super) fn added(
        &self,
        own: impl Iterator<Item = u32>,
    ) -> Result<impl Iterator<Item = (String, bool)>, VocabularyFlaw> {
        let own: BTreeSet<u32> = if self.uses.is_some() { BTreeSet::new() } else { own.collect() };
        let added: Vec<(String, bool)> = self
            .iter()
            .filter_map(|(id, text)| match self.use_of(id) {
                Use::Control | Use::Unknown => Some((text.to_owned(), true)),
                Use::UserDefined => Some((text.to_owned(), false)),
                _ => own.contains(&id).then(|| (text.to_owned(), true)),
            })
            .collect();
        let bytes: usize = added.iter().map(|(text, _)| text.len()).sum();
        if added.len() > MAX_ADDED || bytes > MAX_ADDED_BYTES {
            return Err(VocabularyFlaw::TooManySpecial { limit: MAX_ADDED, bytes: MAX_ADDED_BYTES });
        }
        Ok(added.into_iter())
    }
}

impl Use {
    fn from_code(code: i32) -> Self {
        match code {
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => Self::Normal,
        }
    }
}
