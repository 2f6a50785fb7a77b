//! The messages of a conversation, as requests have them.

use std::fmt;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::capability::{ContentPart, Message, Role, ToolCall};
use crate::server::api_error::ApiError;
use crate::server::app::App;
use crate::server::image_url::picture;

#[derive(Debug, Deserialize)]
pub(super) struct SaidMessage {
    role: Role,
    #[serde(default)]
    content: Content,
    name: Option<String>,
    reasoning_content: Option<String>,
    /// The same, as others call it.
    reasoning: Option<String>,
    tool_calls: Option<Vec<ToolCall>>,
    tool_call_id: Option<String>,
}

/// A text or parts.
#[derive(Debug, Default)]
enum Content {
    #[default]
    Nothing,
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
struct Part {
    r#type: String,
    #[serde(alias = "refusal")]
    text: Option<String>,
    image_url: Option<ImageUrl>,
}

/// Where a picture is: an URL, alone or in an object. How closely to look at it is the model's own business.
#[derive(Debug)]
struct ImageUrl(String);

impl SaidMessage {
    /// Where its pictures are.
    pub(super) fn pictures(&self) -> impl Iterator<Item = &str> {
        let parts = if let Content::Parts(parts) = &self.content { parts.as_slice() } else { &[] };
        parts.iter().filter_map(|part| part.image_url.as_ref()).map(|url| url.0.as_str())
    }

    /// The message `number` as the model's template is told it, and what it says.
    pub(super) async fn read(
        self,
        app: &App,
        number: usize,
    ) -> Result<(Message, Vec<ContentPart>), ApiError> {
        let mut message = Message::new(self.role, "");
        (message.name, message.reasoning) = (self.name, self.reasoning_content.or(self.reasoning));
        message.tool_call_id = self.tool_call_id;
        message.tool_calls = self.tool_calls.unwrap_or_default();
        let field = format!("messages[{number}].content");
        let parts = match self.content {
            Content::Nothing if self.role == Role::Assistant => Vec::new(),
            Content::Nothing => {
                return Err(ApiError::invalid(field, "there is none: only an assistant may say nothing"));
            }
            Content::Text(text) => vec![ContentPart::Text(text)],
            Content::Parts(parts) => {
                let mut read = Vec::with_capacity(parts.len());
                for part in parts {
                    read.push(part.read(app, &field).await?);
                }
                read
            }
        };
        Ok((message, parts))
    }
}

impl Part {
    async fn read(self, app: &App, field: &str) -> Result<ContentPart, ApiError> {
        match (self.r#type.as_str(), self.text, self.image_url) {
            ("text" | "refusal", Some(text), _) => Ok(ContentPart::Text(text)),
            ("image_url", _, Some(ImageUrl(url))) => {
                Ok(ContentPart::Image(picture(app, &format!("{field}.image_url"), url).await?))
            }
            ("text" | "refusal" | "image_url", ..) => {
                Err(ApiError::invalid(field, format!("a part of type {0} has no {0}", self.r#type)))
            }
            _ => {
                let shown: String = self.r#type.chars().take(64).collect();
                let message = format!("no part is of type {shown:?} here; there are text and image_url");
                Err(ApiError::invalid(field, message))
            }
        }
    }
}

/// A tool's message says which call it answers; some templates want to know which tool that was.
pub(super) fn name_tools(messages: &mut [Message]) {
    for at in 0..messages.len() {
        let (before, rest) = messages.split_at_mut(at);
        let message = &mut rest[0];
        if message.role == Role::Tool && message.name.is_none() && message.tool_call_id.is_some() {
            let mut calls = before.iter().rev().take(64).flat_map(|message| &message.tool_calls);
            message.name = calls.find(|call| call.id == message.tool_call_id).map(|call| call.name.clone());
        }
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Content;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of parts")
            }

            fn visit_unit<E>(self) -> Result<Content, E> {
                Ok(Content::Nothing)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Content, E> {
                Ok(Content::Text(text.to_owned()))
            }

            fn visit_string<E: Error>(self, text: String) -> Result<Content, E> {
                Ok(Content::Text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, parts: A) -> Result<Content, A::Error> {
                Deserialize::deserialize(SeqAccessDeserializer::new(parts)).map(Content::Parts)
            }
        }

        deserializer.deserialize_any(Read)
    }
}

impl<'de> Deserialize<'de> for ImageUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Object {
            url: String,
        }

        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = ImageUrl;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("{\"url\": ...} or a URL")
            }

            fn visit_str<E: Error>(self, url: &str) -> Result<ImageUrl, E> {
                Ok(ImageUrl(url.to_owned()))
            }

            fn visit_string<E: Error>(self, url: String) -> Result<ImageUrl, E> {
                Ok(ImageUrl(url))
            }

            fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<ImageUrl, A::Error> {
                Ok(ImageUrl(Object::deserialize(MapAccessDeserializer::new(object))?.url))
            }
        }

        deserializer.deserialize_any(Read)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::Engine;
    use crate::capability::ImageSource;
    use crate::server::ServerConfig;

    fn read(message: Value) -> Result<(Message, Vec<ContentPart>), ApiError> {
        let said: SaidMessage = serde_json::from_value(message).unwrap();
        let app = App::new(Engine::new().unwrap(), ServerConfig::default());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(said.read(&app, 3))
    }

    #[test]
    fn content_is_a_text_or_parts() {
        let text = |text: &str| vec![ContentPart::text(text)];
        for role in ["system", "developer"] {
            let (message, parts) = read(json!({ "role": role, "content": "Be brief." })).unwrap();
            assert_eq!((message.role, parts), (Role::System, text("Be brief.")));
        }
        let parts = json!([{ "type": "text", "text": "What is " }, { "type": "text", "text": "it?" }]);
        let (message, parts) = read(json!({ "role": "user", "content": parts, "name": "Ada" })).unwrap();
        assert_eq!((message.role, message.name.as_deref()), (Role::User, Some("Ada")));
        assert_eq!(parts, [ContentPart::text("What is "), ContentPart::text("it?")]);
        let (message, parts) = read(json!({ "role": "assistant", "content": null })).unwrap();
        assert_eq!((message.role, parts), (Role::Assistant, vec![]));
    }

    #[test]
    fn pictures_stand_in_an_object_or_alone() {
        let url = "data:image/png;base64,QQ";
        for image_url in [json!({ "url": url, "detail": "low" }), json!(url)] {
            let part = json!({ "type": "image_url", "image_url": image_url });
            let (_, parts) = read(json!({ "role": "user", "content": [part] })).unwrap();
            assert_eq!(parts, [ContentPart::image(ImageSource::data_url(url))]);
        }
    }

    #[test]
    fn calls_are_read_with_their_arguments() {
        let call = |arguments: Value| {
            let call = json!({ "id": "c1", "type": "function", "function": { "name": "look", "arguments": arguments } });
            let (message, _) = read(json!({ "role": "assistant", "tool_calls": [call] })).unwrap();
            message.tool_calls[0].clone()
        };
        let expected = |arguments| ToolCall { id: Some("c1".to_owned()), name: "look".to_owned(), arguments };
        assert_eq!(call(json!("{\"at\": 1}")), expected(json!({ "at": 1 })));
        assert_eq!(call(json!({ "at": 1 })), expected(json!({ "at": 1 })));
        assert_eq!(call(json!("not json")), expected(json!("not json")));
        assert_eq!(call(json!(null)), expected(json!({})));
    }

    #[test]
    fn a_tools_answer_gets_the_tools_name() {
        let id = || Some("c1".to_owned());
        let call = ToolCall { id: id(), name: "look".to_owned(), arguments: json!({}) };
        let asked = Message { tool_calls: vec![call], ..Message::assistant("") };
        let answered = Message { tool_call_id: id(), name: None, ..Message::tool("", "a mill") };
        let mut messages = [asked, answered];
        name_tools(&mut messages);
        assert_eq!(messages[1].name.as_deref(), Some("look"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (content, wrong) in [
            (json!([{ "type": "input_audio", "input_audio": {} }]), "messages[3].content"),
            (json!([{ "type": "text" }]), "messages[3].content"),
            (json!([{ "type": "image_url" }]), "messages[3].content"),
            (json!(null), "messages[3].content"),
            (json!([{ "type": "image_url", "image_url": "http://x" }]), "messages[3].content.image_url"),
        ] {
            let error = read(json!({ "role": "user", "content": content })).unwrap_err();
            assert_eq!((error.status.as_u16(), error.param.as_deref()), (400, Some(wrong)));
        }
        for wrong in [json!({ "role": "function", "content": "" }), json!({ "role": "user", "content": 7 })] {
            assert!(serde_json::from_value::<SaidMessage>(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
