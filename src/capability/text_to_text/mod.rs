//! Text in, text out, token by token.

mod answer;
mod chat;
mod extent;
mod options;
mod validate;

pub use answer::{Choice, FinishReason, TextCompletion, Token, TokenLogprob, TokenLogprobs};
pub use chat::{Chat, Message, Role, ToolCall};
pub(crate) use extent::Extent;
use options::MAX_SCHEMA_BYTES;
pub(crate) use options::{MAX_LARK_BYTES, MAX_REGEX_BYTES};
pub use options::{ResponseFormat, SamplingOptions};

use super::Capability;

/// Continues a prompt or answers a conversation.
#[derive(Clone, Copy, Debug)]
pub struct TextToText;

impl Capability for TextToText {
    const NAME: &'static str = "text-to-text";
    type Request = GenerateRequest;
    type Event = Token;
    type Output = TextCompletion;
}

/// What to continue.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    /// Text, given to the tokenizer as it is: what looks like a special token in it becomes one.
    Raw(String),
    /// Tokens of the model's vocabulary, at least one, used as they are: no special token comes around them.
    Tokens(Vec<u32>),
    /// A conversation, put into words by the model's own chat template. What looks like a special token in
    /// it stays text.
    Chat(Chat),
}

#[cfg(feature = "candle")]
impl Prompt {
    /// How many bytes of text it holds, about; a token counts as four.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Raw(text) => text.len(),
            Self::Tokens(ids) => ids.len().saturating_mul(4),
            Self::Chat(chat) => chat.bytes(),
        }
    }
}

impl From<Chat> for Prompt {
    fn from(chat: Chat) -> Self {
        Self::Chat(chat)
    }
}

/// One prompt and how to continue it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct GenerateRequest {
    /// What to continue.
    pub prompt: Prompt,
    /// At most so many tokens in each choice. Default 256.
    pub max_tokens: usize,
    /// How the next token is chosen. Default: the likeliest, always.
    pub sampling: SamplingOptions,
    /// Texts that end the answer; they are not part of it.
    pub stop: Vec<String>,
    /// Tokens that end the answer, beside the model's own.
    pub stop_token_ids: Vec<u32>,
    /// Report the probability of each token, and of so many of the likeliest in its place. Default: neither.
    pub logprobs: Option<usize>,
    /// How many answers, each drawn on its own. Default 1.
    pub n: usize,
    /// What form the answer must have. Default: any.
    pub response_format: ResponseFormat,
}

impl GenerateRequest {
    /// Continues `prompt` with the defaults above.
    pub fn new(prompt: impl Into<Prompt>) -> Self {
        Self {
            prompt: prompt.into(),
            max_tokens: 256,
            sampling: SamplingOptions::default(),
            stop: Vec::new(),
            stop_token_ids: Vec::new(),
            logprobs: None,
            n: 1,
            response_format: ResponseFormat::Text,
        }
    }

    /// Sets [`max_tokens`](Self::max_tokens).
    #[must_use]
    pub fn max_tokens(mut self, max_tokens: usize) -> Self {
        self.max_tokens = max_tokens;
        self
    }

    /// Sets [`sampling`](Self::sampling).
    #[must_use]
    pub fn sampling(mut self, sampling: SamplingOptions) -> Self {
        self.sampling = sampling;
        self
    }
}
