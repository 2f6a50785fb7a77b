//! Text embedding: the sentence that says the same in other words.

use super::EMBEDS;
use super::page::{INDENT, Page};
use crate::capability::EmbedRequest;
use crate::cli::failure::Failure;
use crate::engine::Engine;

const ASKED: &str = "on white, there is a blue square to the right of a red circle";

pub(super) const SENTENCES: [&str; 6] = [
    "a large yellow ring on the right on a gray background",
    "a small green star at the top on a black background",
    "a red circle left of a blue square on a white background",
    "a purple cross below a white triangle on a black background",
    "a blue square above a red star on a white background",
    "good morning, how are you",
];

/// Ranks the sentences by how like they are to the one that is asked for.
pub(super) fn find(page: &mut Page, engine: &Engine) -> Result<(), Failure> {
    page.act("Find a sentence", "shapes-embed, a BERT")?;
    page.say(format_args!("{INDENT}> {ASKED}"))?;
    let asked = engine.embed(EMBEDS, ASKED)?;
    let answers = engine.embed_all(EMBEDS, SENTENCES.map(EmbedRequest::new))?;
    let mut found: Vec<(f32, &str)> = answers
        .iter()
        .zip(SENTENCES)
        .map(|(answer, text)| (likeness(&asked.values, &answer.values), text))
        .collect();
    found.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    for (likeness, text) in found {
        page.say(format_args!("{INDENT}{likeness:5.2}  {text}"))?;
    }
    Ok(())
}

/// Of vectors of length 1: from -1 to 1.
pub(super) fn likeness(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
