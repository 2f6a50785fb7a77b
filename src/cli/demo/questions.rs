//! Vision: questions about a picture, all asked at once.

use super::gallery::images;
use super::page::{INDENT, Page};
use super::{DESCRIBES, question};
use crate::capability::{DescribeRequest, ImageSource};
use crate::cli::failure::Failure;
use crate::engine::Engine;

/// Which picture of the gallery, counting from 1.
const NUMBER: usize = 2;

const ASKED: [&str; 4] =
    [WHAT, "What shape is on the left?", "What color is the square?", "What color is the background?"];

/// What is answered with a description.
pub(super) const WHAT: &str = "What is in the image?";

pub(super) fn ask(page: &mut Page, engine: &Engine) -> Result<(), Failure> {
    page.act(&format!("Ask about picture {NUMBER}"), "shapes-llava, a LLaVA")?;
    let image = &images()[NUMBER - 1];
    let requests = ASKED.map(|text| about(image, text));
    let answers = engine.vision().submit_all(DESCRIBES, requests).map_err(crate::Error::from)?;
    for (text, answer) in ASKED.iter().zip(answers) {
        page.say(format_args!("{INDENT}> {text}"))?;
        page.say(format_args!("{INDENT}{}", answer.choices[0].text))?;
    }
    Ok(())
}

pub(super) fn about(image: &ImageSource, text: &str) -> DescribeRequest {
    DescribeRequest::new(vec![image.clone()], question(text))
}
