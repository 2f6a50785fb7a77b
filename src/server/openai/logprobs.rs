//! How likely tokens were, in the forms of conversations and of completions.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::capability::{TokenLogprob, TokenLogprobs};

/// What stands for a probability of nothing.
const LOWEST: f32 = -9999.0;

/// The tokens of a conversation's answer, or of a piece of it.
#[derive(Debug, Serialize)]
pub(super) struct ChatLogprobs {
    content: Vec<ChatToken>,
    refusal: (),
}

#[derive(Debug, Serialize)]
struct ChatToken {
    #[serde(flatten)]
    chosen: OneToken,
    top_logprobs: Vec<OneToken>,
}

#[derive(Debug, Serialize)]
struct OneToken {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

impl OneToken {
    fn of(token: &TokenLogprob) -> Self {
        Self { token: spelled(token), logprob: written(token.logprob), bytes: token.bytes.clone() }
    }
}

impl ChatLogprobs {
    pub(super) fn of<'a>(tokens: impl IntoIterator<Item = &'a TokenLogprobs>) -> Self {
        let token = |token: &TokenLogprobs| ChatToken {
            chosen: OneToken::of(&token.chosen),
            top_logprobs: token.top.iter().map(OneToken::of).collect(),
        };
        Self { content: tokens.into_iter().map(token).collect(), refusal: () }
    }
}

/// The tokens of a completion, or of a piece of it.
#[derive(Debug, Default, Serialize)]
pub(super) struct CompletionLogprobs {
    tokens: Vec<String>,
    token_logprobs: Vec<f32>,
    top_logprobs: Vec<Map<String, Value>>,
    /// How many characters of the text come before each.
    text_offset: Vec<usize>,
}

impl CompletionLogprobs {
    /// Of tokens whose text begins `offset` characters in.
    pub(super) fn of<'a>(tokens: impl IntoIterator<Item = &'a TokenLogprobs>, mut offset: usize) -> Self {
        let mut all = Self::default();
        for token in tokens {
            let text = spelled(&token.chosen);
            let length = text.chars().count();
            all.tokens.push(text);
            all.token_logprobs.push(written(token.chosen.logprob));
            let entry = |token: &TokenLogprob| (spelled(token), Value::from(written(token.logprob)));
            all.top_logprobs.push(token.top.iter().map(entry).collect());
            all.text_offset.push(offset);
            offset += length;
        }
        all
    }
}

/// A token as text: one that is part of a character has the mark of what cannot be shown.
fn spelled(token: &TokenLogprob) -> String {
    String::from_utf8_lossy(&token.bytes).into_owned()
}

/// JSON knows no infinity.
fn written(logprob: f32) -> f32 {
    if logprob >= LOWEST { logprob } else { LOWEST }
}

#[cfg(test)]
mod tests {
    use serde_json::{json, to_value};

    use super::*;

    fn token(text: &[u8], logprob: f32) -> TokenLogprobs {
        let chosen = TokenLogprob { id: 7, bytes: text.to_vec(), logprob };
        TokenLogprobs { chosen: chosen.clone(), top: vec![chosen] }
    }

    #[test]
    fn a_conversations_tokens_have_their_bytes() {
        let logprobs = to_value(ChatLogprobs::of([&token(b"\xc3", -0.5)])).unwrap();
        let one = json!({ "token": "\u{fffd}", "logprob": -0.5, "bytes": [195] });
        let mut whole = one.clone();
        whole["top_logprobs"] = json!([one]);
        assert_eq!(logprobs, json!({ "content": [whole], "refusal": null }));
    }

    #[test]
    fn a_completions_tokens_have_their_places() {
        let tokens = [token("é".as_bytes(), f32::NEG_INFINITY), token(b"b", -1.0)];
        let logprobs = to_value(CompletionLogprobs::of(&tokens, 3)).unwrap();
        assert_eq!(logprobs["tokens"], json!(["é", "b"]));
        assert_eq!(logprobs["text_offset"], json!([3, 4]));
        assert_eq!(logprobs["token_logprobs"], json!([-9999.0, -1.0]));
        assert_eq!(logprobs["top_logprobs"], json!([{ "é": -9999.0 }, { "b": -1.0 }]));
    }
}
