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

/// What a piece of a stream, or a whole answer, says of what it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum UsageTold {
    /// Nothing: the field is not there.
    Nothing,
    /// That it will be told: the field is null.
    Later,
    /// All of it.
    All(Usage),
}

impl UsageTold {
    pub(super) fn is_nothing(&self) -> bool {
        *self == Self::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_later_is_null() {
        assert_eq!(serde_json::to_value(UsageTold::Later).unwrap(), serde_json::Value::Null);
        let all = serde_json::to_value(UsageTold::All(Usage::default())).unwrap();
        assert_eq!(all["total_tokens"], 0);
        assert!(UsageTold::Nothing.is_nothing() && !UsageTold::Later.is_nothing());
    }
}
