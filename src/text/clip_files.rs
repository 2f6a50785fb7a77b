//! CLIP's tokenizer as it was first published: `vocab.json` and `merges.txt`.
//!
//! Texts are put in lower case, cut into words by one expression, and words into the pairs of bytes that were merged
//! in training; the last of a word ends in `</w>`. Reference: `tokenization_clip.py` of Hugging Face transformers.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::tokenizer::{TokenizerError, contained, read_bounded};
use super::tokenizer_settings::{ClipTokens, TokenizerSettings};

/// What is one word: what stands for itself, contractions, letters, a digit, anything else but blanks.
const WORDS: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// The tokenizer that these files describe, special tokens as the settings name them.
pub(super) fn read(
    vocabulary: &Path,
    merges: &Path,
    settings: &TokenizerSettings,
) -> Result<tokenizers::Tokenizer, TokenizerError> {
    let invalid = |path: &Path, reason: String| TokenizerError::Invalid { path: path.to_owned(), reason };
    let words: BTreeMap<String, u32> = serde_json::from_slice(&read_bounded(vocabulary)?)
        .map_err(|error| invalid(vocabulary, error.to_string().chars().take(200).collect()))?;
    let text = String::from_utf8(read_bounded(merges)?)
        .map_err(|error| invalid(merges, error.utf8_error().to_string()))?;
    let pairs: Vec<&str> =
        text.lines().filter(|line| !line.is_empty() && !line.starts_with("#version")).collect();
    let special = settings.clip_tokens();
    let id = |token: &str| {
        words.get(token).copied().ok_or_else(|| invalid(vocabulary, format!("it has no token {token:?}")))
    };
    let file = description(&words, &pairs, special, [id(special.start)?, id(special.end)?]);
    let read = contained(|| tokenizers::Tokenizer::from_bytes(file.to_string()));
    read.map_err(|error| error.of_file(vocabulary))
}

/// The `tokenizer.json` that says the same.
fn description(
    words: &BTreeMap<String, u32>,
    merges: &[&str],
    special: ClipTokens<'_>,
    [start, end]: [u32; 2],
) -> Value {
    let mut added = BTreeMap::from([(start, special.start), (end, special.end)]);
    for token in [special.unknown, special.padding] {
        added.extend(words.get(token).map(|id| (*id, token)));
    }
    let added = added.into_iter().map(|(id, content)| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    });
    let added: Vec<Value> = added.collect();
    json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "NFC"}, {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
            {"type": "Lowercase"}]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": WORDS}, "behavior": "Removed", "invert": true},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}]},
        "post_processor": {"type": "RobertaProcessing", "sep": [special.end, end], "cls": [special.start, start],
            "trim_offsets": false, "add_prefix_space": false},
        "model": {"type": "BPE", "unk_token": special.unknown, "continuing_subword_prefix": "",
            "end_of_word_suffix": "</w>", "fuse_unk": false, "byte_fallback": false, "vocab": words,
            "merges": merges},
    })
}
