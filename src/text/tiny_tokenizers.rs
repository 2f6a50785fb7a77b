//! Small tokenizers of each kind, for tests.

use std::path::Path;

use serde_json::{Map, Value, json};
use tokenizers::Tokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::prompt_tokenizer::PromptTokenizer;

fn added(first: usize, tokens: &[(&str, bool)]) -> Vec<Value> {
    let token = |(place, (content, special)): (usize, &(&str, bool))| {
        json!({"id": first + place, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": special})
    };
    tokens.iter().enumerate().map(token).collect()
}

fn numbered(tokens: impl IntoIterator<Item = String>) -> Map<String, Value> {
    tokens.into_iter().zip(0..).map(|(token, id)| (token, json!(id))).collect()
}

fn bpe(vocabulary: &Map<String, Value>, merges: &[[&str; 2]], byte_fallback: bool) -> Value {
    json!({"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
           "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": byte_fallback,
           "vocab": vocabulary, "merges": merges})
}

fn library(parts: &Value) -> Tokenizer {
    Tokenizer::from_bytes(parts.to_string()).expect("a tokenizer")
}

/// As GPT-2's heirs have: all bytes, some words, and `ChatML`'s control tokens. `<think>` is no special token.
pub(super) fn byte_level_library() -> Tokenizer {
    let mut alphabet: Vec<String> = ByteLevel::alphabet().into_iter().map(String::from).collect();
    alphabet.sort_unstable();
    let merges =
        [["<", "|"], ["|", ">"], ["i", "m"], ["_", "e"], ["_e", "n"], ["_en", "d"], ["Ġ", "a"], ["s", ">"]];
    let words = merges.iter().map(|pair| pair.concat());
    let vocabulary = numbered(alphabet.into_iter().chain(words));
    let first = vocabulary.len();
    let tokens = [
        ("<|im_start|>", true),
        ("<|im_end|>", true),
        ("<think>", false),
        ("</think>", false),
        ("<s>", true),
    ];
    library(&json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added(first, &tokens),
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": bpe(&vocabulary, &merges, false),
    }))
}

/// As Llama 2 has: characters, `▁` for a space, bytes for the rest, and `<s>` before a text.
pub(super) fn byte_fallback_library() -> Tokenizer {
    let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
    let letters = "▁abcdefghijklmnopqrstuvwxyz<>|/[]_.,:{}\"0123456789é你".chars().map(String::from);
    let merges = [["▁", "a"], ["▁", "th"], ["t", "h"], ["▁th", "e"], ["▁", "▁"]];
    let words = merges.iter().map(|pair| pair.concat());
    let special = ["<unk>", "<s>", "</s>"].map(str::to_owned);
    let vocabulary = numbered(special.into_iter().chain(bytes).chain(letters).chain(words));
    let tokens = [("<unk>", true), ("<s>", true), ("</s>", true)];
    library(&json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added(0, &tokens),
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": null,
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": bpe(&vocabulary, &merges, true),
    }))
}

pub(super) fn byte_level() -> PromptTokenizer {
    PromptTokenizer::new(byte_level_library(), &[]).expect("a small tokenizer")
}

pub(super) fn byte_fallback() -> PromptTokenizer {
    PromptTokenizer::new(byte_fallback_library(), &[]).expect("a small tokenizer")
}

/// As BERT has.
pub(super) fn word_piece() -> PromptTokenizer {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny/shapes-embed/tokenizer.json");
    PromptTokenizer::load(&path, &[]).expect("a small tokenizer")
}
