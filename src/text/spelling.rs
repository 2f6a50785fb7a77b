//! How a vocabulary spells bytes: what each token stands for in a text.

use serde_json::Value;
use tokenizers::DecoderWrapper;

/// How the tokens of a vocabulary are spelt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// Every byte is written as a character of its own (GPT-2 and all its heirs).
    ByteLevel,
    /// Characters are written as themselves, spaces as `▁`; bytes that belong to none, as `<0x0A>`
    /// (`SentencePiece` with byte fallback).
    ByteFallback,
    /// Characters are written as themselves, spaces as `▁`.
    Metaspace,
    /// Where spaces go depends on the tokens around (`WordPiece` and others).
    Words,
}

impl Spelling {
    /// What the tokenizer's decoder undoes.
    pub(super) fn of(decoder: Option<&DecoderWrapper>) -> Self {
        let parts = decoder.and_then(|decoder| serde_json::to_value(decoder).ok());
        let mut kinds = Vec::new();
        parts.iter().for_each(|parts| collect_kinds(parts, &mut kinds));
        let has = |kind: &str| kinds.iter().any(|known| known == kind);
        match kinds.as_slice() {
            [only] if only == "ByteLevel" => Self::ByteLevel,
            _ if has("ByteFallback") => Self::ByteFallback,
            [only] if only == "Metaspace" => Self::Metaspace,
            _ => Self::Words,
        }
    }

    /// The byte that this token alone stands for, where that is all it is for.
    pub(super) fn lone_byte(self, token: &str) -> Option<u8> {
        let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
        let is_byte = self == Self::ByteFallback && digits.len() == 2;
        if is_byte { u8::from_str_radix(digits, 16).ok() } else { None }
    }

    /// What `token` stands for, in the middle of a text.
    pub(super) fn bytes(self, token: &str) -> Vec<u8> {
        match self {
            // A token with any other character was added as it is; the library's decoder reads it the same way.
            Self::ByteLevel => token
                .chars()
                .map(byte_of)
                .collect::<Option<Vec<u8>>>()
                .unwrap_or_else(|| token.as_bytes().to_vec()),
            Self::ByteFallback | Self::Metaspace => match self.lone_byte(token) {
                Some(byte) => vec![byte],
                None => token.replace('▁', " ").into_bytes(),
            },
            Self::Words => token.as_bytes().to_vec(),
        }
    }
}

/// The kinds of a decoder's parts, in their order.
fn collect_kinds(decoder: &Value, kinds: &mut Vec<String>) {
    match decoder.get("decoders").and_then(Value::as_array) {
        Some(parts) => parts.iter().for_each(|part| collect_kinds(part, kinds)),
        None => kinds.extend(decoder.get("type").and_then(Value::as_str).map(str::to_owned)),
    }
}

/// The byte that GPT-2's vocabulary writes as `c`. Bytes that print stand for themselves (in Latin-1); the
/// others, in their order, are the characters from 256 on.
fn byte_of(c: char) -> Option<u8> {
    match u32::from(c) {
        code @ (0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF) => Some(code as u8),
        code @ 0x100..=0x120 => Some((code - 0x100) as u8),
        code @ 0x121..=0x142 => Some((code - 0x121 + 0x7F) as u8),
        0x143 => Some(0xAD),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    use super::*;

    #[test]
    fn every_byte_has_a_character_of_its_own() {
        let alphabet = ByteLevel::alphabet();
        let bytes: BTreeSet<u8> = alphabet.iter().filter_map(|c| byte_of(*c)).collect();
        assert_eq!((alphabet.len(), bytes.len()), (256, 256));
        let written = [('Ġ', b' '), ('Ċ', b'\n'), ('ł', 0xA0), ('Ń', 0xAD), ('a', b'a'), ('é', 0xE9)];
        assert!(written.into_iter().all(|(c, byte)| byte_of(c) == Some(byte)));
    }

    #[test]
    fn spellings_are_told_by_the_decoder() {
        let of = |json: &str| Spelling::of(Some(&serde_json::from_str(json).unwrap()));
        let byte_level =
            r#"{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}"#;
        let fallback = r#"{"type":"Sequence","decoders":[
            {"type":"Replace","pattern":{"String":"▁"},"content":" "},
            {"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]}"#;
        let word_piece = r###"{"type":"WordPiece","prefix":"##","cleanup":true}"###;
        assert_eq!(of(byte_level), Spelling::ByteLevel);
        assert_eq!(of(fallback), Spelling::ByteFallback);
        assert_eq!(of(word_piece), Spelling::Words);
        assert_eq!(Spelling::of(None), Spelling::Words);
        assert_eq!(Spelling::ByteLevel.bytes("ĠaÃ©"), " aé".as_bytes());
        assert_eq!(Spelling::ByteFallback.bytes("<0xC3>"), [0xC3]);
        assert_eq!(Spelling::ByteFallback.bytes("▁a"), b" a");
        assert_eq!(Spelling::Metaspace.bytes("<0xC3>"), b"<0xC3>");
    }
}
