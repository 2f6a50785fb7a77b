//! Text in, a picture out, step by step.

use super::Capability;

/// Draws what a text describes.
#[derive(Clone, Copy, Debug)]
pub struct TextToImage;

impl Capability for TextToImage {
    const NAME: &'static str = "text-to-image";
    type Request = DrawRequest;
    type Event = DenoisingStep;
    type Output = Drawing;
}

/// What to draw and how.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DrawRequest {
    /// What the picture shows.
    pub prompt: String,
    /// What it must not show.
    pub negative_prompt: Option<String>,
    /// Width and height in pixels. Default: the model's own.
    pub size: Option<(u32, u32)>,
    /// How many denoising steps. Default: the model's own.
    pub steps: Option<u32>,
    /// How strongly the prompt is followed. Default: the model's own.
    pub guidance: Option<f32>,
    /// The same seed gives the same picture. Default: another one each time.
    pub seed: Option<u64>,
}

impl DrawRequest {
    /// Draws `prompt` with the model's defaults.
    pub fn new(prompt: impl Into<String>) -> Self {
        let prompt = prompt.into();
        Self { prompt, negative_prompt: None, size: None, steps: None, guidance: None, seed: None }
    }
}

/// One denoising step is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DenoisingStep {
    /// Counts from 1.
    pub step: u32,
    /// How many there will be.
    pub of: u32,
}

/// A finished picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawing {
    /// Pixels a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `width * height * 3` bytes: rows from the top, red, green, blue.
    pub rgb: Vec<u8>,
}
