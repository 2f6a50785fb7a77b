//! Continuations that are told piece by piece.

use futures_util::future::try_join_all;

use super::super::Head;
use super::super::logprobs::CompletionLogprobs;
use super::super::usage::{Usage, UsageTold};
use super::{Completion, Manner, OneChoice, reason};
use crate::capability::TextCompletion;
use crate::server::api_error::ApiError;
use crate::server::generation::Generation;
use crate::server::in_flight::Tracked;
use crate::server::sse::Writer;

/// Tells what all `generations`, one for each prompt, write as it comes.
pub(super) async fn tell(
    writer: &Writer,
    head: &Head,
    manner: &Manner,
    generations: Vec<Generation>,
    tracked: &Tracked,
) -> Result<(), ApiError> {
    let teller = Teller { writer, head, manner };
    let told = generations.into_iter().enumerate().map(|(prompt, it)| teller.tell(prompt, it, tracked));
    let completions = try_join_all(told).await?;
    if manner.include_usage {
        let last = Completion::new(head, Vec::new(), UsageTold::All(Usage::of(&completions)));
        writer.event(&last).await;
    }
    writer.done().await;
    Ok(())
}

#[derive(Debug)]
struct Teller<'a> {
    writer: &'a Writer,
    head: &'a Head,
    manner: &'a Manner,
}

/// How much of a continuation was told: bytes, and characters with what stands before it.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    bytes: usize,
    characters: usize,
}

impl Teller<'_> {
    async fn tell(
        &self,
        prompt: usize,
        mut generation: Generation,
        tracked: &Tracked,
    ) -> Result<TextCompletion, ApiError> {
        let first = prompt * self.manner.n;
        let mut told = vec![Told::default(); self.manner.n];
        if let Some(echo) = self.manner.echoes.get(prompt) {
            for (at, told) in told.iter_mut().enumerate() {
                told.characters = echo.chars().count();
                self.piece(first + at, echo.clone(), None, None).await;
            }
        }
        while let Some(token) = generation.next().await {
            tracked.advance(1);
            let Some(told) = told.get_mut(token.choice) else {
                continue;
            };
            let logprobs = token.logprobs.as_ref();
            let logprobs = logprobs.map(|token| CompletionLogprobs::of([token], told.characters));
            told.bytes += token.text.len();
            told.characters += token.text.chars().count();
            if !token.text.is_empty() || logprobs.is_some() {
                self.piece(first + token.choice, token.text, logprobs, None).await;
            }
        }
        let completion = generation.finish().await?;
        for ((at, choice), told) in completion.choices.iter().enumerate().zip(told) {
            let rest = choice.text.get(told.bytes..).unwrap_or_default().to_owned();
            self.piece(first + at, rest, None, Some(reason(choice))).await;
        }
        Ok(completion)
    }

    async fn piece(
        &self,
        index: usize,
        text: String,
        logprobs: Option<CompletionLogprobs>,
        finish_reason: Option<&'static str>,
    ) {
        let choice = OneChoice { index, text, logprobs, finish_reason };
        let usage = if self.manner.include_usage { UsageTold::Later } else { UsageTold::Nothing };
        self.writer.event(&Completion::new(self.head, vec![choice], usage)).await;
    }
}
