//! Text to image, as it emerges from noise, and what another model sees in it.

use std::path::Path;
use std::time::Instant;

use crossbeam_channel::Receiver;

use super::page::{INDENT, Page};
use super::questions::{WHAT, about};
use super::{DESCRIBES, DRAWS, pools};
use crate::capability::{DrawRequest, DrawnPicture, ImageSource};
use crate::cli::draw::{picture, write_png};
use crate::cli::failure::Failure;
use crate::engine::Engine;
use crate::image::{Picture, Resample};
use crate::pool::PoolEvent;

/// No training has shown this colour and shape on this background.
const ASKED: &str = "a large purple triangle in the center on a gray background";

/// Columns that the picture takes on the page.
const SIDE: u32 = 32;

/// Draws, shows and saves a picture, and has it described.
pub(super) fn draw(
    page: &mut Page,
    engine: &Engine,
    events: &[Receiver<PoolEvent>],
    out: &Path,
) -> Result<(), Failure> {
    page.act("Draw a picture", "shapes-diffusion, a Stable Diffusion")?;
    page.say(format_args!("{INDENT}> {ASKED}"))?;
    pools::forget(events);
    let mut request = DrawRequest::new(ASKED);
    (request.steps, request.guidance, request.seed) = (Some(20), Some(4.0), Some(7));
    request.preview_every = page.moves().then_some(1);
    let began = Instant::now();
    let mut ticket = engine.text_to_image().submit(DRAWS, request).map_err(crate::Error::from)?;
    let mut steps = 0;
    while let Some(step) = ticket.next_event() {
        if steps == 0 {
            pools::happened(page, events)?;
        }
        steps = step.of;
        if let Some(preview) = step.preview.first() {
            page.frame(&format!("step {} of {steps}", step.step), Some(&shrunken(preview)?))?;
        }
    }
    let drawing = ticket.wait().map_err(crate::Error::from)?;
    let took = began.elapsed().as_secs_f64();
    let drawn = &drawing.pictures[0];
    page.frame(&format!("{steps} steps in {took:.1} s, loading included"), Some(&shrunken(drawn)?))?;
    page.keep();
    write_png(out, drawn)?;
    page.say(format_args!("{INDENT}saved as {}", out.display()))?;
    let image = ImageSource::pixels(drawn.width, drawn.height, drawn.rgb.as_slice());
    let answer = engine.describe(DESCRIBES, about(&image, WHAT))?;
    page.say(format_args!("{INDENT}> {WHAT}  (to {DESCRIBES})"))?;
    page.say(format_args!("{INDENT}{}", answer.choices[0].text))?;
    pools::happened(page, events)
}

/// As it is shown on the page.
fn shrunken(drawn: &DrawnPicture) -> Result<Picture, Failure> {
    Ok(picture(drawn)?.resize(SIDE, SIDE, Resample::Box)?)
}
