//! A conversation put into words by the model's own template.
//!
//! Templates are Jinja, written for transformers: rendered there by jinja2 in a sandbox, with blocks trimmed
//! on both sides, loop controls, `tojson` without escapes, `raise_exception`, `strftime_now` and the model's
//! special tokens by name. Here by `minijinja`, which has no way out of a template to begin with. A template
//! comes with a model and may be hostile: what it computes and allocates is bounded by fuel, what it writes
//! by a limit, and both grow with the conversation. Where the library would make containers without fuel, or
//! recurse without bound, templates are rewritten to make [sealed] ones.

mod calendar;
mod config;
mod expressions;
mod pictures;
mod python;
mod rewrite;
mod sealed;
mod tags;

use std::collections::BTreeSet;
use std::error::Error as _;
use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, State, Value};
use serde_json::{Map, Value as Json, json};

use super::content_guard::{ContentGuard, GuardedText, covers_in};
use crate::capability::{Chat, Extent, InvalidRequest, Message};
pub(crate) use calendar::CivilTime;
pub(crate) use config::ChatConfig;
pub(crate) use pictures::Shown;

/// The longest template there is room for; the longest known have 30 KB.
const MAX_TEMPLATE_BYTES: usize = 1 << 20;

/// What a template may use without a conversation, and for each of its messages and tools. One unit is one
/// instruction or 64 bytes made; templates in use take about 100 for a message.
const BASE_FUEL: u64 = 50_000;
const FUEL_PER_ITEM: u64 = 5_000;

/// How many bytes of the conversation pay for one unit: every byte may be copied about 32 times.
const BYTES_PER_FUEL: usize = 2;

/// What may be written without a conversation, for each item, and for each byte of it.
const BASE_OUTPUT: usize = 64 << 10;
const OUTPUT_PER_ITEM: usize = 4 << 10;
const OUTPUT_PER_BYTE: usize = 4;

/// A conversation could not be put into words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChatTemplateError {
    /// The model comes without a template.
    #[error("the model has no chat template")]
    Missing,
    /// The template is no Jinja that is understood here.
    #[error("the chat template cannot be used: {0}")]
    Syntax(String),
    /// The template refused the conversation, in its own words.
    #[error("the chat template refused: {0}")]
    Refused(String),
    /// The template does more than its conversation accounts for.
    #[error("the chat template used up its fuel of {fuel}")]
    OutOfFuel {
        /// How much it had.
        fuel: u64,
    },
    /// The template writes more than its conversation accounts for.
    #[error("the chat template wrote more than {limit} bytes")]
    TooLong {
        /// The most it may write.
        limit: usize,
    },
    /// The template failed on this conversation.
    #[error("the chat template failed: {0}")]
    Failed(String),
    /// The conversation cannot be kept apart from the template.
    #[error(transparent)]
    Invalid(#[from] InvalidRequest),
}

/// A model's template, ready to render. One serves any number of threads.
#[derive(Debug)]
pub(crate) struct ChatTemplate {
    environment: Environment<'static>,
    /// What in its source might be taken for a cover.
    taken: BTreeSet<char>,
    special_tokens: Map<String, Json>,
    /// Whether it takes what a message says in parts.
    reads_parts: bool,
}

const DEFAULT: &str = "default";
const WITH_TOOLS: &str = "tool_use";

impl ChatTemplate {
    /// The template that `config` holds; `file` is the text of `chat_template.jinja`, which goes before it.
    pub(crate) fn new(config: &ChatConfig, file: Option<&str>) -> Result<Self, ChatTemplateError> {
        let mut environment = environment();
        let templates = config.templates(file);
        if templates.is_empty() {
            return Err(ChatTemplateError::Missing);
        }
        for (name, template) in &templates {
            if template.len() > MAX_TEMPLATE_BYTES {
                let reason =
                    format!("it has {} bytes, and at most {MAX_TEMPLATE_BYTES} make sense", template.len());
                return Err(ChatTemplateError::Syntax(reason));
            }
            tags::check(template).map_err(ChatTemplateError::Syntax)?;
            rewrite::rewrite(&tags::without_generation(template), syntax())
                .and_then(|rewritten| environment.add_template_owned((*name).to_owned(), rewritten))
                .map_err(|error| ChatTemplateError::Syntax(describe(&error)))?;
        }
        let taken = templates.iter().flat_map(|(_, template)| covers_in(template)).collect();
        let reads_parts = templates.iter().all(|(_, template)| pictures::reads_parts(template));
        Ok(Self { environment, taken, special_tokens: config.special_tokens(), reads_parts })
    }

    /// Renders `chat` and begins the assistant's answer. `guard` keeps control tokens apart from what looks
    /// like them in it; `now` is what the template may know of the time.
    pub(crate) fn render(
        &self,
        chat: &Chat,
        guard: &ContentGuard,
        now: CivilTime,
    ) -> Result<GuardedText, ChatTemplateError> {
        self.render_content(chat, content(chat), guard, now, |_| {})
    }

    /// The same of a conversation that shows pictures.
    pub(crate) fn render_shown(
        &self,
        chat: &Chat,
        shown: Shown<'_>,
        guard: &ContentGuard,
        now: CivilTime,
    ) -> Result<GuardedText, ChatTemplateError> {
        let mut content = content(chat);
        shown.part(&mut content, chat);
        self.render_content(chat, content, guard, now, |content| shown.put_in(content, self.reads_parts))
    }

    /// `finish` puts in what is not the caller's.
    fn render_content(
        &self,
        chat: &Chat,
        mut content: Json,
        guard: &ContentGuard,
        now: CivilTime,
        finish: impl FnOnce(&mut Json),
    ) -> Result<GuardedText, ChatTemplateError> {
        let covers = guard.cover(&mut content, &self.taken)?;
        add_roles(&mut content, chat);
        finish(&mut content);
        let size = Extent::of(&content).bytes;
        let items = chat.messages.len() + chat.tools.len();
        let name = if chat.tools.is_empty() || self.environment.get_template(WITH_TOOLS).is_err() {
            DEFAULT
        } else {
            WITH_TOOLS
        };
        let fuel = BASE_FUEL + FUEL_PER_ITEM * items as u64 + (size / BYTES_PER_FUEL) as u64;
        let limit = BASE_OUTPUT + OUTPUT_PER_ITEM * items + OUTPUT_PER_BYTE * size;
        let text = self.run(name, self.variables(content, now), fuel, limit)?;
        Ok(GuardedText { text, covers })
    }

    fn run(
        &self,
        name: &str,
        variables: Value,
        fuel: u64,
        limit: usize,
    ) -> Result<String, ChatTemplateError> {
        // Cheap to clone: what it holds is shared.
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(fuel));
        let template = environment.get_template(name).map_err(|_| ChatTemplateError::Missing)?;
        let mut page = Page { bytes: Vec::new(), limit };
        let rendered = template.render_captured_to(variables, &mut page);
        if let Err(error) = rendered {
            return Err(match error.kind() {
                ErrorKind::OutOfFuel => ChatTemplateError::OutOfFuel { fuel },
                ErrorKind::WriteFailure => ChatTemplateError::TooLong { limit },
                _ => refusal(&error).unwrap_or_else(|| ChatTemplateError::Failed(describe(&error))),
            });
        }
        String::from_utf8(page.bytes).map_err(|error| ChatTemplateError::Failed(error.to_string()))
    }

    /// What the template sees, as transformers names it. Nothing the caller adds hides one of
    /// [`Chat::OWN_VARIABLES`].
    fn variables(&self, content: Json, now: CivilTime) -> Value {
        let Json::Object(mut content) = content else { return Value::UNDEFINED };
        let mut variables = match content.remove("template_args") {
            Some(Json::Object(arguments)) => arguments,
            _ => Map::new(),
        };
        variables.extend(self.special_tokens.clone());
        variables.extend(content);
        variables.insert("documents".to_owned(), Json::Null);
        variables.insert("add_generation_prompt".to_owned(), Json::Bool(true));
        let strftime = Value::from_function(move |format: &str| now.format(format));
        let variables = variables.into_iter().map(|(name, value)| (name, Value::from(Serde(value))));
        Value::from_pairs(variables.chain([("strftime_now".to_owned(), strftime)]))
    }
}

/// Jinja's syntax as transformers sets it up.
fn syntax() -> SyntaxConfig {
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    syntax.expect("the delimiters are Jinja's own")
}

/// jinja2 as transformers sets it up, for templates already rewritten.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(python::method);
    environment.set_formatter(|out, state, value| {
        let text = python::text(state, value)?;
        Ok(out.write_str(&text)?)
    });
    environment.add_filter(sealed::SEAL, sealed::seal);
    environment.add_filter(sealed::SEAL_PART, sealed::seal_part);
    environment.add_filter(sealed::PAID_LENGTH, sealed::paid_length);
    environment.add_filter("tojson", python::to_json);
    environment.add_filter("string", |state: &State, value: Value| python::text(state, &value));
    environment.add_function("raise_exception", |reason: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, "refused").with_source(Refusal(reason)))
    });
    environment.remove_global("debug");
    environment
}

/// All that comes from the caller, as the template will see it; only the roles are no text of theirs.
fn content(chat: &Chat) -> Json {
    let messages: Vec<Json> = chat.messages.iter().map(message).collect();
    let tools = if chat.tools.is_empty() { Json::Null } else { Json::Array(chat.tools.clone()) };
    let arguments: Map<String, Json> = chat.template_args.clone().into_iter().collect();
    json!({ "messages": messages, "tools": tools, "template_args": arguments })
}

fn message(message: &Message) -> Json {
    let mut fields = Map::new();
    fields.insert("content".to_owned(), json!(message.content));
    if let Some(reasoning) = &message.reasoning {
        // Some templates know it as the one, some as the other.
        fields.insert("reasoning_content".to_owned(), json!(reasoning));
        fields.insert("thinking".to_owned(), json!(reasoning));
    }
    if !message.tool_calls.is_empty() {
        let calls = message.tool_calls.iter().map(|call| {
            let function = json!({ "name": call.name, "arguments": call.arguments });
            match &call.id {
                Some(id) => json!({ "id": id, "type": "function", "function": function }),
                None => json!({ "type": "function", "function": function }),
            }
        });
        fields.insert("tool_calls".to_owned(), calls.collect());
    }
    for (name, value) in [("tool_call_id", &message.tool_call_id), ("name", &message.name)] {
        fields.extend(value.as_ref().map(|value| (name.to_owned(), json!(value))));
    }
    Json::Object(fields)
}

/// Puts each message's role first: words that templates tell messages apart by, so they are never covered.
fn add_roles(content: &mut Json, chat: &Chat) {
    let messages = content["messages"].as_array_mut().into_iter().flatten();
    for (fields, message) in messages.filter_map(Json::as_object_mut).zip(&chat.messages) {
        fields.shift_insert(0, "role".to_owned(), json!(message.role.as_str()));
    }
}

/// What a template says when it calls `raise_exception`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refusal(String);

fn refusal(error: &Error) -> Option<ChatTemplateError> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(Refusal(reason)) = error.downcast_ref() {
            return Some(ChatTemplateError::Refused(reason.chars().take(500).collect()));
        }
        cause = error.source();
    }
    None
}

/// What is wrong and where, without the template's text.
fn describe(error: &Error) -> String {
    let line = error.line().map(|line| format!(" (line {line})")).unwrap_or_default();
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    format!("{}{}{line}", error.kind(), detail.chars().take(200).collect::<String>())
}

/// Takes so much text and no more.
struct Page {
    bytes: Vec<u8>,
    limit: usize,
}

impl io::Write for Page {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + text.len() > self.limit {
            return Err(io::Error::other("the page is full"));
        }
        self.bytes.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
