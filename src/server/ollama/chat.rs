//! `POST /api/chat`: a conversation, and its next message.

use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::asking::{Question, Shape, answer};
use super::keep_alive::KeepAlive;
use super::options::{Options, Think, form};
use crate::capability::{ContentPart, DescribeRequest, Message, Prompt, Role, ToolCall};
use crate::server::api_error::ApiError;
use crate::server::arrival::Arrival;
use crate::server::image_url::pictures;
use crate::server::json_body::JsonBody;

#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    model: String,
    #[serde(default)]
    messages: Vec<SaidMessage>,
    tools: Option<Vec<Value>>,
    format: Option<Value>,
    options: Option<Map<String, Value>>,
    think: Option<Think>,
    stream: Option<bool>,
    keep_alive: Option<KeepAlive>,
    logprobs: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct SaidMessage {
    role: Role,
    content: Option<String>,
    thinking: Option<String>,
    images: Option<Vec<String>>,
    tool_calls: Option<Vec<ToolCall>>,
    tool_call_id: Option<String>,
    #[serde(alias = "name")]
    tool_name: Option<String>,
}

pub(super) async fn chat(arrival: Arrival, JsonBody(asked): JsonBody<Asked>) -> Result<Response, ApiError> {
    answer(&arrival, asked.question()?).await
}

impl Asked {
    fn question(self) -> Result<Question, ApiError> {
        if self.logprobs == Some(true) {
            return Err(ApiError::invalid("logprobs", "logprobs: /v1/chat/completions tells them"));
        }
        let thoughts = self.think != Some(Think::Whether(false));
        let tools = self.tools.unwrap_or_default();
        let names = tools.iter().map(name_of).collect::<Result<Vec<_>, _>>()?;
        let request = if self.messages.is_empty() {
            None
        } else {
            let mut request = DescribeRequest::conversation(self.messages.into_iter().map(SaidMessage::read));
            if let Prompt::Chat(chat) = &mut request.generate.prompt {
                chat.tools = tools;
                if let Some(think) = self.think {
                    chat.template_args.extend(think.template_args()?);
                }
            }
            Options::read(self.options)?.apply(&mut request.generate)?;
            request.generate.response_format = form(self.format)?;
            Some(request)
        };
        Ok(Question {
            model: self.model,
            request,
            shape: Shape::Chat,
            tools: names,
            thoughts,
            raw: false,
            stream: self.stream.unwrap_or(true),
            keep_alive: self.keep_alive,
        })
    }
}

fn name_of(tool: &Value) -> Result<String, ApiError> {
    let name = tool["function"]["name"].as_str().filter(|name| !name.is_empty());
    let wrong = || ApiError::invalid("tools", "tools: each has a function, and that a name");
    name.map(str::to_owned).ok_or_else(wrong)
}

impl SaidMessage {
    /// The message without what it says, and what it says: pictures first, as Ollama shows them.
    fn read(self) -> (Message, Vec<ContentPart>) {
        let mut message = Message::new(self.role, "");
        message.reasoning = self.thinking;
        message.name = self.tool_name;
        message.tool_call_id = self.tool_call_id;
        message.tool_calls = self.tool_calls.unwrap_or_default();
        let shown = pictures(self.images.as_deref().unwrap_or_default()).into_iter().map(ContentPart::Image);
        let parts = shown.chain(self.content.map(ContentPart::Text)).collect();
        (message, parts)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::capability::{Chat, ImagePlaces};

    fn question(body: Value) -> Result<Question, ApiError> {
        serde_json::from_value::<Asked>(body).unwrap().question()
    }

    fn chat_of(question: Question) -> (Chat, DescribeRequest) {
        let request = question.request.unwrap();
        let Prompt::Chat(chat) = request.generate.prompt.clone() else { panic!("it is a conversation") };
        (chat, request)
    }

    #[test]
    fn messages_are_read_with_their_pictures_and_calls() {
        let messages = json!([
            { "role": "system", "content": "be brief" },
            { "role": "user", "content": "what is it?", "images": ["iVBO"] },
            { "role": "assistant", "tool_calls": [{ "function": { "name": "f", "arguments": { "a": 1 } } }] },
            { "role": "tool", "tool_name": "f", "content": "2" },
        ]);
        let asked = question(json!({ "model": "m", "messages": messages, "think": false })).unwrap();
        assert!(!asked.thoughts);
        let (chat, request) = chat_of(asked);
        assert_eq!(chat.messages[1], Message::user("what is it?"));
        assert_eq!(chat.messages[2].tool_calls[0].arguments, json!({ "a": 1 }));
        assert_eq!(chat.messages[3], Message::tool("f", "2"));
        assert_eq!(chat.template_args["enable_thinking"], false);
        let ImagePlaces::At(places) = &request.places else { panic!("pictures have places") };
        assert_eq!((request.images.len(), places[0].message, places[0].at), (1, 1, 0));
    }

    #[test]
    fn tools_have_names() {
        let asked = |tools: Value| question(json!({ "model": "m", "messages": [], "tools": tools }));
        let tool = json!({ "type": "function", "function": { "name": "f" } });
        assert_eq!(asked(json!([tool])).unwrap().tools, ["f"]);
        assert!(asked(json!([])).unwrap().request.is_none());
        for wrong in [json!([{}]), json!([1]), json!([{ "function": { "name": "" } }])] {
            assert_eq!(asked(wrong).unwrap_err().param.as_deref(), Some("tools"));
        }
    }
}
