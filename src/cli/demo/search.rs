//! Image embedding: pictures found by what they show.

use super::SEES;
use super::gallery::{images, shrunken};
use super::page::{INDENT, Page};
use super::sentences::likeness;
use crate::capability::{EmbedImageRequest, EmbedRequest};
use crate::cli::failure::Failure;
use crate::engine::Engine;

/// Columns that a picture takes on the page.
const SIDE: u32 = 12;

const ASKED: [&str; 3] =
    ["a big triangle in the middle, on gray", "an orange cross under a purple ring", "a pink background"];

/// Shows the gallery, and finds the picture for each text.
pub(super) fn pictures(page: &mut Page, engine: &Engine) -> Result<(), Failure> {
    page.act("Find pictures by what they show", "shapes-clip, a CLIP")?;
    let images = images();
    let small = images.iter().map(|image| shrunken(image, SIDE)).collect::<Result<Vec<_>, _>>()?;
    page.row(&small)?;
    let width = SIDE as usize + 1;
    let numbers: Vec<_> = (1..=images.len()).map(|number| format!("{number:<width$}")).collect();
    page.say(format_args!("{INDENT}{}", numbers.concat().trim_end()))?;
    let requests = images.map(|image| EmbedImageRequest::new(image).normalize(true));
    let pictures = engine.embed_all_images(SEES, requests)?;
    let requests = ASKED.map(|text| EmbedRequest::new(text).normalize(true));
    for (text, asked) in ASKED.iter().zip(engine.embed_all(SEES, requests)?) {
        let alike = pictures.iter().map(|picture| likeness(&asked.values, &picture.values));
        let best = alike.enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
        let (number, likeness) = best.map_or((0, 0.0), |(index, likeness)| (index + 1, likeness));
        page.say(format_args!("{INDENT}{:<40} picture {number}  ({likeness:.2})", format!("> {text}")))?;
    }
    Ok(())
}
