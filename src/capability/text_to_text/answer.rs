//! What comes back: tokens on the way, then the whole answer.

use crate::capability::TokenCount;

/// One generated token.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// Which of the request's answers it belongs to, counting from 0.
    pub choice: usize,
    /// Its number in the vocabulary.
    pub id: u32,
    /// What it adds to the text: whole characters only, so it may be empty. Text that could still turn into
    /// a stop text is held back and comes with a later token, or in [`Choice::text`] alone.
    pub text: String,
    /// How likely it was, where the request asks.
    pub logprobs: Option<TokenLogprobs>,
}

/// How likely a generated token was, and what else was.
///
/// Both are the model's own opinion: of its logits as they come, before penalties, bias and temperature.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprobs {
    /// The token that was taken.
    pub chosen: TokenLogprob,
    /// As many of the likeliest as were asked for, likeliest first. The token taken need not be one of them.
    pub top: Vec<TokenLogprob>,
}

/// How likely one token was.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    /// Its number in the vocabulary.
    pub id: u32,
    /// What it stands for: not always whole characters. Empty for a special token.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability.
    pub logprob: f32,
}

/// Why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended it, or a stop text or token was met, or the required form is complete.
    Stop,
    /// The limit on tokens was met.
    Length,
}

/// The whole answer.
#[derive(Clone, Debug, PartialEq)]
pub struct TextCompletion {
    /// As many as [`n`](super::GenerateRequest::n) asks for.
    pub choices: Vec<Choice>,
    /// The tokens of the prompt, special ones included.
    pub prompt_token_ids: Vec<u32>,
    /// How many of them, from the first, were known from earlier requests and not computed again.
    pub cached_prompt_tokens: usize,
}

impl TextCompletion {
    /// How many tokens the prompt had.
    pub fn prompt_tokens(&self) -> usize {
        self.prompt_token_ids.len()
    }

    /// How many tokens were generated, over all choices.
    pub fn completion_tokens(&self) -> usize {
        self.choices.iter().map(|choice| choice.token_ids.len()).sum()
    }

    /// Both.
    pub(crate) fn tokens(&self) -> TokenCount {
        TokenCount { prompt: self.prompt_tokens() as u64, completion: self.completion_tokens() as u64 }
    }
}

/// One of the answers to a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The generated text, without what ended it.
    pub text: String,
    /// Every sampled token, the ending one too.
    pub token_ids: Vec<u32>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// One for each of `token_ids`, where the request asks; else empty.
    pub logprobs: Vec<TokenLogprobs>,
}
