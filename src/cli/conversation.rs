//! Conversations as a file says them: in the form of `OpenAI`'s chat completions.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::failure::Failure;
use super::files::read_json;
use crate::capability::{Chat, Message, Role, ToolCall};

/// A list of messages, or an object that holds one.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected a list of messages, or an object with \"messages\" and maybe \"tools\""
)]
enum Said {
    Messages(Vec<SaidMessage>),
    Conversation {
        messages: Vec<SaidMessage>,
        #[serde(default)]
        tools: Vec<Value>,
    },
}

#[derive(Deserialize)]
struct SaidMessage {
    role: SaidRole,
    #[serde(default)]
    content: Option<Content>,
    #[serde(default, alias = "reasoning")]
    reasoning_content: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<SaidCall>>,
    tool_call_id: Option<String>,
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum SaidRole {
    #[serde(alias = "developer")]
    System,
    User,
    Assistant,
    Tool,
}

/// A text, or texts in parts.
#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Part {
    Text { text: String },
}

#[derive(Deserialize)]
struct SaidCall {
    id: Option<String>,
    function: SaidFunction,
}

#[derive(Deserialize)]
struct SaidFunction {
    name: String,
    /// An object, or a text that holds one.
    #[serde(default)]
    arguments: Value,
}

/// The conversation in a file.
pub(super) fn read_conversation(path: &Path) -> Result<Chat, Failure> {
    Ok(read_json::<Said>(path)?.into())
}

impl From<Said> for Chat {
    fn from(said: Said) -> Self {
        let (messages, tools) = match said {
            Said::Messages(messages) => (messages, Vec::new()),
            Said::Conversation { messages, tools } => (messages, tools),
        };
        let mut chat = Self::new(messages.into_iter().map(Message::from).collect());
        chat.tools = tools;
        chat
    }
}

impl From<SaidMessage> for Message {
    fn from(said: SaidMessage) -> Self {
        let role = match said.role {
            SaidRole::System => Role::System,
            SaidRole::User => Role::User,
            SaidRole::Assistant => Role::Assistant,
            SaidRole::Tool => Role::Tool,
        };
        let content = match said.content {
            None => String::new(),
            Some(Content::Text(text)) => text,
            Some(Content::Parts(parts)) => parts.into_iter().map(|Part::Text { text }| text).collect(),
        };
        let mut message = Self::new(role, content);
        message.reasoning = said.reasoning_content;
        message.tool_calls = said.tool_calls.unwrap_or_default().into_iter().map(ToolCall::from).collect();
        message.tool_call_id = said.tool_call_id;
        message.name = said.name;
        message
    }
}

impl From<SaidCall> for ToolCall {
    fn from(said: SaidCall) -> Self {
        let SaidFunction { name, arguments } = said.function;
        let arguments = match arguments {
            // What is no JSON stays a text.
            Value::String(text) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
            arguments => arguments,
        };
        Self { id: said.id, name, arguments }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn chat(said: Value) -> Result<Chat, serde_json::Error> {
        serde_json::from_value::<Said>(said).map(Chat::from)
    }

    #[test]
    fn messages_come_alone_or_in_an_object() {
        let messages = json!([{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]);
        let alone = chat(messages.clone()).unwrap();
        assert_eq!(alone.messages, [Message::system("be brief"), Message::user("hi")]);
        let object =
            chat(json!({"model": "x", "messages": messages, "tools": [{"type": "function"}]})).unwrap();
        assert_eq!((object.messages, object.tools), (alone.messages, vec![json!({"type": "function"})]));
    }

    #[test]
    fn parts_are_joined_and_calls_are_read() {
        let call =
            json!({"id": "1", "type": "function", "function": {"name": "look", "arguments": "{\"at\": 3}"}});
        let said = json!([
            {"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "content": "seen", "tool_call_id": "1", "name": "look"},
        ]);
        let messages = chat(said).unwrap().messages;
        assert_eq!(messages[0], Message::system("ab"));
        let called =
            ToolCall { id: Some("1".to_owned()), name: "look".to_owned(), arguments: json!({"at": 3}) };
        assert_eq!(messages[1].tool_calls, [called]);
        assert_eq!(messages[2].tool_call_id.as_deref(), Some("1"));
    }

    #[test]
    fn what_is_no_conversation_is_refused() {
        for bad in [json!("hi"), json!({"role": "user"}), json!([{"role": "owl", "content": "hu"}])] {
            assert!(chat(bad.clone()).is_err(), "{bad}");
        }
        let image = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]);
        assert!(chat(image).is_err(), "a picture is not read over silently");
    }
}
