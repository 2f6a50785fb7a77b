//! Texts to measure with.

const WORDS: [&str; 8] = ["a", "red", "circle", "on", "the", "left", "of", "blue"];

/// A text of `words` short words, another one for each `number`.
pub(super) fn text(words: usize, number: usize) -> String {
    let word = |place: usize| WORDS[(place + number) % WORDS.len()];
    (0..words).map(word).collect::<Vec<_>>().join(" ")
}

/// The same, but no two of them begin alike: what is known of one helps with no other.
pub(super) fn unlike_text(words: usize, number: usize) -> String {
    let mut draw = fastrand::Rng::with_seed(number as u64);
    (0..words).map(|_| WORDS[draw.usize(..WORDS.len())]).collect::<Vec<_>>().join(" ")
}
