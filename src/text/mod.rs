//! From a text to token ids, and from the vectors of tokens to the vector of a text.
//!
//! [`Tokenizer`] turns text into ids as the model's own `tokenizer.json` says, within the model's limit.
//! [`SentenceRecipe`] is what a sentence-transformers folder says besides the network itself: which prompt
//! goes before a text, how the vectors of its tokens become one ([`Pooling`]), what happens to that one
//! ([`Stages`]), whether it is scaled to length 1. Nothing here knows a network or a tensor: ids and slices of
//! numbers go in and out.
//!
//! For models that write: [`ChatTemplate`] puts a conversation into words, [`PromptTokenizer`] those into ids,
//! a [`Sampler`] takes the next id from a row of logits, held to a form by a [`Constraint`], and a
//! [`TokenStream`] makes text of ids as they come.

mod clip_files;
mod pooling;
mod sentence;
mod stages;
mod tokenizer;
mod tokenizer_settings;

mod chat_template;
mod content_guard;
mod detokenizer;
mod grammar;
#[cfg(all(test, target_os = "linux"))]
mod lone_test;
mod prompt_tokenizer;
mod sampling;
mod spelling;
mod stop_texts;
#[cfg(test)]
mod tiny_tokenizers;
mod token_stream;

pub(crate) use chat_template::{ChatConfig, ChatTemplate, ChatTemplateError, CivilTime, Shown};
pub(crate) use content_guard::GuardedText;
pub(crate) use grammar::{Constraint, GrammarCompiler, GrammarError};
pub(crate) use prompt_tokenizer::{EncodeChatError, PromptTokenizer};
pub(crate) use sampling::{SampledLogprobs, Sampler, SamplingScratch, seed_of_choice};
pub(crate) use stop_texts::Piece;
pub(crate) use token_stream::TokenStream;

pub(crate) use pooling::{Pooling, PoolingConfig};
pub use sentence::RecipeError;
pub(crate) use sentence::{PromptConfig, SentenceRecipe, normalize_in_place};
pub(crate) use stages::{AfterPooling, ModuleEntry, Stages};
pub use tokenizer::TokenizerError;
pub(crate) use tokenizer::{EncodedText, Tokenizer};
pub(crate) use tokenizer_settings::{SpecialTokens, TokenizerSettings};
