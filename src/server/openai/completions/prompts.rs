//! What is to be continued, in all forms that a request may give it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use crate::capability::Prompt;

/// The most prompts of a request.
const MOST: usize = 256;
/// The most tokens of a prompt.
const MOST_TOKENS: usize = 1 << 20;

/// At least one prompt.
#[derive(Debug, PartialEq)]
pub(super) struct Prompts(pub(super) Vec<Prompt>);

/// A member of the list: a prompt, or a token of the only one.
enum Member {
    Prompt(Prompt),
    Token(u32),
}

struct ReadPrompts;

impl<'de> Visitor<'de> for ReadPrompts {
    type Value = Prompts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a list of texts, of tokens, or of lists of tokens")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Prompts, E> {
        Ok(Prompts(vec![Prompt::Raw(text.to_owned())]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<Prompts, A::Error> {
        let (mut prompts, mut tokens) = (Vec::new(), Vec::new());
        while let Some(member) = members.next_element::<Member>()? {
            match member {
                Member::Token(token) => tokens.push(token),
                Member::Prompt(prompt) => prompts.push(prompt),
            }
            if !prompts.is_empty() && !tokens.is_empty() {
                return Err(A::Error::custom("tokens of one prompt and other prompts do not go together"));
            }
            if prompts.len() > MOST || tokens.len() > MOST_TOKENS {
                let message = format!("there are more than {MOST} prompts, or {MOST_TOKENS} tokens");
                return Err(A::Error::custom(message));
            }
        }
        if !tokens.is_empty() {
            prompts.push(Prompt::Tokens(tokens));
        }
        if prompts.is_empty() {
            return Err(A::Error::custom("there is no prompt"));
        }
        Ok(Prompts(prompts))
    }
}

impl<'de> Deserialize<'de> for Prompts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReadPrompts)
    }
}

struct ReadMember;

impl<'de> Visitor<'de> for ReadMember {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a token, or a list of tokens")
    }

    fn visit_u64<E: Error>(self, token: u64) -> Result<Member, E> {
        let too_large = |_| E::custom(format!("{token} is no token: it is beyond every vocabulary"));
        u32::try_from(token).map(Member::Token).map_err(too_large)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Member, E> {
        Ok(Member::Prompt(Prompt::Raw(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<Member, A::Error> {
        let mut tokens = Vec::new();
        while let Some(token) = members.next_element()? {
            if tokens.len() == MOST_TOKENS {
                return Err(A::Error::custom(format!("there are more than {MOST_TOKENS} tokens")));
            }
            tokens.push(token);
        }
        Ok(Member::Prompt(Prompt::Tokens(tokens)))
    }
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReadMember)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<Vec<Prompt>> {
        serde_json::from_str::<Prompts>(json).ok().map(|prompts| prompts.0)
    }

    #[test]
    fn each_form_of_prompt_is_read() {
        let (text, tokens) = (|text: &str| Prompt::Raw(text.to_owned()), Prompt::Tokens);
        assert_eq!(read(r#""""#), Some(vec![text("")]));
        assert_eq!(read(r#"["a", "b"]"#), Some(vec![text("a"), text("b")]));
        assert_eq!(read("[1, 2]"), Some(vec![tokens(vec![1, 2])]));
        assert_eq!(read("[[1], [2, 3]]"), Some(vec![tokens(vec![1]), tokens(vec![2, 3])]));
        for wrong in ["[]", "null", "7", "[-1]", "[1, \"a\"]", "[4294967296]", "{}", "[null]", "[1.5]"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(read(&format!("[{}\"\"]", "\"\",".repeat(MOST))), None);
    }
}
