//! What a model says: thoughts, text, and calls of tools, told apart while it speaks.
//!
//! Models write all of it as text, each family in its own way. [`Reader`] knows those of Qwen and Hermes
//! (`<tool_call>{...}</tool_call>`), Mistral (`[TOOL_CALLS]`), and Llama 3 (`<|python_tag|>`, or bare JSON), and
//! `<think>`. What may yet become part of a call is held back, so nothing of a call is ever told as text; whatever
//! pieces a text comes in, the same is told of it.

mod calls;
mod json_span;
mod thinking;

use calls::Calls;
use thinking::Thinking;

/// Something a model has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// A piece of what it thinks.
    Thought(String),
    /// A piece of its answer.
    Text(String),
    /// A tool that it calls.
    Call(Called),
}

/// A tool that a model calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Called {
    /// Which.
    pub(super) name: String,
    /// What with: JSON.
    pub(super) arguments: String,
}

impl Said {
    fn thought(thought: &str, out: &mut Vec<Self>) {
        if !thought.is_empty() {
            out.push(Self::Thought(thought.to_owned()));
        }
    }

    fn text(text: &str, out: &mut Vec<Self>) {
        if !text.is_empty() {
            out.push(Self::Text(text.to_owned()));
        }
    }
}

/// Tells apart what a model says.
#[derive(Debug)]
pub(super) struct Reader {
    thinking: Thinking,
    /// Where there are tools to call.
    calls: Option<Calls>,
}

impl Reader {
    /// Reads what a model says that may call these tools.
    pub(super) fn new(tools: &[String]) -> Self {
        let calls = (!tools.is_empty()).then(|| Calls::new(tools));
        Self { thinking: Thinking::default(), calls }
    }

    /// What is known now that `piece` has come.
    pub(super) fn push(&mut self, piece: &str) -> Vec<Said> {
        let mut out = Vec::new();
        let speech = self.thinking.push(piece, &mut out);
        self.speak(&speech, &mut out);
        out
    }

    /// What was held back when no more comes.
    pub(super) fn finish(&mut self) -> Vec<Said> {
        let mut out = Vec::new();
        let speech = self.thinking.finish(&mut out);
        self.speak(&speech, &mut out);
        if let Some(calls) = &mut self.calls {
            calls.finish(&mut out);
        }
        out
    }

    fn speak(&mut self, speech: &str, out: &mut Vec<Said>) {
        match &mut self.calls {
            Some(calls) => calls.push(speech, out),
            None => Said::text(speech, out),
        }
    }
}

/// How many bytes at the end of `text` may be the beginning of one of `markers`, which are ASCII, blank space before
/// it included.
fn held_back(text: &str, markers: &[&str]) -> usize {
    let begun = |marker: &&str| (0..marker.len()).rev().find(|bytes| text.ends_with(&marker[..*bytes]));
    let begun = markers.iter().filter_map(begun).max().unwrap_or(0);
    text.len() - text[..text.len() - begun].trim_end().len()
}

#[cfg(test)]
mod tests;
