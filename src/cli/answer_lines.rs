//! Whole answers on standard output.

use clap::Args;
use serde::Serialize;

use super::failure::Failure;
use super::follow::follow;
use super::interrupt::Interrupt;
use super::telling::Telling;
use crate::capability::{
    Capability, Choice, FinishReason, GenerateRequest, TextCompletion, Token, TokenLogprob, TokenLogprobs,
};
use crate::pool::Ticket;

/// How many answers, and how they are printed.
#[derive(Debug, Args)]
pub(super) struct AnswerLines {
    /// How many answers, each drawn on its own.
    #[arg(long, value_name = "N", default_value_t = 1)]
    n: usize,
    /// Say how likely each token was, and so many of the likeliest in its place.
    #[arg(long, value_name = "N", requires = "json")]
    logprobs: Option<usize>,
    /// Print JSON, one object for each answer.
    #[arg(long)]
    json: bool,
}

impl AnswerLines {
    /// Asks for what is to be printed.
    pub(super) fn apply(&self, request: &mut GenerateRequest) {
        (request.n, request.logprobs) = (self.n, self.logprobs);
    }

    /// Prints what comes of `ticket`, as it comes or when it is complete.
    pub(super) fn tell<C: Capability<Event = Token, Output = TextCompletion>>(
        &self,
        ticket: Ticket<C>,
        interrupt: &Interrupt,
    ) -> Result<(), Failure> {
        let mut telling = Telling::to_stdout();
        let streams = self.n == 1 && !self.json;
        let answer =
            follow(ticket, interrupt, |token| if streams { telling.write(&token.text) } else { Ok(()) })?;
        match answer {
            Some(answer) => self.print(&mut telling, &answer),
            None => Err(telling.output.flush().err().unwrap_or(Failure::Interrupted)),
        }
    }

    fn print(&self, telling: &mut Telling, answer: &TextCompletion) -> Result<(), Failure> {
        for (index, choice) in answer.choices.iter().enumerate() {
            if self.json {
                let index = (self.n > 1).then_some(index);
                telling.output.json(&Line::new(index, choice, answer, self.logprobs.is_some()))?;
            } else {
                telling.complete(&choice.text)?;
                telling.end()?;
            }
        }
        telling.output.flush()
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    text: &'a str,
    token_ids: &'a [u32],
    prompt_token_ids: &'a [u32],
    prompt_tokens: usize,
    completion_tokens: usize,
    finish_reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<Vec<Likely<'a>>>,
}

/// One token, and what else there could have been.
#[derive(Serialize)]
struct Likely<'a> {
    #[serde(flatten)]
    chosen: One<'a>,
    top: Vec<One<'a>>,
}

#[derive(Serialize)]
struct One<'a> {
    id: u32,
    bytes: &'a [u8],
    logprob: f32,
}

impl<'a> Line<'a> {
    fn new(index: Option<usize>, choice: &'a Choice, answer: &'a TextCompletion, likely: bool) -> Self {
        Self {
            index,
            text: &choice.text,
            token_ids: &choice.token_ids,
            prompt_token_ids: &answer.prompt_token_ids,
            prompt_tokens: answer.prompt_tokens(),
            completion_tokens: choice.token_ids.len(),
            finish_reason: match choice.finish_reason {
                FinishReason::Stop => "stop",
                FinishReason::Length => "length",
            },
            logprobs: likely.then(|| choice.logprobs.iter().map(Likely::from).collect()),
        }
    }
}

impl<'a> From<&'a TokenLogprobs> for Likely<'a> {
    fn from(told: &'a TokenLogprobs) -> Self {
        Self { chosen: One::from(&told.chosen), top: told.top.iter().map(One::from).collect() }
    }
}

impl<'a> From<&'a TokenLogprob> for One<'a> {
    fn from(told: &'a TokenLogprob) -> Self {
        Self { id: told.id, bytes: &told.bytes, logprob: told.logprob }
    }
}
