//! Answers of a required form: which tokens may come next.
//!
//! A thin shell around `llguidance`, which walks the vocabulary's bytes through a lexer and an Earley parser
//! and gives a mask of tokens for each step. A [`GrammarCompiler`] belongs to a model, is made once from its
//! tokenizer, and serves any number of threads; [`compile`](GrammarCompiler::compile) is a plain function, so
//! that it can run away from the thread that generates. A [`Constraint`] belongs to one answer.
//!
//! A grammar is a stranger's. The library's own limits are for grammars one trusts: its lexer alone may take
//! 500 MB. [`lowered`] has ours, each with its reason.

mod bounds;

use std::fmt;
use std::sync::Arc;

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{SimpleVob, TokEnv, TokRxInfo, TokTrie, TokenizerEnv};
use llguidance::{Matcher, ParserFactory};

use super::prompt_tokenizer::PromptTokenizer;
use super::spelling::Spelling;
use crate::capability::{InvalidRequest, ModelError, ResponseFormat};
use crate::contain::contain;

/// The longest token that an answer of a required form may have, in bytes.
const MAX_WORD: usize = 1_024;

/// Makes constraints for the answers of one model.
pub(crate) struct GrammarCompiler {
    factory: ParserFactory,
}

/// A model's vocabulary cannot be held to a grammar.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GrammarError {
    /// Its tokens do not say on their own what bytes they stand for.
    #[error("this model's tokens do not spell bytes, so its answers cannot be held to a form")]
    NoBytes,
    /// It has no token to end an answer with.
    #[error("this model has no token that ends an answer, so its answers cannot be held to a form")]
    NoEnd,
    /// The library cannot take it.
    #[error("this model's vocabulary cannot be held to a form: {0}")]
    Vocabulary(String),
}

/// What the library may use for one answer.
fn lowered() -> ParserLimits {
    ParserLimits {
        // How ambiguous a grammar may be. Those of JSON schemas need a few dozen.
        max_items_in_row: 1_000,
        // 50,000 a millisecond: at most 20 ms for building the lexer.
        initial_lexer_fuel: 1_000_000,
        // 14,000 a millisecond: no step waits more than 8 ms for its mask, and with it all requests of a batch.
        step_lexer_fuel: 100_000,
        // 20,000 a millisecond, for the same reason.
        step_max_items: 50_000,
        // 1 to 2 kB each: at most 40 MB for an answer, instead of 500.
        max_lexer_states: 20_000,
        // A schema of 100 kB stays below it.
        max_grammar_size: 100_000,
        // Would run large expressions over the whole vocabulary while compiling, with no limit of its own.
        precompute_large_lexemes: false,
        // Messages would quote the whole grammar.
        verbose_errors: false,
    }
}

impl GrammarCompiler {
    /// Takes the tokens of `tokenizer` that are below `vocabulary`, the length of the network's rows of logits:
    /// others are never sampled, and a file may number them as it likes. `ends` are the tokens that end an
    /// answer, of which there must be one. Takes about as long as loading a tokenizer, and some 10 MB.
    pub(crate) fn new(
        tokenizer: &PromptTokenizer,
        ends: &[u32],
        vocabulary: usize,
    ) -> Result<Self, GrammarError> {
        if tokenizer.spelling() == Spelling::Words {
            return Err(GrammarError::NoBytes);
        }
        let words = words(tokenizer, vocabulary);
        let ends: Vec<u32> = ends.iter().copied().filter(|id| (*id as usize) < words.len()).collect();
        let first = *ends.first().ok_or(GrammarError::NoEnd)?;
        // The library has assertions about vocabularies.
        let factory = contain(|| {
            let trie =
                TokTrie::from(&TokRxInfo::new(words.len() as u32, first), &words).with_eos_tokens(&ends);
            let vocabulary: TokEnv = Arc::new(Vocabulary { trie });
            ParserFactory::new_simple(&vocabulary).map_err(|error| error.to_string())
        });
        let made = factory.unwrap_or_else(|panic| Err(panic.to_string()));
        let mut factory = made.map_err(GrammarError::Vocabulary)?;
        *factory.limits_mut() = lowered();
        factory.quiet();
        Ok(Self { factory })
    }

    /// What holds an answer to `format`; nothing for plain text. Takes up to a few hundred milliseconds.
    ///
    /// # Errors
    ///
    /// [`InvalidRequest`] if the format is not understood or too large.
    pub(crate) fn compile(&self, format: &ResponseFormat) -> Result<Option<Constraint>, InvalidRequest> {
        let grammar = match format {
            ResponseFormat::Text => return Ok(None),
            ResponseFormat::JsonSchema(schema) => {
                bounds::schema(schema).map(|()| TopLevelGrammar::from_json_schema(schema.clone()))
            }
            ResponseFormat::Regex(expression) => {
                bounds::regex(expression).map(|()| TopLevelGrammar::from_regex(expression))
            }
            ResponseFormat::Lark(grammar) => {
                bounds::lark(grammar).map(|()| TopLevelGrammar::from_lark(grammar.clone()))
            }
        };
        let grammar = grammar.map_err(|reason| refused(&reason))?;
        let matcher = contain(|| Matcher::new(self.factory.create_parser(grammar)));
        let matcher = matcher.map_err(|panic| refused(&panic))?;
        match matcher.get_error() {
            Some(reason) => Err(refused(&reason)),
            None => Ok(Some(Constraint { matcher, mask: SimpleVob::new() })),
        }
    }
}

impl fmt::Debug for GrammarCompiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrammarCompiler").finish_non_exhaustive()
    }
}

/// What each token below `vocabulary` stands for, by id; special ones marked, so that no grammar makes them of
/// their text.
fn words(tokenizer: &PromptTokenizer, vocabulary: usize) -> Vec<Vec<u8>> {
    let word = |id: u32| {
        let Some(token) = tokenizer.written(id) else { return Vec::new() };
        if tokenizer.is_control(id) {
            return [&[TokTrie::SPECIAL_TOKEN_MARKER], token.as_bytes()].concat();
        }
        // None in use comes near it, and the library walks them by recursion.
        Some(tokenizer.spelling().bytes(&token)).filter(|bytes| bytes.len() <= MAX_WORD).unwrap_or_default()
    };
    (0..tokenizer.vocabulary_size().min(vocabulary) as u32).map(word).collect()
}

/// The vocabulary as the library wants it. It asks for tokens of a text only to force them, which is not
/// done here: whether a mask leaves one token or many, it is sampled.
struct Vocabulary {
    trie: TokTrie,
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<u32> {
        self.trie.greedy_tokenize(bytes)
    }

    fn tokenize_is_canonical(&self) -> bool {
        false
    }
}

/// What one answer is held to, and how far it has come.
pub(crate) struct Constraint {
    matcher: Matcher,
    mask: SimpleVob,
}

impl Clone for Constraint {
    /// A copy with a lexer of its own: a shared one would count the states of all answers against each one's
    /// limit, and let their threads wait for each other.
    fn clone(&self) -> Self {
        Self { matcher: self.matcher.deep_clone(), mask: self.mask.clone() }
    }
}

impl Constraint {
    /// Which tokens may come next: bit `i % 32` of word `i / 32` is token `i`'s. Only the ending tokens once
    /// the form is complete and nothing can follow.
    pub(crate) fn allowed(&mut self) -> Result<&[u32], ModelError> {
        self.mask = self.matcher.compute_mask_or_eos().map_err(|error| failed(&error))?;
        Ok(self.mask.as_slice())
    }

    /// `id` was taken, which the last mask allowed.
    pub(crate) fn commit(&mut self, id: u32) -> Result<(), ModelError> {
        if self.is_complete() {
            return Ok(());
        }
        self.matcher.consume_token(id).map_err(|error| failed(&error))
    }

    /// Whether the answer may end here.
    #[cfg(test)]
    fn may_end(&mut self) -> Result<bool, ModelError> {
        if self.is_complete() {
            return Ok(true);
        }
        self.matcher.is_accepting().map_err(|error| failed(&error))
    }

    /// Whether the answer must end here.
    fn is_complete(&self) -> bool {
        self.matcher.is_stopped() && !self.matcher.is_error()
    }
}

impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Constraint").field("complete", &self.is_complete()).finish_non_exhaustive()
    }
}

/// The library quotes what it refuses, which may be long.
fn refused(reason: &str) -> InvalidRequest {
    InvalidRequest::new("response_format", reason.chars().take(300).collect::<String>())
}

/// The limits hold at every step too: a form may turn out to be too much for them only then.
fn failed(error: &impl ToString) -> ModelError {
    refused(&error.to_string()).into()
}

#[cfg(test)]
mod tests;
