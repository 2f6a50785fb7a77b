//! Text generation: a story, word by word, and a question about a scene.

use std::time::{Duration, Instant};

use super::page::{INDENT, Page};
use super::{WRITES, question};
use crate::cli::bench::milliseconds;
use crate::cli::failure::Failure;
use crate::cli::telling::Told;
use crate::engine::Engine;

const ASKED: &str = "Tell me a story about a fox.";

const QUESTION: &str = "Scene: a red circle left of a blue square on a white background. Question: What is left of \
                        the blue square?";

pub(super) fn write(page: &mut Page, engine: &Engine) -> Result<(), Failure> {
    page.act("Write a story", "shapes-llm, a Llama")?;
    page.say(format_args!("{INDENT}> {ASKED}"))?;
    let (first, took, tokens) = page.stream(|tell| {
        let began = Instant::now();
        let mut first = Duration::ZERO;
        let submitted = engine.text_to_text().submit(WRITES, question(ASKED));
        let mut ticket = submitted.map_err(crate::Error::from)?;
        let mut told = Told::default();
        while let Some(token) = ticket.next_event() {
            if first.is_zero() {
                first = began.elapsed();
            }
            tell(told.part(&token.text))?;
        }
        let answer = ticket.wait().map_err(crate::Error::from)?;
        tell(told.rest(&answer.choices[0].text))?;
        Ok((first, began.elapsed(), answer.completion_tokens()))
    })?;
    let rate = tokens.saturating_sub(1) as f64 / took.saturating_sub(first).as_secs_f64().max(1e-6);
    let first = milliseconds(first);
    page.say(format_args!(
        "{INDENT}({tokens} tokens: the first after {first:.0} ms, loading included, then {rate:.0} a second)"
    ))?;
    page.say(format_args!("{INDENT}> {QUESTION}"))?;
    let answer = engine.generate(WRITES, question(QUESTION))?;
    page.say(format_args!("{INDENT}{}", answer.choices[0].text))
}
