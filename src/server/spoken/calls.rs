//! Calls of tools in what a model says.

use serde_json::Value;

use super::json_span::JsonSpan;
use super::{Called, Said, held_back};

/// What stands before calls, in the ways of Hermes and Qwen, Mistral, and Llama 3.
const MARKERS: [&str; 3] = [HERMES, MISTRAL, "<|python_tag|>"];
const HERMES: &str = "<tool_call>";
const HERMES_CLOSES: &str = "</tool_call>";
const MISTRAL: &str = "[TOOL_CALLS]";
/// What the object of a bare call begins with.
const KEYS: [&str; 6] = ["name", "function", "type", "id", "parameters", "arguments"];
/// The longest name of a tool, and what may stand between it and its arguments.
const NAME_BYTES: usize = 256;

/// Tells calls from text.
#[derive(Debug)]
pub(super) struct Calls {
    /// The tools there are: bare JSON calls one of these, or is text.
    tools: Vec<String>,
    state: State,
    held: String,
    /// Whether there was a call.
    called: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Nothing but blank space so far: what begins like a call's JSON may be one.
    Start,
    /// Text, in which a marker may stand.
    Text,
    /// Behind a marker, or between calls without one.
    Open(Option<&'static str>),
    /// In the JSON of calls, whose first bracket is held at `from`.
    Json { marker: Option<&'static str>, from: usize, span: JsonSpan },
    /// Behind the JSON of calls.
    Behind(Option<&'static str>),
}

/// What can be said of how a text begins.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Beginning {
    Call,
    NoCall,
    Undecided,
}

impl Calls {
    pub(super) fn new(tools: &[String]) -> Self {
        Self { tools: tools.to_vec(), state: State::Start, held: String::new(), called: false }
    }

    /// What is known now that `piece` has come.
    pub(super) fn push(&mut self, piece: &str, out: &mut Vec<Said>) {
        self.held.push_str(piece);
        while let Some(next) = self.advance(out) {
            self.state = next;
        }
    }

    /// What was held back when no more comes. A call that never ended is text.
    pub(super) fn finish(&mut self, out: &mut Vec<Said>) {
        let held = std::mem::take(&mut self.held);
        let (marker, text) = match self.state {
            State::Open(marker) | State::Json { marker, .. } => (marker.unwrap_or_default(), held.as_str()),
            State::Behind(Some(HERMES)) if HERMES_CLOSES.starts_with(held.trim_start()) => ("", ""),
            _ => ("", held.as_str()),
        };
        if !self.called || !text.trim().is_empty() {
            Said::text(&format!("{marker}{text}"), out);
        }
    }

    /// The next state, if it follows from what is held.
    fn advance(&mut self, out: &mut Vec<Said>) -> Option<State> {
        match self.state {
            State::Start => match beginning(self.held.trim_start()) {
                Beginning::Undecided => None,
                Beginning::NoCall => Some(State::Text),
                Beginning::Call => Some(State::Open(None)),
            },
            State::Text => self.text(out),
            State::Open(marker) => self.open(marker, out),
            State::Json { marker, from, mut span } => {
                let end = span.end(&self.held[from..]);
                self.state = State::Json { marker, from, span };
                end.map(|end| self.called(marker, from, from + end, out))
            }
            State::Behind(marker) => self.behind(marker),
        }
    }

    /// Tells the text before a marker, or all that is none.
    fn text(&mut self, out: &mut Vec<Said>) -> Option<State> {
        let found = MARKERS.iter().filter_map(|marker| Some((self.held.find(marker)?, *marker)));
        if let Some((at, marker)) = found.min() {
            Said::text(self.held[..at].trim_end(), out);
            self.held.drain(..at + marker.len());
            return Some(State::Open(Some(marker)));
        }
        let known = self.held.len() - held_back(&self.held, &MARKERS);
        Said::text(&self.held[..known], out);
        self.held.drain(..known);
        None
    }

    /// Finds the JSON behind a marker; Mistral's newer models write a tool's name before it.
    fn open(&mut self, marker: Option<&'static str>, out: &mut Vec<Said>) -> Option<State> {
        let blank = self.held.len() - self.held.trim_start().len();
        let begins = self.held[blank..].chars().next()?;
        if matches!(begins, '{' | '[') {
            return Some(State::Json { marker, from: blank, span: JsonSpan::default() });
        }
        if marker == Some(MISTRAL) && (begins.is_alphanumeric() || begins == '_') {
            match self.held.find('{') {
                Some(from) if from <= NAME_BYTES => {
                    return Some(State::Json { marker, from, span: JsonSpan::default() });
                }
                None if self.held.len() <= NAME_BYTES => return None,
                _ => {}
            }
        }
        Said::text(marker.unwrap_or_default(), out);
        Some(State::Text)
    }

    /// Tells the calls in the JSON held at `from..to`, or that it is text after all.
    fn called(&mut self, marker: Option<&'static str>, from: usize, to: usize, out: &mut Vec<Said>) -> State {
        let json = serde_json::from_str::<Value>(&self.held[from..to]).ok();
        let before = self.held[..from].trim();
        let name = before.split('[').next().unwrap_or_default().trim();
        let calls = match json {
            Some(arguments) if !name.is_empty() => {
                Some(vec![Called { name: name.to_owned(), arguments: arguments.to_string() }])
            }
            Some(json) => calls_of(json),
            None => None,
        };
        let known = |call: &Called| marker.is_some() || self.tools.contains(&call.name);
        match calls.filter(|calls| !calls.is_empty() && calls.iter().all(known)) {
            Some(calls) => {
                self.called = true;
                out.extend(calls.into_iter().map(Said::Call));
                self.held.drain(..to);
                State::Behind(marker)
            }
            None => {
                Said::text(marker.unwrap_or_default(), out);
                Said::text(&self.held[..to], out);
                self.held.drain(..to);
                State::Text
            }
        }
    }

    /// Drops what stands between calls.
    fn behind(&mut self, marker: Option<&'static str>) -> Option<State> {
        let closes = if marker == Some(HERMES) { HERMES_CLOSES } else { "" };
        let rest = self.held.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, ';' | ','));
        if !closes.is_empty() && rest.starts_with(closes) {
            self.held = rest[closes.len()..].to_owned();
            return Some(State::Text);
        }
        if rest.is_empty() || (!closes.is_empty() && closes.starts_with(rest)) {
            return None;
        }
        match beginning(rest) {
            Beginning::Undecided => None,
            Beginning::Call => {
                self.held = rest.to_owned();
                Some(State::Open(marker))
            }
            Beginning::NoCall => Some(State::Text),
        }
    }
}

/// Whether `text`, without blank space before it, begins like the JSON of calls.
fn beginning(text: &str) -> Beginning {
    let object = text.strip_prefix('[').map_or(text, str::trim_start);
    if object.is_empty() {
        return Beginning::Undecided;
    }
    let Some(entry) = object.strip_prefix('{').map(str::trim_start) else {
        return Beginning::NoCall;
    };
    if entry.is_empty() {
        return Beginning::Undecided;
    }
    let Some(key) = entry.strip_prefix('"') else {
        return Beginning::NoCall;
    };
    match key.split_once('"') {
        Some((key, _)) if KEYS.contains(&key) => Beginning::Call,
        None if KEYS.iter().any(|known| known.starts_with(key)) => Beginning::Undecided,
        _ => Beginning::NoCall,
    }
}

/// The calls that `json` is, if it is nothing else.
fn calls_of(json: Value) -> Option<Vec<Called>> {
    match json {
        Value::Array(calls) => calls.into_iter().map(call_of).collect(),
        call => Some(vec![call_of(call)?]),
    }
}

fn call_of(json: Value) -> Option<Called> {
    let Value::Object(mut call) = json else {
        return None;
    };
    if let Some(Value::Object(function)) = call.get("function") {
        call = function.clone();
    }
    let name = ["name", "function"].iter().find_map(|key| call.get(*key)?.as_str())?.to_owned();
    let arguments = ["arguments", "parameters"].iter().find_map(|key| call.get(*key));
    let arguments = match arguments {
        None | Some(Value::Null) => "{}".to_owned(),
        Some(Value::String(json)) if serde_json::from_str::<Value>(json).is_ok() => json.clone(),
        Some(value) => value.to_string(),
    };
    Some(Called { name, arguments })
}
