//! What is to be embedded or continued, in all forms that a request may give it.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// The most tokens of an item.
const MOST_TOKENS: usize = 1 << 20;

/// Texts, tokens and pictures, at least one and at most so many.
#[derive(Debug, PartialEq)]
pub(super) struct Items<const MOST: usize>(pub(super) Vec<Item>);

#[derive(Debug, PartialEq)]
pub(super) enum Item {
    Text(String),
    /// Not empty.
    Tokens(Vec<u32>),
    /// Where it is.
    Picture(String),
}

impl Item {
    /// Whether it is a text without a letter.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Text(text) if text.is_empty())
    }

    /// Where it is, if it is a picture.
    pub(super) fn picture(&self) -> Option<&str> {
        if let Self::Picture(url) = self { Some(url) } else { None }
    }

    pub(super) fn is_picture(&self) -> bool {
        self.picture().is_some()
    }
}

/// A member of the list: an item, or a token of the only item.
enum Member {
    Item(Item),
    Token(u32),
}

/// `{"text": ...}`, `{"image": ...}`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
enum Named {
    #[serde(rename = "text")]
    Text(String),
    #[serde(rename = "image", alias = "image_url")]
    Image(String),
}

impl From<Named> for Item {
    fn from(named: Named) -> Self {
        match named {
            Named::Text(text) => Self::Text(text),
            Named::Image(url) => Self::Picture(url),
        }
    }
}

struct ReadItems<const MOST: usize>;

impl<'de, const MOST: usize> Visitor<'de> for ReadItems<MOST> {
    type Value = Items<MOST>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a list of texts, of tokens, or of lists of tokens")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Items<MOST>, E> {
        self.visit_string(text.to_owned())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Items<MOST>, E> {
        Ok(Items(vec![Item::Text(text)]))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Items<MOST>, A::Error> {
        let named = Named::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Items(vec![named.into()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<Items<MOST>, A::Error> {
        let (mut items, mut tokens) = (Vec::new(), Vec::new());
        while let Some(member) = members.next_element::<Member>()? {
            match member {
                Member::Token(token) => tokens.push(token),
                Member::Item(item) => items.push(item),
            }
            if !items.is_empty() && !tokens.is_empty() {
                return Err(A::Error::custom("tokens of one text and other items do not go together"));
            }
            if items.len() > MOST || tokens.len() > MOST_TOKENS {
                let message = format!("there are more than {MOST} items, or {MOST_TOKENS} tokens");
                return Err(A::Error::custom(message));
            }
        }
        if !tokens.is_empty() {
            items.push(Item::Tokens(tokens));
        }
        if items.is_empty() {
            return Err(A::Error::custom("the list is empty"));
        }
        Ok(Items(items))
    }
}

impl<'de, const MOST: usize> Deserialize<'de> for Items<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReadItems)
    }
}

struct ReadMember;

impl<'de> Visitor<'de> for ReadMember {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a token, a list of tokens, or {\"image\": \"data:...\"}")
    }

    fn visit_u64<E: Error>(self, token: u64) -> Result<Member, E> {
        let too_large = |_| E::custom(format!("{token} is no token: it is beyond every vocabulary"));
        u32::try_from(token).map(Member::Token).map_err(too_large)
    }

    fn visit_i64<E: Error>(self, token: i64) -> Result<Member, E> {
        Err(E::custom(format!("{token} is no token: it is negative")))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Member, E> {
        self.visit_string(text.to_owned())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Member, E> {
        Ok(Member::Item(Item::Text(text)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Member, A::Error> {
        let named = Named::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Member::Item(named.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<Member, A::Error> {
        let mut tokens = Vec::new();
        while let Some(token) = members.next_element()? {
            if tokens.len() == MOST_TOKENS {
                return Err(A::Error::custom(format!("there are more than {MOST_TOKENS} tokens")));
            }
            tokens.push(token);
        }
        if tokens.is_empty() {
            return Err(A::Error::custom("there are no tokens"));
        }
        Ok(Member::Item(Item::Tokens(tokens)))
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

    fn read(json: &str) -> Option<Vec<Item>> {
        serde_json::from_str::<Items<8>>(json).ok().map(|items| items.0)
    }

    fn text(text: &str) -> Item {
        Item::Text(text.to_owned())
    }

    #[test]
    fn each_form_of_input_is_read() {
        assert_eq!(read(r#""a""#), Some(vec![text("a")]));
        assert_eq!(read(r#"["a", "b"]"#), Some(vec![text("a"), text("b")]));
        assert_eq!(read("[1, 2, 3]"), Some(vec![Item::Tokens(vec![1, 2, 3])]));
        assert_eq!(read("[[1], [2, 3]]"), Some(vec![Item::Tokens(vec![1]), Item::Tokens(vec![2, 3])]));
        let picture = || Item::Picture("data:x".to_owned());
        assert_eq!(read(r#"{"image": "data:x"}"#), Some(vec![picture()]));
        assert_eq!(
            read(r#"[{"image": "data:x"}, {"text": "a"}, "b"]"#),
            Some(vec![picture(), text("a"), text("b")])
        );
    }

    #[test]
    fn what_is_no_input_is_refused() {
        for wrong in [
            "[]",
            "[[]]",
            "null",
            "7",
            "[-1]",
            "[4294967296]",
            "[1.5]",
            "[1, \"a\"]",
            "[\"a\", 1]",
            "[null]",
            "[[\"a\"]]",
            "[{}]",
            "[{\"image\": 1}]",
            "[{\"image\": \"a\", \"text\": \"b\"}]",
            "true",
            "[[[1]]]",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        let many = |count: usize| format!("[{}]", vec!["\"\""; count].join(","));
        assert_eq!(read(&many(8)).unwrap().len(), 8);
        assert_eq!(read(&many(9)), None);
    }
}
