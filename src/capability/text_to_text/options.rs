//! How the next token is chosen.

use std::collections::BTreeMap;

use serde_json::Value;

/// How the next token is chosen from the model's logits.
///
/// Applied in the order of the fields, as in transformers and, up to where min-p stands, in vLLM:
/// penalties, bias, what the response format allows, temperature, top-k, top-p, min-p, and then the draw.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SamplingOptions {
    /// Divides the positive and multiplies the negative logits of every token of the prompt and of the text
    /// so far. Over 1 it discourages repetition. In 0.01..=100; default 1.
    pub repetition_penalty: f32,
    /// Taken off the logit of every token of the text so far, times how often it occurred. In -2..=2;
    /// default 0.
    pub frequency_penalty: f32,
    /// Taken off the logit of every token of the text so far, once. In -2..=2; default 0.
    pub presence_penalty: f32,
    /// Added to the logits of these tokens. In -100..=100.
    pub logit_bias: BTreeMap<u32, f32>,
    /// 0 (or less than a hundred-thousandth) takes the likeliest token always; 1 samples as the model
    /// learnt. In 0..=100; default 0.
    pub temperature: f32,
    /// Sample only from so many of the likeliest tokens, and those just as likely as the last of them.
    /// At least 1; default: from all.
    pub top_k: Option<usize>,
    /// Sample only from the likeliest tokens that together have this probability. Over 0, up to 1; default
    /// 1: from all.
    pub top_p: f32,
    /// Sample only from tokens with at least this share of the likeliest one's probability. In 0..=1;
    /// default 0: from all.
    pub min_p: f32,
    /// The same seed gives the same text. Default: another one each time.
    pub seed: Option<u64>,
}

impl SamplingOptions {
    /// The likeliest token, always.
    pub fn greedy() -> Self {
        Self {
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: BTreeMap::new(),
            temperature: 0.0,
            top_k: None,
            top_p: 1.0,
            min_p: 0.0,
            seed: None,
        }
    }

    /// Samples at `temperature`, from all tokens.
    pub fn with_temperature(temperature: f32) -> Self {
        Self { temperature, ..Self::greedy() }
    }
}

impl Default for SamplingOptions {
    fn default() -> Self {
        Self::greedy()
    }
}

/// The longest regular expression, in bytes.
pub(crate) const MAX_REGEX_BYTES: usize = 8 << 10;

/// The longest grammar, in bytes.
pub(crate) const MAX_LARK_BYTES: usize = 32 << 10;

/// The largest schema, by [`Extent`](super::Extent).
pub(super) const MAX_SCHEMA_BYTES: usize = 1 << 20;

/// What form an answer must have. Only tokens that can still lead there are sampled.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum ResponseFormat {
    /// Any text.
    #[default]
    Text,
    /// JSON that this JSON schema accepts, of at most about 1 MiB. `{"type": "object"}` asks for any object.
    JsonSchema(Value),
    /// A text that this regular expression, of at most 8 KiB, matches as a whole.
    Regex(String),
    /// A text of the language that this grammar, in the notation of Lark and of at most 32 KiB, describes.
    Lark(String),
}
