//! Texts to embed.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::round::{Sample, Subject};
use super::words::text;
use crate::capability::{EmbedRequest, TextEmbedding};
use crate::cli::failure::Failure;
use crate::cli::output::warn;
use crate::engine::Engine;
use crate::pool::Pool;

/// Texts of a length, for a model that embeds.
pub(super) struct Texts<'a> {
    pool: &'a Pool<TextEmbedding>,
    key: &'a str,
    words: usize,
}

impl<'a> Texts<'a> {
    /// Loads the model and finds how many words make a text of `wanted` tokens.
    pub(super) fn of_tokens(engine: &'a Engine, key: &'a str, wanted: usize) -> Result<Self, Failure> {
        let mut words = wanted.saturating_sub(2);
        for _ in 0..4 {
            let answer = engine.embed(key, text(words, 0))?;
            if answer.truncated {
                warn(format_args!("the model reads at most {} tokens of a text", answer.tokens));
            }
            if answer.truncated || answer.tokens == wanted {
                break;
            }
            words = (words + wanted).saturating_sub(answer.tokens);
        }
        Ok(Self { pool: engine.text_embedding(), key, words })
    }
}

impl Subject for Texts<'_> {
    fn ask(&self, number: usize, _: &AtomicBool) -> Result<Sample, Failure> {
        let request = EmbedRequest::new(text(self.words, number));
        let begun = Instant::now();
        let answer = self.pool.submit_wait(self.key, request).map_err(crate::Error::from)?;
        Ok(Sample { waited: begun.elapsed(), tokens: answer.tokens, ..Sample::default() })
    }
}
