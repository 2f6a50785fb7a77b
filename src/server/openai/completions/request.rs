//! What is asked for.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::items::{Item, Items};
use super::super::sampling::Sampling;
use super::Manner;
use crate::capability::{GenerateRequest, Prompt};
use crate::server::api_error::ApiError;
use crate::server::texts::Texts;

/// OpenAI's limit on a continuation where a request names none.
const MAX_TOKENS: usize = 16;

/// The most prompts of a request.
const MOST_PROMPTS: usize = 256;

/// The body of a request.
#[derive(Debug, Deserialize)]
pub(super) struct CompletionRequest {
    model: Option<String>,
    prompt: Items<MOST_PROMPTS>,
    max_tokens: Option<usize>,
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
    best_of: Option<usize>,
    #[serde(default)]
    stop: Texts,
    logprobs: Option<usize>,
    echo: Option<bool>,
    suffix: Option<String>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

impl CompletionRequest {
    pub(super) fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// What the model is asked, once for each prompt, and how the answer is to be told.
    pub(super) fn read(self) -> Result<(Vec<GenerateRequest>, Manner), ApiError> {
        let n = self.n.unwrap_or(1);
        self.check(n)?;
        let echo = |prompt: &Item| match prompt {
            Item::Text(text) => Ok(text.clone()),
            _ => Err(ApiError::invalid("echo", "only prompts that are texts can be told again")),
        };
        let echoed = self.echo == Some(true);
        let before = self.prompt.0.iter().filter(|_| echoed).map(echo).collect::<Result<_, _>>()?;
        let manner = Manner {
            echoes: before,
            n,
            logprobs: self.logprobs.is_some(),
            stream: self.stream.unwrap_or(false),
            include_usage: self.stream_options.and_then(|options| options.include_usage).unwrap_or(false),
        };
        let sampling = Sampling {
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
        let requests = self.prompt.0.into_iter().map(|prompt| {
            let mut request = GenerateRequest::new(prompt_of(prompt)?).sampling(sampling.clone());
            request.max_tokens = self.max_tokens.unwrap_or(MAX_TOKENS);
            (request.n, request.logprobs) = (n, self.logprobs);
            request.stop.clone_from(&self.stop.0);
            Ok(request)
        });
        Ok((requests.collect::<Result<_, ApiError>>()?, manner))
    }

    /// Refuses what cannot be done.
    fn check(&self, n: usize) -> Result<(), ApiError> {
        if self.suffix.as_ref().is_some_and(|suffix| !suffix.is_empty()) {
            return Err(ApiError::invalid("suffix", "texts are only continued at their end"));
        }
        if self.best_of.is_some_and(|best_of| best_of != n) {
            return Err(ApiError::invalid("best_of", "all that is written is told: it must be as n"));
        }
        if self.echo == Some(true) && self.logprobs.is_some() {
            return Err(ApiError::invalid("echo", "how likely a prompt is, is not told: leave out logprobs"));
        }
        if self.stream != Some(true) && self.stream_options.is_some() {
            return Err(ApiError::invalid("stream_options", "it needs \"stream\": true"));
        }
        Ok(())
    }
}

fn prompt_of(item: Item) -> Result<Prompt, ApiError> {
    match item {
        Item::Text(text) => Ok(Prompt::Raw(text)),
        Item::Tokens(ids) => Ok(Prompt::Tokens(ids)),
        Item::Picture(_) => {
            Err(ApiError::invalid("prompt", "a prompt is a text or a list of tokens, no picture"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(more: &Value) -> Result<(Vec<GenerateRequest>, Manner), ApiError> {
        let mut request = json!({ "prompt": ["a", "b"] });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value::<CompletionRequest>(request).unwrap().read()
    }

    #[test]
    fn what_is_left_out_is_as_openai_has_it() {
        let (requests, manner) = read(&json!({})).unwrap();
        assert_eq!(requests.len(), 2);
        assert_eq!((requests[1].max_tokens, requests[1].n, requests[1].logprobs), (16, 1, None));
        assert!((requests[0].sampling.temperature - 1.0).abs() < f32::EPSILON);
        assert!(!manner.stream && !manner.include_usage && !manner.logprobs && manner.echoes.is_empty());
    }

    #[test]
    fn what_is_said_is_asked() {
        let (requests, manner) = read(&json!({
            "n": 2, "best_of": 2, "echo": true, "max_tokens": 3, "stop": "x", "seed": 5, "temperature": 0,
            "logit_bias": { "7": -100 }, "stream": true, "stream_options": { "include_usage": true },
        }))
        .unwrap();
        assert_eq!(manner.echoes, ["a", "b"]);
        assert!(manner.stream && manner.include_usage);
        let request = &requests[0];
        assert_eq!((request.n, request.max_tokens, request.stop.as_slice()), (2, 3, &["x".to_owned()][..]));
        assert_eq!((request.sampling.seed, request.sampling.logit_bias[&7]), (Some(5), -100.0));
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        for (wrong, field) in [
            (json!({ "suffix": "c" }), "suffix"),
            (json!({ "best_of": 2 }), "best_of"),
            (json!({ "echo": true, "logprobs": 1 }), "echo"),
            (json!({ "echo": true, "prompt": [1, 2] }), "echo"),
            (json!({ "stream_options": {} }), "stream_options"),
        ] {
            assert_eq!(read(&wrong).unwrap_err().param.as_deref(), Some(field), "{wrong}");
        }
    }
}
