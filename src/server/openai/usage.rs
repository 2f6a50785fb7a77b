//! What an answer took.

use serde::Serialize;

use crate::capability::TextCompletion;

/// Tokens read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Usage {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
    prompt_tokens_details: PromptDetails,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct PromptDetails {
    cached_tokens: usize,
}

impl Usage {
    /// Of all `completions` together.
    pub(super) fn of<'a>(completions: impl IntoIterator<Item = &'a TextCompletion>) -> Self {
        completions.into_iter().fold(Self::default(), |mut sum, completion| {
            sum.prompt_tokens += completion.prompt_tokens();
            sum.completion_tokens += completion.completion_tokens();
            sum.total_tokens = sum.prompt_tokens + sum.completion_tokens;
            sum.prompt_tokens_details.cached_tokens += completion.cached_prompt_tokens;
            sum
        })
    }
}
