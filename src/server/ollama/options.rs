//! How a text is to be written.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::capability::{GenerateRequest, Overlong, ResponseFormat, SamplingOptions};
use crate::server::api_error::ApiError;
use crate::server::json_form::{any_object, compact};
use crate::server::texts::Texts;

/// More than any model has room for.
const MOST_TOKENS: usize = 1 << 24;

/// What `options` may say. What else it says is about Ollama's own way of running models, and is passed over.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Options {
    num_predict: Option<i64>,
    temperature: Option<f32>,
    top_k: Option<i64>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    seed: Option<i64>,
    stop: Texts,
    repeat_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    mirostat: Option<i64>,
    typical_p: Option<f32>,
}

impl Options {
    /// What `options` say.
    ///
    /// # Errors
    ///
    /// 400 with the one that is wrong.
    pub(super) fn read(options: Option<Map<String, Value>>) -> Result<Self, ApiError> {
        serde_path_to_error::deserialize(Value::Object(options.unwrap_or_default())).map_err(|error| {
            let param: String = format!("options.{}", error.path()).chars().take(128).collect();
            let message = format!("{param}: {}", error.inner());
            ApiError::invalid(param, message)
        })
    }

    /// Has `request` written so, with what Ollama does where nothing is said.
    ///
    /// # Errors
    ///
    /// 400 for ways to sample that there are not.
    pub(super) fn apply(self, request: &mut GenerateRequest) -> Result<(), ApiError> {
        if self.mirostat.unwrap_or(0) != 0 {
            return Err(ApiError::invalid("options.mirostat", "there is no Mirostat sampling here"));
        }
        if self.typical_p.is_some_and(|share| share < 1.0) {
            return Err(ApiError::invalid("options.typical_p", "there is no typical sampling here"));
        }
        let mut sampling = SamplingOptions::with_temperature(self.temperature.unwrap_or(0.8));
        sampling.top_k = usize::try_from(self.top_k.unwrap_or(40)).ok().filter(|k| *k > 0);
        sampling.top_p = self.top_p.unwrap_or(0.9);
        sampling.min_p = self.min_p.unwrap_or(0.0);
        // Ollama's clients write -1 for any seed; the same number is the same seed, of whatever sign.
        sampling.seed = self.seed.filter(|seed| *seed != -1).map(i64::cast_unsigned);
        sampling.repetition_penalty = self.repeat_penalty.unwrap_or(1.0);
        sampling.presence_penalty = self.presence_penalty.unwrap_or(0.0);
        sampling.frequency_penalty = self.frequency_penalty.unwrap_or(0.0);
        request.sampling = sampling;
        let most = self.num_predict.and_then(|most| usize::try_from(most).ok()).filter(|most| *most > 0);
        (request.max_tokens, request.overlong) = (most.unwrap_or(MOST_TOKENS), Overlong::Cut);
        request.stop = self.stop.0;
        request.stop.retain(|stop| !stop.is_empty());
        Ok(())
    }
}

/// The form that `format` asks for: `"json"`, or a JSON schema.
///
/// # Errors
///
/// 400 for anything else.
pub(super) fn form(format: Option<Value>) -> Result<ResponseFormat, ApiError> {
    match format {
        None | Some(Value::Null) => Ok(ResponseFormat::Text),
        Some(Value::String(name)) if name.is_empty() => Ok(ResponseFormat::Text),
        Some(Value::String(name)) if name == "json" => Ok(any_object()),
        Some(schema @ Value::Object(_)) => Ok(compact(schema)),
        Some(_) => Err(ApiError::invalid("format", "it is neither \"json\" nor a JSON schema")),
    }
}

/// Whether a model is to think before it answers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Think {
    Whether(bool),
    /// `low`, `medium` or `high`.
    Effort(String),
}

impl Think {
    /// What the model's template is told.
    pub(super) fn template_args(&self) -> Result<Map<String, Value>, ApiError> {
        let mut args = Map::new();
        match self {
            Self::Whether(whether) => drop(args.insert("enable_thinking".to_owned(), (*whether).into())),
            Self::Effort(effort) if matches!(effort.as_str(), "low" | "medium" | "high") => {
                args.insert("enable_thinking".to_owned(), true.into());
                args.insert("reasoning_effort".to_owned(), effort.as_str().into());
            }
            Self::Effort(_) => {
                return Err(ApiError::invalid("think", "it is none of true, false, low, medium and high"));
            }
        }
        Ok(args)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::capability::Prompt;

    fn written(options: Value) -> Result<GenerateRequest, ApiError> {
        let mut request = GenerateRequest::new(Prompt::Raw("x".to_owned()));
        let Value::Object(options) = options else { panic!("options are an object") };
        Options::read(Some(options))?.apply(&mut request)?;
        Ok(request)
    }

    #[test]
    fn who_says_nothing_gets_what_ollama_does() {
        let SamplingOptions { temperature, top_k, top_p, min_p, seed, repetition_penalty, .. } =
            written(json!({ "num_ctx": 4096, "num_gpu": 1 })).unwrap().sampling;
        assert_eq!(
            (temperature, top_k, top_p, min_p, seed, repetition_penalty),
            (0.8, Some(40), 0.9, 0.0, None, 1.0)
        );
    }

    #[test]
    fn what_is_said_is_done() {
        let request =
            written(json!({ "num_predict": 5, "top_k": 0, "temperature": 0, "seed": 7, "stop": ["a", ""] }));
        let request = request.unwrap();
        assert_eq!((request.max_tokens, request.sampling.top_k, request.sampling.seed), (5, None, Some(7)));
        assert_eq!(request.stop, ["a"]);
        assert_eq!(written(json!({ "num_predict": -1 })).unwrap().max_tokens, MOST_TOKENS);
        assert!(written(json!({ "mirostat": 2 })).is_err());
        assert!(written(json!({ "typical_p": 0.5 })).is_err());
        let wrong = written(json!({ "temperature": "hot" })).unwrap_err();
        assert_eq!(wrong.param.as_deref(), Some("options.temperature"));
    }

    #[test]
    fn forms_are_json_or_a_schema() {
        assert_eq!(form(None), Ok(ResponseFormat::Text));
        assert_eq!(form(Some(json!(""))), Ok(ResponseFormat::Text));
        assert_eq!(form(Some(json!("json"))), Ok(any_object()));
        assert_eq!(form(Some(json!({ "enum": [1] }))), Ok(compact(json!({ "enum": [1] }))));
        for wrong in [json!("xml"), json!(1), json!([])] {
            assert!(form(Some(wrong)).is_err());
        }
    }

    #[test]
    fn thinking_is_told_to_the_template() {
        let args = |json: Value| serde_json::from_value::<Think>(json).unwrap().template_args();
        assert_eq!(args(json!(false)).unwrap()["enable_thinking"], false);
        assert_eq!(args(json!("high")).unwrap()["reasoning_effort"], "high");
        assert!(args(json!("fast")).is_err());
    }
}
