//! An answer that is told as a whole.

use serde::Serialize;

use super::super::logprobs::ChatLogprobs;
use super::super::usage::Usage;
use super::super::{FINGERPRINT, Head, random_name};
use super::Manner;
use crate::capability::{Choice, FinishReason, TextCompletion};
use crate::server::spoken::{Called, Reader, Said};

#[derive(Debug, Serialize)]
pub(super) struct Whole<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'static str,
    choices: Vec<WholeChoice>,
    usage: Usage,
}

#[derive(Debug, Serialize)]
struct WholeChoice {
    index: usize,
    message: Spoken,
    logprobs: Option<ChatLogprobs>,
    finish_reason: &'static str,
}

#[derive(Debug, Default, Serialize)]
struct Spoken {
    role: &'static str,
    content: Option<String>,
    refusal: (),
    #[serde(skip_serializing_if = "String::is_empty")]
    reasoning_content: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<WholeCall>,
}

/// A call of a tool, as answers tell it.
#[derive(Debug, Serialize)]
struct WholeCall {
    id: String,
    r#type: &'static str,
    function: Function,
}

#[derive(Debug, Serialize)]
struct Function {
    name: String,
    arguments: String,
}

pub(super) fn whole<'a>(head: &'a Head, manner: &Manner, completion: &TextCompletion) -> Whole<'a> {
    let choices = completion.choices.iter().enumerate();
    Whole {
        id: &head.id,
        object: "chat.completion",
        created: head.created,
        model: &head.model,
        system_fingerprint: FINGERPRINT,
        choices: choices.map(|(index, choice)| WholeChoice::of(index, choice, manner)).collect(),
        usage: Usage::of([completion]),
    }
}

impl WholeChoice {
    fn of(index: usize, choice: &Choice, manner: &Manner) -> Self {
        let mut reader = Reader::new(&manner.tools);
        let said = [reader.push(&choice.text), reader.finish()].concat();
        let message = Spoken::of(said, manner.most_calls);
        Self {
            index,
            finish_reason: finish_reason(choice.finish_reason, !message.tool_calls.is_empty()),
            message,
            logprobs: manner.logprobs.then(|| ChatLogprobs::of(&choice.logprobs)),
        }
    }
}

impl Spoken {
    /// With at most so many calls.
    fn of(said: Vec<Said>, most_calls: usize) -> Self {
        let mut spoken = Self { role: "assistant", ..Self::default() };
        let mut content = String::new();
        for said in said {
            match said {
                Said::Thought(piece) => spoken.reasoning_content.push_str(&piece),
                Said::Text(piece) => content.push_str(&piece),
                Said::Call(_) if spoken.tool_calls.len() == most_calls => {}
                Said::Call(Called { name, arguments }) => {
                    let function = Function { name, arguments };
                    spoken.tool_calls.push(WholeCall { id: call_id(), r#type: "function", function });
                }
            }
        }
        // Who only calls says nothing.
        spoken.content = (spoken.tool_calls.is_empty() || !content.is_empty()).then_some(content);
        spoken
    }
}

/// A name for a call, by which its answer refers to it.
pub(super) fn call_id() -> String {
    format!("call_{}", random_name())
}

/// Why an answer ended, as OpenAI says it.
pub(super) fn finish_reason(reason: FinishReason, called: bool) -> &'static str {
    match reason {
        FinishReason::Length => "length",
        FinishReason::Stop if called => "tool_calls",
        FinishReason::Stop => "stop",
    }
}
