//! Tokenizers from GGUF files, against those they were made from.

use std::collections::BTreeMap;
use std::fs;

use millpond::weights::gguf::{GgufTokenizer, SpecialTokens, Texts, VocabularyFlaw};
use millpond::weights::{GgufError, GgufFile};
use serde::Deserialize;

use crate::gguf_fixture::{Written, bool_value, f32_list, fixture, i32_list, text, texts, u32_value};

#[derive(Deserialize)]
struct Golden {
    texts: Vec<String>,
    bytes: BTreeMap<String, Encoded>,
    pieces: BTreeMap<String, Encoded>,
}

#[derive(Deserialize)]
struct Encoded {
    ids: Vec<Vec<u32>>,
    decoded: Vec<String>,
}

fn golden() -> Golden {
    serde_json::from_slice(&fs::read(fixture("tokens.json")).unwrap()).unwrap()
}

/// The keys of a fixture, to be written again with others.
fn rewritten(name: &str) -> Written {
    let file = GgufFile::open(fixture(name)).unwrap();
    let list = |key: &str| file.get::<&Texts>(key).unwrap().map(|list| texts(list.iter()));
    let kinds: Vec<i32> = file.require("tokenizer.ggml.token_type").unwrap();
    let mut written = Written::default()
        .key("tokenizer.ggml.model", text(file.require("tokenizer.ggml.model").unwrap()))
        .key("tokenizer.ggml.tokens", list("tokenizer.ggml.tokens").unwrap())
        .key("tokenizer.ggml.token_type", i32_list(&kinds));
    if let Some(merges) = list("tokenizer.ggml.merges") {
        written = written.key("tokenizer.ggml.merges", merges);
    }
    if let Some(scores) = file.get::<Vec<f32>>("tokenizer.ggml.scores").unwrap() {
        written = written.key("tokenizer.ggml.scores", f32_list(&scores));
    }
    written
}

fn made(written: &Written) -> GgufTokenizer {
    written.open().1.tokenizer().unwrap()
}

fn flaw(written: &Written) -> VocabularyFlaw {
    match written.open().1.tokenizer() {
        Err(GgufError::Tokenizer { flaw, .. }) => flaw,
        other => panic!("{other:?}"),
    }
}

fn check(name: &str, made: &GgufTokenizer, texts: &[String], golden: &Encoded) {
    assert_eq!(texts.len(), golden.ids.len());
    for ((text, ids), decoded) in texts.iter().zip(&golden.ids).zip(&golden.decoded) {
        let encoded = made.tokenizer.encode(text.as_str(), false).unwrap();
        assert_eq!(encoded.get_ids(), ids, "{name}: {text:?} is {:?}", encoded.get_tokens());
        assert_eq!(&made.tokenizer.decode(ids, false).unwrap(), decoded, "{name}: {text:?}");
    }
}

#[test]
fn byte_level_ids_are_those_of_the_original_for_every_way_to_split() {
    let golden = golden();
    assert_eq!(golden.bytes.len(), 8);
    for (name, encoded) in &golden.bytes {
        let made = made(&rewritten("bytes.gguf").key("tokenizer.ggml.pre", text(name)));
        check(name, &made, &golden.texts, encoded);
    }
    let distinct: std::collections::BTreeSet<_> = golden.bytes.values().map(|each| &each.ids).collect();
    assert!(distinct.len() >= 7, "the texts tell the ways apart");
    let file = GgufFile::open(fixture("bytes.gguf")).unwrap().tokenizer().unwrap();
    check("the file itself", &file, &golden.texts, &golden.bytes["llama-bpe"]);
}

#[test]
fn sentencepiece_ids_are_those_of_the_original() {
    let golden = golden();
    let file = GgufFile::open(fixture("pieces.gguf")).unwrap().tokenizer().unwrap();
    check("prefixed", &file, &golden.texts, &golden.pieces["prefixed"]);
    let bare = made(&rewritten("pieces.gguf").key("tokenizer.ggml.add_space_prefix", bool_value(0)));
    check("bare", &bare, &golden.texts, &golden.pieces["bare"]);
}

#[test]
fn special_tokens_are_where_the_file_says() {
    let bytes = GgufFile::open(fixture("bytes.gguf")).unwrap().tokenizer().unwrap();
    let id = |token: &str| bytes.tokenizer.token_to_id(token).unwrap();
    assert_eq!(
        bytes.special,
        SpecialTokens {
            bos: Some(id("<s>")),
            eos: Some(id("</s>")),
            unknown: None,
            padding: Some(id("</s>")),
            ends: [id("</s>")].into(),
            adds_bos: false,
            adds_eos: false,
        }
    );
    assert!(bytes.chat_template.unwrap().starts_with("{% for m in messages %}"));
    let plain = bytes.tokenizer.encode("mill", true).unwrap();
    assert!(!plain.get_ids().contains(&id("<s>")));

    let pieces = GgufFile::open(fixture("pieces.gguf")).unwrap().tokenizer().unwrap();
    assert_eq!((pieces.special.bos, pieces.special.eos, pieces.special.unknown), (Some(1), Some(2), Some(0)));
    let around = pieces.tokenizer.encode("mill", true).unwrap();
    assert_eq!((around.get_ids().first(), around.get_ids().last()), (Some(&1), Some(&2)));
    assert_eq!(pieces.tokenizer.decode(around.get_ids(), true).unwrap(), "mill");
    let pair = pieces.tokenizer.encode(("mill", "mill"), true).unwrap();
    assert_eq!(pair.get_ids(), [around.get_ids(), around.get_ids()].concat());
    assert_eq!(pieces.chat_template, None);
}

#[test]
fn what_the_file_leaves_out_follows_the_procedure() {
    let bos = |written: Written| {
        let made = made(&written);
        made.tokenizer.encode("a", true).unwrap().get_ids().first().copied() == made.special.bos
    };
    let stated = || rewritten("bytes.gguf").key("tokenizer.ggml.bos_token_id", u32_value(40));
    assert!(bos(stated().key("tokenizer.ggml.pre", text("llama-bpe"))));
    assert!(!bos(stated().key("tokenizer.ggml.pre", text("qwen2"))));
    assert!(bos(rewritten("pieces.gguf")));
    let none = rewritten("pieces.gguf").key("tokenizer.ggml.padding_token_id", u32_value(u32::MAX));
    assert_eq!(made(&none).special.padding, None);
}

#[test]
fn user_text_can_be_kept_from_becoming_control_tokens() {
    let mut made = GgufFile::open(fixture("bytes.gguf")).unwrap().tokenizer().unwrap();
    let turn = made.tokenizer.token_to_id("<|turn|>").unwrap();
    let contains =
        |made: &GgufTokenizer| made.tokenizer.encode("a<|turn|>b", false).unwrap().get_ids().contains(&turn);
    assert!(contains(&made));
    made.tokenizer.set_encode_special_tokens(true);
    assert!(!contains(&made));
}

fn small(tokens: &[&str]) -> Written {
    Written::default()
        .key("tokenizer.ggml.model", text("gpt2"))
        .key("tokenizer.ggml.pre", text("gpt-2"))
        .key("tokenizer.ggml.tokens", texts(tokens.iter().copied()))
}

#[test]
fn tokenizers_that_cannot_be_are_refused_by_name() {
    let model = |name: &str| Written::default().key("tokenizer.ggml.model", text(name));
    let tokens = || model("bert").key("tokenizer.ggml.tokens", texts(["a"]));
    assert!(matches!(flaw(&tokens()), VocabularyFlaw::UnknownModel { model } if model == "bert"));
    assert!(matches!(flaw(&model("gpt2")), VocabularyFlaw::Key(_)));
    let missing = Written::default().open().1.tokenizer();
    assert!(matches!(missing, Err(GgufError::Metadata { .. })));
    let split = rewritten("bytes.gguf").key("tokenizer.ggml.pre", text("poro-chat"));
    assert!(matches!(flaw(&split), VocabularyFlaw::UnknownSplit { name } if name == "poro-chat"));
    assert!(matches!(
        flaw(&small(&["a", "b", "a"])),
        VocabularyFlaw::DuplicateToken { first: 0, second: 2, .. }
    ));
    assert!(matches!(flaw(&small(&["a"])), VocabularyFlaw::Key(_)), "merges are needed");
    let long = "x".repeat(1025);
    assert!(matches!(flaw(&small(&["a", &long])), VocabularyFlaw::TokenTooLong { id: 1, len: 1025, .. }));
    let kinds = small(&["a", "b"]).key("tokenizer.ggml.token_type", i32_list(&[1]));
    assert!(matches!(flaw(&kinds), VocabularyFlaw::WrongCount { found: 1, tokens: 2, .. }));
    let outside = rewritten("pieces.gguf").key("tokenizer.ggml.bos_token_id", u32_value(100_000));
    assert!(matches!(flaw(&outside), VocabularyFlaw::NoSuchToken { id: 100_000, .. }));
}

/// The library indexes by the length of what a merge makes, and panics where no token is that long.
#[test]
fn merges_that_make_no_token_are_refused() {
    for merge in ["ab ab", "a c", "c a", "a", "", " ", "a  b", "水 a", "ab a b"] {
        let written = small(&["a", "b", "ab"]).key("tokenizer.ggml.merges", texts(["a b", merge]));
        let flaw = flaw(&written);
        assert!(
            matches!(&flaw, VocabularyFlaw::BadMerge { index: 1, text } if text == merge),
            "{merge:?}: {flaw}"
        );
    }
}

#[test]
fn scores_must_be_numbers_and_pieces_must_not_explode() {
    let pieces = |tokens: &[String], scores: &[f32]| {
        Written::default()
            .key("tokenizer.ggml.model", text("llama"))
            .key("tokenizer.ggml.tokens", texts(tokens.iter().map(String::as_str)))
            .key("tokenizer.ggml.scores", f32_list(scores))
    };
    let two = ["a".to_owned(), "b".to_owned()];
    assert!(matches!(flaw(&pieces(&two, &[1.0, f32::NAN])), VocabularyFlaw::BadScore { id: 1 }));
    assert!(matches!(flaw(&pieces(&two, &[1.0])), VocabularyFlaw::WrongCount { .. }));
    let runs: Vec<String> = (1..1000).map(|n| "a".repeat(n)).collect();
    assert!(matches!(flaw(&pieces(&runs, &vec![0.0; runs.len()])), VocabularyFlaw::TooEntangled));
    // Honest ones have runs too, of spaces, in a vocabulary of other things.
    let mut honest: Vec<String> = (1..32).map(|n| "▁".repeat(n)).collect();
    honest.extend((0..500).map(|n| format!("w{n}")));
    assert!(pieces(&honest, &vec![0.0; honest.len()]).open().1.tokenizer().is_ok());
}
