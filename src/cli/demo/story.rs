//! Text generation: a story, word by word, and a question about a scene.

use std::time::{Duration, Instant};

use super::WRITES;
use super::page::{INDENT, Page};
use crate::capability::{Chat, GenerateRequest, Message};
use crate::cli::bench::milliseconds;
use crate::cli::failure::Failure;
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
        let mut told = String::new();
        while let Some(token) = ticket.next_event() {
            if first.is_zero() {
                first = began.elapsed();
            }
            told.push_str(&token.text);
            tell(&token.text)?;
        }
        let answer = ticket.wait().map_err(crate::Error::from)?;
        // What was held back because it could have gone on.
        tell(answer.choices[0].text.strip_prefix(told.as_str()).unwrap_or_default())?;
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

/// One message to the model, to be answered with the likeliest tokens.
pub(super) fn question(text: &str) -> GenerateRequest {
    GenerateRequest::new(Chat::new(vec![Message::user(text)]))
}
