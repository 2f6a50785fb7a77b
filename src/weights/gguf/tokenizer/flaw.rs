//! What can be wrong with a tokenizer in a GGUF file.

use std::fmt;

use crate::weights::gguf::error::KeyError;

/// Why a tokenizer cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant's message describes its fields")]
pub enum VocabularyFlaw {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("{model:?} tokenizers are not supported; supported are \"gpt2\" and \"llama\"")]
    UnknownModel { model: String },
    #[error("texts would be split the way called {name:?}, which is not supported")]
    UnknownSplit { name: String },
    #[error("it has {count} tokens; at most {limit} are accepted")]
    TooManyTokens { count: usize, limit: usize },
    #[error("token {id} has {len} bytes, more than {limit}")]
    TokenTooLong { id: usize, len: usize, limit: usize },
    #[error("tokens {first} and {second} are both {text:?}")]
    DuplicateToken { first: u32, second: u32, text: String },
    #[error("it has {found} {what} for {tokens} tokens")]
    WrongCount { what: &'static str, found: usize, tokens: usize },
    #[error("token {id} has a score that is not finite")]
    BadScore { id: usize },
    #[error("it has {count} merges; at most {limit} are accepted")]
    TooManyMerges { count: usize, limit: usize },
    #[error("merge {index}, {text:?}, does not join two tokens to a third")]
    BadMerge { index: usize, text: String },
    #[error("its tokens are made of one another in too many ways")]
    TooEntangled,
    #[error(
        "it has more than {limit} tokens of a special kind, or they are longer than {bytes} bytes in all"
    )]
    TooManySpecial { limit: usize, bytes: usize },
    #[error("{key} is {id}, and there are {tokens} tokens")]
    NoSuchToken { key: String, id: i64, tokens: usize },
    #[error("the library refuses it: {reason}")]
    Library { reason: String },
}

impl VocabularyFlaw {
    /// An error of the library, without the long texts it may quote.
    pub(super) fn library(error: impl fmt::Display) -> Self {
        Self::Library { reason: error.to_string().chars().take(200).collect() }
    }
}
