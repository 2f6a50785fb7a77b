//! `POST /api/generate`: a prompt, and its answer.

use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::asking::{Question, Shape, answer};
use super::keep_alive::KeepAlive;
use super::options::{Options, Think, form};
use crate::capability::{Chat, DescribeRequest, GenerateRequest, Message, Prompt};
use crate::server::api_error::ApiError;
use crate::server::arrival::Arrival;
use crate::server::image_url::pictures;
use crate::server::json_body::JsonBody;

#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    model: String,
    #[serde(default)]
    prompt: Option<String>,
    suffix: Option<String>,
    system: Option<String>,
    template: Option<String>,
    context: Option<Vec<Value>>,
    images: Option<Vec<String>>,
    format: Option<Value>,
    options: Option<Map<String, Value>>,
    think: Option<Think>,
    raw: Option<bool>,
    stream: Option<bool>,
    keep_alive: Option<KeepAlive>,
    logprobs: Option<bool>,
}

pub(super) async fn generate(
    arrival: Arrival,
    JsonBody(asked): JsonBody<Asked>,
) -> Result<Response, ApiError> {
    answer(&arrival, asked.question()?).await
}

impl Asked {
    fn question(self) -> Result<Question, ApiError> {
        self.check()?;
        let raw = self.raw.unwrap_or(false);
        let thoughts = self.think != Some(Think::Whether(false));
        let images = pictures(self.images.as_deref().unwrap_or_default());
        let prompt = self.prompt.unwrap_or_default();
        let asks = !prompt.is_empty() || !images.is_empty();
        let request = if asks {
            let mut generate = GenerateRequest::new(if raw {
                Prompt::Raw(prompt)
            } else {
                let system = self.system.filter(|system| !system.is_empty()).map(Message::system);
                let mut chat = Chat::new(system.into_iter().chain([Message::user(prompt)]).collect());
                if let Some(think) = self.think {
                    chat.template_args.extend(think.template_args()?);
                }
                Prompt::Chat(chat)
            });
            Options::read(self.options)?.apply(&mut generate)?;
            generate.response_format = form(self.format)?;
            Some(DescribeRequest::new(images, generate))
        } else {
            None
        };
        Ok(Question {
            model: self.model,
            request,
            shape: Shape::Generate,
            tools: Vec::new(),
            thoughts,
            raw,
            stream: self.stream.unwrap_or(true),
            keep_alive: self.keep_alive,
        })
    }

    /// Refuses what would change the answer and is not there.
    fn check(&self) -> Result<(), ApiError> {
        let said = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let raw_system = self.raw == Some(true) && said(&self.system);
        let refused = [
            (said(&self.suffix), "suffix", "no model here fills in what is between two texts"),
            (said(&self.template), "template", "a model's template comes with its files"),
            (raw_system, "system", "a raw prompt is given as it is, with its rules in it"),
            (
                self.context.as_ref().is_some_and(|context| !context.is_empty()),
                "context",
                "what was said before is given to /api/chat as messages",
            ),
            (self.logprobs == Some(true), "logprobs", "/v1/chat/completions tells them"),
        ];
        match refused.into_iter().find(|(wrong, ..)| *wrong) {
            Some((_, field, message)) => Err(ApiError::invalid(field, format!("{field}: {message}"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn question(body: Value) -> Result<Question, ApiError> {
        serde_json::from_value::<Asked>(body).unwrap().question()
    }

    #[test]
    fn a_prompt_is_a_users_message_unless_it_is_raw() {
        let asked = question(json!({ "model": "m", "prompt": "hi", "system": "be brief" })).unwrap();
        let expected = Chat::new(vec![Message::system("be brief"), Message::user("hi")]);
        assert_eq!(asked.request.unwrap().generate.prompt, Prompt::Chat(expected));
        assert!(asked.stream && asked.thoughts);
        let asked = question(json!({ "model": "m", "prompt": "hi", "raw": true, "stream": false })).unwrap();
        assert_eq!(asked.request.unwrap().generate.prompt, Prompt::Raw("hi".to_owned()));
        assert!(!asked.stream);
        let asked = question(json!({ "model": "m", "prompt": "hi", "images": ["iVBO"] })).unwrap();
        assert_eq!(asked.request.unwrap().images.len(), 1);
    }

    #[test]
    fn no_prompt_asks_nothing() {
        for body in [json!({ "model": "m" }), json!({ "model": "m", "prompt": "", "keep_alive": 0 })] {
            assert!(question(body).unwrap().request.is_none());
        }
    }

    #[test]
    fn what_is_not_there_is_refused_by_its_name() {
        for (field, value) in [
            ("suffix", json!("x")),
            ("template", json!("x")),
            ("context", json!([1])),
            ("logprobs", json!(true)),
            ("format", json!("xml")),
            ("think", json!("fast")),
        ] {
            let error = question(json!({ "model": "m", "prompt": "hi", field: value })).unwrap_err();
            assert_eq!((error.status.as_u16(), error.param.as_deref()), (400, Some(field)));
        }
        let raw = json!({ "model": "m", "prompt": "hi", "raw": true, "system": "x" });
        assert_eq!(question(raw).unwrap_err().param.as_deref(), Some("system"));
    }
}
