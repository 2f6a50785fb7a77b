use proptest::prelude::*;

use super::*;
use crate::text::tiny_tokenizers::{byte_fallback, byte_level, word_piece};

fn pieces(tokenizer: &Arc<PromptTokenizer>, ids: &[u32], stops: &[&str]) -> (Vec<String>, bool) {
    let stops: Vec<String> = stops.iter().map(ToString::to_string).collect();
    let mut stream = TokenStream::new(Arc::clone(tokenizer), &stops);
    let mut given = Vec::new();
    for id in ids {
        let piece = stream.push(*id).unwrap();
        given.push(piece.text);
        if piece.stopped {
            return (given, true);
        }
    }
    let last = stream.finish().unwrap();
    given.push(last.text);
    (given, last.stopped)
}

fn ids(tokenizer: &PromptTokenizer, tokens: &[&str]) -> Vec<u32> {
    tokens.iter().map(|token| tokenizer.id_of(token).unwrap_or_else(|| panic!("no token {token}"))).collect()
}

#[test]
fn characters_come_whole() {
    let tokenizer = Arc::new(byte_level());
    let tokens = tokenizer.encode_raw("é😀a").unwrap();
    let (given, _) = pieces(&tokenizer, &tokens, &[]);
    assert_eq!(given, ["", "é", "", "", "", "😀", "a", ""]);
    let (given, _) = pieces(&tokenizer, &tokens[..4], &[]);
    assert_eq!(given, ["", "é", "", "", "\u{FFFD}"], "an incomplete last one is shown in the end");
    let tokenizer = Arc::new(byte_fallback());
    let tokens = ids(&tokenizer, &["▁a", "<0xF0>", "<0x9F>", "<0x98>", "<0x80>", "b", "▁a"]);
    assert_eq!(pieces(&tokenizer, &tokens, &[]).0, ["a", "", "", "", "", "😀b", " a", ""]);
}

#[test]
fn a_run_of_bytes_that_breaks_is_shown_as_the_library_shows_it() {
    let tokenizer = Arc::new(byte_fallback());
    let tokens =
        ids(&tokenizer, &["▁a", "<0xC3>", "<0xA9>", "<0xC3>", "<0x41>", "<0x42>", "▁a", "<0xC3>", "<0xA9>"]);
    let (given, _) = pieces(&tokenizer, &tokens, &[]);
    assert_eq!(given, ["a", "", "", "", "\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}", "\u{FFFD}", " a", "", "", "é"]);
    assert_eq!(given.concat(), tokenizer.decode(&tokens).unwrap());
}

#[test]
fn a_good_run_is_not_waited_for_without_end() {
    let tokenizer = Arc::new(byte_fallback());
    let tokens: Vec<u32> = ids(&tokenizer, &["<0xE6>", "<0xB0>", "<0xB4>"]).repeat(100);
    let (given, _) = pieces(&tokenizer, &tokens, &[]);
    assert_eq!(given.concat(), "水".repeat(100));
    let longest = given.iter().map(|piece| piece.chars().count()).max().unwrap();
    assert!(longest <= 22, "{longest} characters waited");
}

#[test]
fn a_run_that_breaks_after_64_bytes_keeps_what_was_given_out() {
    let tokenizer = Arc::new(byte_fallback());
    let water = ids(&tokenizer, &["<0xE6>", "<0xB0>", "<0xB4>"]);
    let broken = ids(&tokenizer, &["<0xC3>", "<0x41>"]);
    // What is still waited for breaks together.
    let tokens = [water.repeat(20), broken.clone()].concat();
    let (given, _) = pieces(&tokenizer, &tokens, &[]);
    assert_eq!(given.concat(), "\u{FFFD}".repeat(62));
    assert_eq!(given.concat(), tokenizer.decode(&tokens).unwrap());
    // The 64th byte gives out the 21 characters before it, and breaks with its own and what follows.
    let tokens = [water.repeat(22), broken].concat();
    let (given, _) = pieces(&tokenizer, &tokens, &[]);
    assert_eq!((given[62].as_str(), given[63].clone()), ("", "水".repeat(21)));
    assert_eq!(given.concat(), "水".repeat(21) + &"\u{FFFD}".repeat(5));
    assert_eq!(tokenizer.decode(&tokens).unwrap(), "\u{FFFD}".repeat(68));
}

#[test]
fn special_tokens_are_left_out_and_others_are_not() {
    let tokenizer = Arc::new(byte_level());
    let tokens = ids(&tokenizer, &["<|im_start|>", "a", "<think>", "<|im_end|>"]);
    assert_eq!(pieces(&tokenizer, &tokens, &[]).0.concat(), "a<think>");
    assert_eq!(
        pieces(&tokenizer, &[99_999, tokens[1]], &[]).0.concat(),
        "a",
        "an id of no token adds nothing"
    );
}

#[test]
fn stop_texts_are_met_across_tokens_and_inside_them() {
    let tokenizer = Arc::new(byte_level());
    let tokens = tokenizer.encode_raw("say so. END now").unwrap();
    let (given, stopped) = pieces(&tokenizer, &tokens, &["END"]);
    assert!(stopped && given.concat() == "say so. ", "{given:?}");
    let tokenizer = Arc::new(byte_fallback());
    let tokens = ids(&tokenizer, &["▁the", "▁the"]);
    assert_eq!(pieces(&tokenizer, &tokens, &["e t"]), (vec!["th".to_owned(), String::new()], true));
    // Bytes that wait for their run's end can complete a stop text as the last thing of all.
    let tokens = ids(&tokenizer, &["▁a", "<0xC3>", "<0xA9>"]);
    let (given, stopped) = pieces(&tokenizer, &tokens, &["é"]);
    assert!(stopped && given.concat() == "a", "{given:?}");
}

proptest! {
    #[test]
    fn all_pieces_together_are_what_all_ids_decode_to(
        kind in 0usize..3,
        picks in prop::collection::vec((any::<u16>(), any::<bool>()), 0..60),
    ) {
        let tokenizer = Arc::new([byte_level, byte_fallback, word_piece][kind]());
        let size = tokenizer.vocabulary_size() as u32 + 3;
        // Bytes of characters that exist come up too seldom by chance.
        let characters = tokenizer.encode_raw("水é😀 a").unwrap();
        let pick = |(n, character): &(u16, bool)| {
            if *character { characters[usize::from(*n) % characters.len()] } else { u32::from(*n) % size }
        };
        let tokens: Vec<u32> = picks.iter().map(pick).collect();
        let (given, _) = pieces(&tokenizer, &tokens, &[]);
        prop_assert_eq!(given.concat(), tokenizer.decode(&tokens).unwrap());
    }
}
