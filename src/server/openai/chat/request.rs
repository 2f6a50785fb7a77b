//! What is asked for.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::super::sampling::Sampling;
use super::message::{SaidMessage, name_tools};
use super::tools::{ToolChoice, Tools};
use super::{Manner, WithUsage};
use crate::capability::{DescribeRequest, Overlong, Prompt, ResponseFormat};
use crate::server::api_error::ApiError;
use crate::server::app::App;
use crate::server::image_url::few_enough;
use crate::server::json_form::{any_object, compact};
use crate::server::texts::Texts;

/// More tokens than any model writes.
const NO_LIMIT: usize = 1 << 20;

/// The body of a request.
#[derive(Debug, Deserialize)]
pub(super) struct ChatRequest {
    model: Option<String>,
    messages: Vec<SaidMessage>,
    max_tokens: Option<usize>,
    max_completion_tokens: Option<usize>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<i64>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    logit_bias: Option<BTreeMap<u32, f32>>,
    seed: Option<i64>,
    n: Option<usize>,
    #[serde(default)]
    stop: Texts,
    logprobs: Option<bool>,
    top_logprobs: Option<usize>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    response_format: Option<Form>,
    tools: Option<Vec<Value>>,
    tool_choice: Option<ToolChoice>,
    chat_template_kwargs: Option<BTreeMap<String, Value>>,
    reasoning_effort: Option<Value>,
    // These would change the answer, if anything here heeded them.
    functions: Option<IgnoredAny>,
    function_call: Option<IgnoredAny>,
    audio: Option<IgnoredAny>,
    web_search_options: Option<IgnoredAny>,
    grammar: Option<IgnoredAny>,
    modalities: Option<Vec<String>>,
    parallel_tool_calls: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Form {
    Text,
    JsonObject,
    JsonSchema { json_schema: Schema },
}

/// A schema is always strict: nothing else can come out.
#[derive(Debug, Deserialize)]
struct Schema {
    schema: Option<Value>,
}

impl ChatRequest {
    pub(super) fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    pub(super) fn shows_pictures(&self) -> bool {
        self.messages.iter().any(|message| message.pictures().next().is_some())
    }

    /// How the answer is to be told; refuses what cannot be done.
    pub(super) fn manner(&self, tools: &Tools) -> Result<Manner, ApiError> {
        self.check_supported()?;
        let logprobs = self.logprobs.unwrap_or(false);
        if !logprobs && self.top_logprobs.is_some_and(|top| top > 0) {
            return Err(ApiError::invalid("top_logprobs", "it needs \"logprobs\": true"));
        }
        let stream = self.stream.unwrap_or(false);
        if !stream && self.stream_options.is_some() {
            return Err(ApiError::invalid("stream_options", "it needs \"stream\": true"));
        }
        let usage = self.stream_options.as_ref().and_then(|options| options.include_usage);
        let usage = if usage == Some(true) { WithUsage::Yes } else { WithUsage::No };
        let most_calls = if self.parallel_tool_calls == Some(false) { 1 } else { usize::MAX };
        let (n, tools) = (self.n.unwrap_or(1), tools.names.clone());
        Ok(Manner { n, tools, most_calls, logprobs, stream: stream.then_some(usage) })
    }

    fn check_supported(&self) -> Result<(), ApiError> {
        let named = [
            ("functions", self.functions.is_some(), "use tools"),
            ("function_call", self.function_call.is_some(), "use tool_choice"),
            ("audio", self.audio.is_some(), "answers are text"),
            ("web_search_options", self.web_search_options.is_some(), "nothing is searched"),
            ("grammar", self.grammar.is_some(), "use response_format"),
        ];
        let speaks = self.modalities.iter().flatten().any(|modality| modality != "text");
        let spoken = ("modalities", speaks, "answers are text");
        match named.into_iter().chain([spoken]).find(|(_, given, _)| *given) {
            Some((field, _, instead)) => {
                Err(ApiError::invalid(field, format!("{field} is not supported here: {instead}")))
            }
            None => Ok(()),
        }
    }

    /// The tools that may be called.
    pub(super) fn tools(&self) -> Result<Tools, ApiError> {
        Tools::of(self.tools.as_deref().unwrap_or_default(), self.tool_choice.as_ref())
    }

    /// What the model is asked.
    pub(super) async fn read(self, app: &App, tools: Tools) -> Result<DescribeRequest, ApiError> {
        few_enough("messages", self.messages.iter().flat_map(SaidMessage::pictures))?;
        let mut said = Vec::with_capacity(self.messages.len());
        for (number, message) in self.messages.into_iter().enumerate() {
            said.push(message.read(app, number).await?);
        }
        let mut request = DescribeRequest::conversation(said);
        if let Prompt::Chat(chat) = &mut request.generate.prompt {
            name_tools(&mut chat.messages);
            chat.tools = tools.told;
            chat.template_args = self.chat_template_kwargs.unwrap_or_default();
            if let Some(effort) = self.reasoning_effort {
                chat.template_args.entry("reasoning_effort".to_owned()).or_insert(effort);
            }
        }
        let generate = &mut request.generate;
        (generate.max_tokens, generate.overlong) = match self.max_completion_tokens.or(self.max_tokens) {
            Some(most) => (most, Overlong::Refuse),
            None => (NO_LIMIT, Overlong::Cut),
        };
        generate.n = self.n.unwrap_or(1);
        generate.stop = self.stop.0;
        generate.logprobs = self.logprobs.unwrap_or(false).then(|| self.top_logprobs.unwrap_or(0));
        generate.response_format = tools.form.unwrap_or_else(|| Form::read(self.response_format));
        generate.sampling = Sampling {
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            logit_bias: self.logit_bias,
            seed: self.seed,
        }
        .options();
        Ok(request)
    }
}

impl Form {
    fn read(form: Option<Self>) -> ResponseFormat {
        match form {
            None | Some(Self::Text) => ResponseFormat::Text,
            Some(Self::JsonObject) => any_object(),
            Some(Self::JsonSchema { json_schema }) => json_schema.schema.map_or_else(any_object, compact),
        }
    }
}
