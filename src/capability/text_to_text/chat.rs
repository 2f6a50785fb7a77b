//! A conversation, its tools, and what its template is told besides.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::Extent;

/// What a message or a call weighs beside its text, in bytes: its role, and what a template writes around it.
const TURN_BYTES: usize = 16;

/// A conversation to answer.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Chat {
    /// The turns so far, oldest first.
    pub messages: Vec<Message>,
    /// The tools the model may call, in the form the model's template expects: usually
    /// `{"type": "function", "function": {"name", "description", "parameters"}}`. Passed to it as they are. At
    /// most 1024.
    pub tools: Vec<Value>,
    /// What else the template is told, by name, such as `enable_thinking`. What its own variables are called
    /// (`messages`, `tools`, `eos_token` and the like) cannot be told here.
    pub template_args: BTreeMap<String, Value>,
}

impl Chat {
    /// What a template is told by the library and the model's files, and so cannot be told by the caller.
    pub(crate) const OWN_VARIABLES: [&str; 13] = [
        "messages",
        "tools",
        "documents",
        "add_generation_prompt",
        "strftime_now",
        "raise_exception",
        "bos_token",
        "eos_token",
        "unk_token",
        "sep_token",
        "pad_token",
        "cls_token",
        "mask_token",
    ];

    /// The conversation `messages`, without tools.
    pub fn new(messages: Vec<Message>) -> Self {
        Self { messages, ..Self::default() }
    }

    /// Which message is the user's last.
    pub(crate) fn last_question(&self) -> Option<usize> {
        self.messages.iter().rposition(|message| message.role == Role::User)
    }

    /// How many bytes of text all of it holds, about: messages, calls, tools and what the template is told.
    pub(crate) fn bytes(&self) -> usize {
        let messages: usize = self.messages.iter().map(Message::bytes).sum();
        let tools: usize = self.tools.iter().map(|tool| Extent::of(tool).bytes).sum();
        let arguments = self.template_args.iter().map(|(name, value)| name.len() + Extent::of(value).bytes);
        messages + tools + arguments.sum::<usize>()
    }
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
    /// What an assistant thought before it spoke, where that was kept. Templates know it as
    /// `reasoning_content`.
    pub reasoning: Option<String>,
    /// The tools an assistant called. At most 1024.
    pub tool_calls: Vec<ToolCall>,
    /// Which call a tool's message answers.
    pub tool_call_id: Option<String>,
    /// Who speaks, by name; for a tool's message, which tool.
    pub name: Option<String>,
}

impl Message {
    /// `role` says `content`.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        let content = content.into();
        Self { role, content, reasoning: None, tool_calls: Vec::new(), tool_call_id: None, name: None }
    }

    /// A message that sets the rules.
    pub fn system(content: impl Into<String>) -> Self {
        Self::new(Role::System, content)
    }

    /// A message that asks.
    pub fn user(content: impl Into<String>) -> Self {
        Self::new(Role::User, content)
    }

    /// A message that answers.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::new(Role::Assistant, content)
    }

    /// What the tool `name` returned.
    pub fn tool(name: impl Into<String>, content: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..Self::new(Role::Tool, content) }
    }

    fn bytes(&self) -> usize {
        let texts = [&self.reasoning, &self.tool_call_id, &self.name].into_iter().flatten();
        let calls: usize = self.tool_calls.iter().map(ToolCall::bytes).sum();
        TURN_BYTES + self.content.len() + texts.map(String::len).sum::<usize>() + calls
    }
}

/// Who speaks in a conversation. Reads as [`as_str`](Self::as_str) spells it, and as `developer`, which is what some call
/// the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sets the rules.
    #[serde(alias = "developer")]
    System,
    /// Asks.
    User,
    /// Answers.
    Assistant,
    /// Reports what a tool returned.
    Tool,
}

impl Role {
    /// As templates spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// A tool that an assistant called. Reads as in the APIs of chat completions: `{"id", "function": {"name",
/// "arguments"}}`, whose arguments are an object, a text that holds one, or nothing.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "SaidCall")]
pub struct ToolCall {
    /// What the tool's answer refers to.
    pub id: Option<String>,
    /// The tool.
    pub name: String,
    /// What it was called with: an object. (A text that holds one is passed to the template as a text.)
    pub arguments: Value,
}

impl ToolCall {
    fn bytes(&self) -> usize {
        let id = self.id.as_ref().map_or(0, String::len);
        TURN_BYTES + id + self.name.len() + Extent::of(&self.arguments).bytes
    }
}

/// A call as it is written in JSON.
#[derive(Deserialize)]
struct SaidCall {
    id: Option<String>,
    function: SaidFunction,
}

#[derive(Deserialize)]
struct SaidFunction {
    name: String,
    #[serde(default)]
    arguments: Value,
}

impl From<SaidCall> for ToolCall {
    fn from(SaidCall { id, function: SaidFunction { name, arguments } }: SaidCall) -> Self {
        let arguments = match arguments {
            Value::Null => Value::Object(Map::new()),
            // What holds no object stays a text.
            Value::String(text) => serde_json::from_str(&text).map_or(Value::String(text), Value::Object),
            arguments => arguments,
        };
        Self { id, name, arguments }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_text_of_a_chat_counts() {
        let text = || "x".repeat(1_000);
        let call = ToolCall { id: Some(text()), name: text(), arguments: json!({ "a": text() }) };
        let message = Message {
            reasoning: Some(text()),
            tool_calls: vec![call],
            tool_call_id: Some(text()),
            name: Some(text()),
            ..Message::assistant(text())
        };
        let mut chat = Chat::new(vec![message]);
        chat.tools = vec![json!({ "b": [text()] })];
        chat.template_args = [(text(), json!(text()))].into();
        let small = chat.bytes() - 10_000;
        assert!((2 * TURN_BYTES..200).contains(&small), "{small} bytes beside ten texts of 1,000");
        assert_eq!(Chat::new(vec![Message::user("four"); 3]).bytes(), 3 * (TURN_BYTES + 4));
    }
}
