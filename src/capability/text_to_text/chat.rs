//! A conversation, its tools, and what its template is told besides.

use std::collections::BTreeMap;

use serde_json::Value;

/// A conversation to answer.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Chat {
    /// The turns so far, oldest first.
    pub messages: Vec<Message>,
    /// The tools the model may call, in the form the model's template expects: usually
    /// `{"type": "function", "function": {"name", "description", "parameters"}}`. Passed to it as they are.
    pub tools: Vec<Value>,
    /// What else the template is told, by name, such as `enable_thinking`. What its own variables are called
    /// (`messages`, `tools` and the like) cannot be told here.
    pub template_args: BTreeMap<String, Value>,
}

impl Chat {
    /// The conversation `messages`, without tools.
    pub fn new(messages: Vec<Message>) -> Self {
        Self { messages, ..Self::default() }
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
    /// The tools an assistant called.
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
}

/// Who speaks in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sets the rules.
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

/// A tool that an assistant called.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    /// What the tool's answer refers to.
    pub id: Option<String>,
    /// The tool.
    pub name: String,
    /// What it was called with: an object. (A text that holds one is passed to the template as a text.)
    pub arguments: Value,
}
