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

use super::{Capability, Overlong, TokenCount};

/// What an answer that may take all the room there is counts as.
#[cfg(any(feature = "candle", test))]
const USUAL_TOKENS: usize = 256;

/// Continues a prompt or answers a conversation.
#[derive(Clone, Copy, Debug)]
pub struct TextToText;

impl Capability for TextToText {
    const NAME: &'static str = "text-to-text";
    type Request = GenerateRequest;
    type Event = Token;
    type Output = TextCompletion;

    fn tokens(output: &TextCompletion) -> TokenCount {
        output.tokens()
    }
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
    /// What becomes of a request whose prompt leaves less room than [`max_tokens`](Self::max_tokens) in what the model
    /// reads: it is refused, or its answers are cut where the room ends. Default: it is refused.
    pub overlong: Overlong,
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
            overlong: Overlong::Refuse,
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

    /// Sets [`overlong`](Self::overlong).
    #[must_use]
    pub fn overlong(mut self, overlong: Overlong) -> Self {
        self.overlong = overlong;
        self
    }

    /// Sets [`sampling`](Self::sampling).
    #[must_use]
    pub fn sampling(mut self, sampling: SamplingOptions) -> Self {
        self.sampling = sampling;
        self
    }

    /// How many tokens there must be room for in each answer.
    #[cfg(any(feature = "candle", test))]
    pub(crate) fn least_tokens(&self) -> usize {
        match self.overlong {
            Overlong::Refuse => self.max_tokens,
            Overlong::Cut => self.max_tokens.min(1),
        }
    }

    /// How many tokens each answer is likely to have: nobody knows it of one that may take all the room there is.
    #[cfg(any(feature = "candle", test))]
    pub(crate) fn usual_tokens(&self) -> usize {
        match self.overlong {
            Overlong::Refuse => self.max_tokens,
            Overlong::Cut => self.max_tokens.min(USUAL_TOKENS),
        }
    }

    /// Where it may be cut: with at most so many tokens in each answer, but one.
    #[cfg(any(feature = "candle", test))]
    pub(crate) fn cut_to(mut self, room: usize) -> Self {
        if self.overlong == Overlong::Cut {
            self.max_tokens = self.max_tokens.min(room.max(1));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_cut_only_where_it_may_be() {
        let request = GenerateRequest::new(Prompt::Raw("a".to_owned())).max_tokens(1000);
        assert_eq!((request.least_tokens(), request.usual_tokens()), (1000, 1000));
        assert_eq!(request.clone().cut_to(7).max_tokens, 1000);
        let request = request.overlong(Overlong::Cut);
        assert_eq!((request.least_tokens(), request.usual_tokens()), (1, USUAL_TOKENS));
        let cut = |room| request.clone().cut_to(room).max_tokens;
        assert_eq!((cut(7), cut(0), cut(5000)), (7, 1, 1000));
    }
}
