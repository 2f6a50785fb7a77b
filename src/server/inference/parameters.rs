//! What a request says beside its texts and pictures: in its parameters, or as tensors of one element.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};

use super::elements::Elements;
use super::tensor::Tensor;
use crate::capability::{DrawRequest, EmbedRequest, GenerateRequest, Overlong, SamplingOptions};
use crate::server::api_error::ApiError;
use crate::server::terms::Terms;
use crate::server::texts::Texts;

/// As many levels of priority go before requests that name none.
const LEVELS_BEFORE: i64 = 8;

/// How to write. Greedy, and at most 256 tokens, where nothing else is said: the library's own defaults.
#[derive(Debug, Default, Deserialize)]
pub(super) struct WritingParameters {
    #[serde(alias = "max_new_tokens")]
    max_tokens: Option<usize>,
    temperature: Option<f32>,
    /// 0 or -1: of all.
    top_k: Option<i64>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    seed: Option<u64>,
    #[serde(alias = "repeat_penalty")]
    repetition_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    #[serde(default, alias = "stop_words")]
    stop: Texts,
    /// Whether the text is a user's message, to be put into words by the model's template, and no raw prompt.
    pub(super) chat: Option<bool>,
    /// Whether the answer is to come as it is written.
    pub(super) stream: Option<bool>,
}

impl WritingParameters {
    /// What may come as a tensor.
    pub(super) const NAMES: &[&str] = &[
        "max_tokens",
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "seed",
        "repetition_penalty",
        "presence_penalty",
        "frequency_penalty",
        "stop",
        "chat",
        "stream",
    ];

    /// Has `request` written so.
    pub(super) fn apply(&self, request: &mut GenerateRequest) {
        let plain = SamplingOptions::default();
        let mut sampling = SamplingOptions::with_temperature(self.temperature.unwrap_or(plain.temperature));
        sampling.top_k = self.top_k.and_then(|k| usize::try_from(k).ok()).filter(|k| *k > 0);
        sampling.top_p = self.top_p.unwrap_or(plain.top_p);
        sampling.min_p = self.min_p.unwrap_or(plain.min_p);
        sampling.seed = self.seed;
        sampling.repetition_penalty = self.repetition_penalty.unwrap_or(plain.repetition_penalty);
        sampling.presence_penalty = self.presence_penalty.unwrap_or(plain.presence_penalty);
        sampling.frequency_penalty = self.frequency_penalty.unwrap_or(plain.frequency_penalty);
        request.sampling = sampling;
        request.max_tokens = self.max_tokens.unwrap_or(request.max_tokens);
        request.stop.clone_from(&self.stop.0);
    }
}

/// How to embed.
#[derive(Debug, Default, Deserialize)]
pub(super) struct EmbeddingParameters {
    dimensions: Option<usize>,
    pub(super) normalize: Option<bool>,
    truncate: Option<bool>,
    prompt_name: Option<String>,
}

impl EmbeddingParameters {
    /// What may come as a tensor.
    pub(super) const NAMES: &[&str] = &["dimensions", "normalize", "truncate", "prompt_name"];

    /// Has `request` embedded so.
    pub(super) fn apply(&self, request: &mut EmbedRequest) {
        request.dimensions = self.dimensions;
        request.normalize = self.normalize;
        request.prompt_name.clone_from(&self.prompt_name);
        request.overlong = if self.truncate == Some(false) { Overlong::Refuse } else { Overlong::Cut };
    }
}

/// How to draw. As the model does, where nothing else is said.
#[derive(Debug, Default, Deserialize)]
pub(super) struct DrawingParameters {
    width: Option<u32>,
    height: Option<u32>,
    #[serde(alias = "num_inference_steps")]
    steps: Option<u32>,
    guidance_scale: Option<f32>,
    negative_prompt: Option<String>,
    seed: Option<u64>,
}

impl DrawingParameters {
    /// What may come as a tensor.
    pub(super) const NAMES: &[&str] =
        &["width", "height", "steps", "guidance_scale", "negative_prompt", "seed"];

    /// What draws `prompt` so.
    pub(super) fn request(&self, prompt: String) -> Result<DrawRequest, ApiError> {
        let mut request = DrawRequest::new(prompt);
        request.size = match (self.width, self.height) {
            (Some(width), Some(height)) => Some((width, height)),
            (None, None) => None,
            _ => return Err(ApiError::invalid("width", "width and height go together")),
        };
        request.steps = self.steps;
        request.guidance = self.guidance_scale;
        request.negative_prompt.clone_from(&self.negative_prompt);
        request.seed = self.seed;
        Ok(request)
    }
}

/// What any request may say.
#[derive(Debug, Default, Deserialize)]
struct Asking {
    /// In microseconds; 0: as long as the server allows.
    #[serde(default)]
    timeout: u64,
    /// 1 is the highest; 0: none is named.
    #[serde(default)]
    priority: u64,
    #[serde(default)]
    sequence_id: Value,
}

/// `terms` with what the parameters say of them.
pub(super) fn terms(terms: Terms, parameters: &Map<String, Value>) -> Result<Terms, ApiError> {
    let Asking { timeout, priority, sequence_id } = read(parameters)?;
    if !matches!(sequence_id, Value::Null) && sequence_id != 0 && sequence_id != "" {
        return Err(ApiError::invalid("parameters.sequence_id", "no model here keeps sequences"));
    }
    let terms = if timeout == 0 { terms } else { terms.within(Duration::from_micros(timeout)) };
    let level = LEVELS_BEFORE.saturating_add(1).saturating_sub_unsigned(priority);
    let level = if priority == 0 { 0 } else { i32::try_from(level).unwrap_or(i32::MIN) };
    Ok(terms.priority(level))
}

/// The parameters that `T` knows.
///
/// # Errors
///
/// 400 with the parameter that is wrong.
pub(super) fn read<T: DeserializeOwned>(parameters: &Map<String, Value>) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(Value::Object(parameters.clone())).map_err(|error| {
        let param: String = format!("parameters.{}", error.path()).chars().take(128).collect();
        let message = format!("{param}: {}", error.inner());
        ApiError::invalid(param, message)
    })
}

/// What a tensor says that is a parameter: a value, or of texts a list.
pub(super) fn value(tensor: &Tensor) -> Result<Value, ApiError> {
    let number = |value: f64| Number::from_f64(value).map(Value::Number);
    let value = match &tensor.elements {
        Elements::Small(all) => one(all).map(|it| (*it).into()),
        Elements::Whole(all) => one(all).and_then(|it| Number::from_i128(*it)).map(Value::Number),
        Elements::Real(all) => one(all).and_then(|it| number(*it)),
        Elements::Truth(all) => one(all).map(|it| (*it).into()),
        Elements::None => None,
        Elements::Texts(_) | Elements::Raw(_) => {
            let mut texts = super::inputs::texts(tensor)?;
            Some(if texts.len() == 1 { texts.remove(0).into() } else { texts.into() })
        }
    };
    value.ok_or_else(|| {
        let param = format!("inputs.{}", tensor.name);
        let message = format!("{param} is not one finite number, true, false or text");
        ApiError::invalid(param, message)
    })
}

fn one<T>(all: &[T]) -> Option<&T> {
    if let [one] = all { Some(one) } else { None }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::capability::Prompt;

    fn map(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_is_not_said_is_as_the_library_has_it() {
        let written = |parameters: Value| {
            let mut request = GenerateRequest::new(Prompt::Raw("x".to_owned()));
            read::<WritingParameters>(&map(parameters)).unwrap().apply(&mut request);
            request
        };
        let plain = GenerateRequest::new(Prompt::Raw("x".to_owned()));
        assert_eq!(written(json!({ "binary_data_output": true, "top_k": 0 })), plain);
        let said = written(
            json!({ "max_tokens": 3, "temperature": 0.5, "top_k": 7, "seed": u64::MAX, "stop": ["a"] }),
        );
        assert_eq!((said.max_tokens, said.sampling.top_k, said.stop.len()), (3, Some(7), 1));
        assert_eq!(said.sampling.seed, Some(u64::MAX));
    }

    #[test]
    fn a_wrong_parameter_is_named() {
        for (wrong, name) in [
            (json!({ "max_tokens": -1 }), "parameters.max_tokens"),
            (json!({ "max_tokens": 1.5 }), "parameters.max_tokens"),
            (json!({ "temperature": "hot" }), "parameters.temperature"),
            (json!({ "seed": -1 }), "parameters.seed"),
            (json!({ "stop": 5 }), "parameters.stop"),
        ] {
            let error = read::<WritingParameters>(&map(wrong.clone())).unwrap_err();
            assert_eq!((error.status.as_u16(), error.param.as_deref()), (400, Some(name)), "{wrong}");
        }
        let half = DrawingParameters { width: Some(64), ..DrawingParameters::default() };
        assert_eq!(half.request("x".to_owned()).unwrap_err().param.as_deref(), Some("width"));
    }
}
