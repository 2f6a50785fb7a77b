//! What no model would accept, found before any of them sees it.

use std::fmt::Display;
use std::ops::RangeInclusive;

use serde_json::Value;

use super::{
    Chat, Extent, GenerateRequest, MAX_LARK_BYTES, MAX_REGEX_BYTES, MAX_SCHEMA_BYTES, Prompt, ResponseFormat,
    SamplingOptions,
};
use crate::capability::InvalidRequest;

/// All text of a prompt together. A million tokens of English have half as much.
const MAX_PROMPT_BYTES: usize = 8 << 20;
/// More than any model reads.
const MAX_PROMPT_TOKENS: usize = MAX_PROMPT_BYTES / 4;
const MAX_MESSAGES: usize = 16_384;
/// How many tools there may be, and how many calls in one message.
const MAX_TOOLS: usize = 1_024;
/// How deep tools, arguments and schemas may nest. Libraries walk them by recursion.
const MAX_DEPTH: usize = 64;
const MAX_STOPS: usize = 16;
const MAX_STOP_BYTES: usize = 1_024;
const MAX_BIASES: usize = 1_024;

impl GenerateRequest {
    /// Refuses what is out of range for any model. What depends on the model's vocabulary and length is for
    /// the model to check.
    pub fn validate(&self) -> Result<(), InvalidRequest> {
        range("max_tokens", self.max_tokens, 1..=1 << 24)?;
        range("n", self.n, 1..=64)?;
        range("logprobs", self.logprobs.unwrap_or(0), 0..=20)?;
        range("stop_token_ids", self.stop_token_ids.len(), 0..=64)?;
        range("stop", self.stop.len(), 0..=MAX_STOPS)?;
        for stop in &self.stop {
            range("stop", stop.len(), 1..=MAX_STOP_BYTES)?;
        }
        self.sampling.validate()?;
        self.response_format.validate()?;
        match &self.prompt {
            Prompt::Raw(text) => range("prompt", text.len(), 0..=MAX_PROMPT_BYTES),
            Prompt::Tokens(ids) => range("prompt", ids.len(), 1..=MAX_PROMPT_TOKENS),
            Prompt::Chat(chat) => chat.validate(),
        }
    }
}

impl SamplingOptions {
    fn validate(&self) -> Result<(), InvalidRequest> {
        range("repetition_penalty", self.repetition_penalty, 0.01..=100.0)?;
        range("frequency_penalty", self.frequency_penalty, -2.0..=2.0)?;
        range("presence_penalty", self.presence_penalty, -2.0..=2.0)?;
        range("logit_bias", self.logit_bias.len(), 0..=MAX_BIASES)?;
        for bias in self.logit_bias.values() {
            range("logit_bias", *bias, -100.0..=100.0)?;
        }
        range("temperature", self.temperature, 0.0..=100.0)?;
        range("top_k", self.top_k.unwrap_or(1), 1..=usize::MAX)?;
        range("top_p", self.top_p, f32::MIN_POSITIVE..=1.0)?;
        range("min_p", self.min_p, 0.0..=1.0)
    }
}

impl ResponseFormat {
    pub(crate) fn validate(&self) -> Result<(), InvalidRequest> {
        let (size, most) = match self {
            Self::Text => return Ok(()),
            Self::JsonSchema(schema) => (shallow("response_format", schema)?.bytes, MAX_SCHEMA_BYTES),
            Self::Regex(text) => (text.len(), MAX_REGEX_BYTES),
            Self::Lark(text) => (text.len(), MAX_LARK_BYTES),
        };
        range("response_format", size, 1..=most)
    }
}

impl Chat {
    fn validate(&self) -> Result<(), InvalidRequest> {
        range("messages", self.messages.len(), 1..=MAX_MESSAGES)?;
        for message in &self.messages {
            range("tool_calls", message.tool_calls.len(), 0..=MAX_TOOLS)?;
            for call in &message.tool_calls {
                shallow("tool_calls", &call.arguments)?;
            }
        }
        range("tools", self.tools.len(), 0..=MAX_TOOLS)?;
        for tool in &self.tools {
            shallow("tools", tool)?;
        }
        for (name, value) in &self.template_args {
            if Self::OWN_VARIABLES.contains(&name.as_str()) {
                let reason = format!("{name:?} is the template's own and cannot be set");
                return Err(InvalidRequest::new("template_args", reason));
            }
            shallow("template_args", value)?;
        }
        range("messages", self.bytes(), 0..=MAX_PROMPT_BYTES)
    }
}

/// Refuses `value` if it nests too deep.
fn shallow(field: &'static str, value: &Value) -> Result<Extent, InvalidRequest> {
    let extent = Extent::of(value);
    if extent.depth <= MAX_DEPTH {
        return Ok(extent);
    }
    Err(InvalidRequest::new(field, format!("it is nested deeper than {MAX_DEPTH} levels")))
}

/// Refuses `value` outside `allowed`, not-a-number too.
fn range<T: PartialOrd + Display + Copy>(
    field: &'static str,
    value: T,
    allowed: RangeInclusive<T>,
) -> Result<(), InvalidRequest> {
    if allowed.contains(&value) {
        return Ok(());
    }
    let (min, max) = allowed.into_inner();
    Err(InvalidRequest::new(field, format!("{value} is not in {min}..={max}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::capability::{Message, ToolCall};

    fn raw() -> GenerateRequest {
        GenerateRequest::new(Prompt::Raw("x".to_owned()))
    }

    /// The field that `change` makes invalid.
    fn refused(change: impl FnOnce(&mut GenerateRequest)) -> &'static str {
        let mut request = raw();
        change(&mut request);
        request.validate().map_or_else(|error| error.field, |()| "nothing")
    }

    #[test]
    fn numbers_out_of_range_are_refused_by_name() {
        assert_eq!(refused(|_| ()), "nothing");
        assert_eq!(refused(|r| r.max_tokens = 0), "max_tokens");
        assert_eq!(refused(|r| r.max_tokens = usize::MAX), "max_tokens");
        assert_eq!(refused(|r| r.n = 0), "n");
        assert_eq!(refused(|r| r.n = 1_000_000), "n");
        assert_eq!(refused(|r| r.logprobs = Some(21)), "logprobs");
        assert_eq!(refused(|r| r.logprobs = Some(0)), "nothing");
        assert_eq!(refused(|r| r.sampling.top_k = Some(0)), "top_k");
        assert_eq!(refused(|r| r.sampling.top_k = Some(usize::MAX)), "nothing");
        for bad in [f32::NAN, f32::INFINITY, -0.5, -1e30] {
            assert_eq!(refused(|r| r.sampling.temperature = bad), "temperature");
            assert_eq!(refused(|r| r.sampling.min_p = bad), "min_p");
            assert_eq!(refused(|r| r.sampling.top_p = bad), "top_p");
            assert_eq!(refused(|r| r.sampling.repetition_penalty = bad), "repetition_penalty");
        }
        for bad in [f32::NAN, f32::NEG_INFINITY, 2.5, -1e30] {
            assert_eq!(refused(|r| r.sampling.presence_penalty = bad), "presence_penalty");
            assert_eq!(refused(|r| r.sampling.frequency_penalty = bad), "frequency_penalty");
        }
        for bad in [0.0, 1.5] {
            assert_eq!(refused(|r| r.sampling.top_p = bad), "top_p");
        }
        assert_eq!(refused(|r| r.sampling.logit_bias = [(3, f32::NAN)].into()), "logit_bias");
        assert_eq!(
            refused(|r| r.sampling.logit_bias = (0..2_000).map(|id| (id, 1.0)).collect()),
            "logit_bias"
        );
    }

    #[test]
    fn a_prompt_of_tokens_has_some_and_not_too_many() {
        assert_eq!(refused(|r| r.prompt = Prompt::Tokens(vec![1])), "nothing");
        assert_eq!(refused(|r| r.prompt = Prompt::Tokens(Vec::new())), "prompt");
        assert_eq!(refused(|r| r.prompt = Prompt::Tokens(vec![1; MAX_PROMPT_TOKENS + 1])), "prompt");
    }

    #[test]
    fn stops_are_few_short_and_not_empty() {
        assert_eq!(refused(|r| r.stop = vec!["\n".to_owned(); 16]), "nothing");
        assert_eq!(refused(|r| r.stop = vec!["\n".to_owned(); 17]), "stop");
        assert_eq!(refused(|r| r.stop = vec![String::new()]), "stop");
        assert_eq!(refused(|r| r.stop = vec!["x".repeat(2_000)]), "stop");
        assert_eq!(refused(|r| r.stop_token_ids = vec![1; 65]), "stop_token_ids");
    }

    #[test]
    fn conversations_are_held_to_their_limits() {
        let refused = |change: &dyn Fn(&mut Chat)| {
            let mut chat = Chat::new(vec![Message::user("hi")]);
            change(&mut chat);
            GenerateRequest::new(chat).validate().map_or_else(|error| error.field, |()| "nothing")
        };
        let deep = (0..200).fold(Value::Null, |inside, _| json!([inside]));
        assert_eq!(refused(&|_| ()), "nothing");
        assert_eq!(refused(&|chat| chat.messages.clear()), "messages");
        assert_eq!(refused(&|chat| chat.messages[0].content = "x".repeat(9 << 20)), "messages");
        assert_eq!(refused(&|chat| chat.tools = vec![deep.clone()]), "tools");
        assert_eq!(refused(&|chat| chat.tools = vec![json!({}); 1_024]), "nothing");
        assert_eq!(refused(&|chat| chat.tools = vec![json!({}); 1_025]), "tools");
        for name in Chat::OWN_VARIABLES {
            let args = [(name.to_owned(), json!(1))];
            assert_eq!(refused(&|chat| chat.template_args = args.clone().into()), "template_args", "{name}");
        }
        assert_eq!(
            refused(&|chat| chat.template_args = [("now".to_owned(), deep.clone())].into()),
            "template_args"
        );
        let call = ToolCall { id: None, name: "look".to_owned(), arguments: deep.clone() };
        assert_eq!(refused(&|chat| chat.messages[0].tool_calls.push(call.clone())), "tool_calls");
        let call = ToolCall { arguments: json!({}), ..call.clone() };
        assert_eq!(refused(&|chat| chat.messages[0].tool_calls = vec![call.clone(); 1_024]), "nothing");
        assert_eq!(refused(&|chat| chat.messages[0].tool_calls = vec![call.clone(); 1_025]), "tool_calls");
        let long = ToolCall { id: Some("x".repeat(9 << 20)), ..call.clone() };
        assert_eq!(refused(&|chat| chat.messages[0].tool_calls.push(long.clone())), "messages");
    }

    #[test]
    fn formats_are_held_to_their_limits() {
        type Form = fn(String) -> ResponseFormat;
        let deep = (0..200).fold(Value::Null, |inside, _| json!({ "not": inside }));
        assert_eq!(refused(|r| r.response_format = ResponseFormat::JsonSchema(deep)), "response_format");
        assert_eq!(refused(|r| r.response_format = ResponseFormat::Regex(String::new())), "response_format");
        let forms: [(Form, usize); 3] = [
            (ResponseFormat::Regex, MAX_REGEX_BYTES),
            (ResponseFormat::Lark, MAX_LARK_BYTES),
            (|text| ResponseFormat::JsonSchema(json!({ "const": text })), MAX_SCHEMA_BYTES - 21),
        ];
        for (form, most) in forms {
            assert_eq!(refused(|r| r.response_format = form("x".repeat(most))), "nothing");
            assert_eq!(refused(|r| r.response_format = form("x".repeat(most + 1))), "response_format");
        }
    }
}
