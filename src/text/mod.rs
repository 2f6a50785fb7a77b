//! From a text to token ids, and from the vectors of tokens to the vector of a text.
//!
//! [`Tokenizer`] turns text into ids as the model's own `tokenizer.json` says, within the model's limit.
//! [`SentenceRecipe`] is what a sentence-transformers folder says besides the network itself: which prompt
//! goes before a text, how the vectors of its tokens become one ([`Pooling`]), what happens to that one
//! ([`Stages`]), whether it is scaled to length 1. Nothing here knows a network or a tensor: ids and slices of numbers go in and out.

mod pooling;
mod sentence;
mod stages;
mod tokenizer;

pub(crate) use pooling::{Pooling, PoolingConfig};
pub use sentence::RecipeError;
pub(crate) use sentence::{PromptConfig, SentenceRecipe, normalize_in_place};
pub(crate) use stages::{AfterPooling, ModuleEntry, Stages};
pub use tokenizer::TokenizerError;
pub(crate) use tokenizer::{EncodedText, Tokenizer, TokenizerSettings};
