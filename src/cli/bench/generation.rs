//! Prompts to continue.

use std::sync::atomic::AtomicBool;

use super::round::{Sample, Subject, followed, never_ending};
use super::words::unlike_text;
use crate::capability::{GenerateRequest, Prompt};
use crate::cli::failure::Failure;
use crate::cli::output::warn;
use crate::cli::writer::Writer;

/// Prompts of a length and answers of a length, for a model that writes.
pub(super) struct Prompts<'a> {
    writer: &'a Writer<'a>,
    words: usize,
    tokens: usize,
}

impl<'a> Prompts<'a> {
    /// Loads the model and finds how many words make a prompt of `prompt_tokens`, for answers of `tokens`. Begins
    /// with few: there are tokenizers that make several tokens of a word, and a prompt too long is refused.
    pub(super) fn of_tokens(
        writer: &'a Writer<'a>,
        prompt_tokens: usize,
        tokens: usize,
    ) -> Result<Self, Failure> {
        let mut prompts = Self { writer, words: (prompt_tokens / 4).max(1), tokens };
        for _ in 0..4 {
            let request = GenerateRequest { max_tokens: 1, ..prompts.request(0) };
            let answer = writer.submit(request)?.wait().map_err(crate::Error::from)?;
            let got = answer.prompt_tokens();
            if got.abs_diff(prompt_tokens) <= prompt_tokens / 50 {
                break;
            }
            prompts.words = (prompts.words * prompt_tokens / got.max(1)).max(1);
        }
        Ok(prompts)
    }

    fn request(&self, number: usize) -> GenerateRequest {
        let prompt = Prompt::Raw(unlike_text(self.words, number));
        let mut request = GenerateRequest::new(prompt).max_tokens(self.tokens);
        never_ending(&mut request, self.writer.ends());
        request
    }

    /// Says so if answers came out shorter than asked.
    pub(super) fn check(&self, samples: &[Sample]) {
        let short = samples.iter().filter(|sample| sample.tokens < self.tokens).count();
        if short > 0 {
            let Self { tokens, .. } = self;
            warn(format_args!("the model ended {short} of {} answers before {tokens} tokens", samples.len()));
        }
    }
}

impl Subject for Prompts<'_> {
    fn ask(&self, number: usize, stop: &AtomicBool) -> Result<Sample, Failure> {
        let request = self.request(number);
        followed(stop, || Ok(self.writer.pool().submit(self.writer.key(), request)?))
    }
}
