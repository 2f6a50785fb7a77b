//! Text in, pictures out, step by step.

use std::sync::Arc;

use super::{Capability, InvalidRequest, Overlong};

/// The most bytes a prompt may have: no encoder reads a hundredth of it.
pub const MAX_DRAW_PROMPT: usize = 64 << 10;

/// The most pictures of one request.
pub const MAX_DRAWN: u32 = 16;

/// The most denoising steps.
pub const MAX_DENOISING_STEPS: u32 = 1000;

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
    /// What it must not show. Only where the prompt is followed by guidance above 1.
    pub negative_prompt: Option<String>,
    /// Width and height in pixels. Default: the model's own.
    pub size: Option<(u32, u32)>,
    /// How many denoising steps. Default: the model's own.
    pub steps: Option<u32>,
    /// How strongly the prompt is followed; 1 or less: as the model sees it, without a second look at the negative
    /// prompt, in half the time. Default: the model's own.
    pub guidance: Option<f32>,
    /// The same seed gives the same pictures, alone or beside others, on any machine of one kind. Default: another
    /// one each time.
    pub seed: Option<u64>,
    /// How many pictures, each from noise of its own. Default: 1.
    pub n: u32,
    /// The noise that pictures begin as, instead of the seed's.
    pub latents: Option<InitialNoise>,
    /// How many of the last layers of CLIP are left out when it reads the prompts: 0 where another encoder does.
    /// Default: as the model was trained.
    pub clip_skip: u32,
    /// What becomes of a prompt that is longer than the model reads. Default: it is cut.
    pub overlong: Overlong,
    /// After every so many steps the event shows the pictures as they are by then, which takes as long as decoding
    /// the answer. All of them together may have 256 MiB. Default: never.
    pub preview_every: Option<u32>,
}

/// Unit noise for pictures to begin as: what the schedule scales, from another implementation or an earlier drawing.
#[derive(Clone, Debug, PartialEq)]
pub struct InitialNoise {
    /// Pictures, channels, height and width, of latents.
    pub shape: [usize; 4],
    /// As many numbers, in this order of axes.
    pub values: Arc<[f32]>,
}

impl DrawRequest {
    /// Draws `prompt` with the model's defaults.
    pub fn new(prompt: impl Into<String>) -> Self {
        Self {
            prompt: prompt.into(),
            negative_prompt: None,
            size: None,
            steps: None,
            guidance: None,
            seed: None,
            n: 1,
            latents: None,
            clip_skip: 0,
            overlong: Overlong::default(),
            preview_every: None,
        }
    }

    /// Refuses what no model could serve.
    ///
    /// # Errors
    ///
    /// [`InvalidRequest`] names the first field that is wrong.
    pub fn validate(&self) -> Result<(), InvalidRequest> {
        let texts = [("prompt", Some(&self.prompt)), ("negative_prompt", self.negative_prompt.as_ref())];
        for (field, text) in texts {
            let bytes = text.map_or(0, String::len);
            if bytes > MAX_DRAW_PROMPT {
                return Err(InvalidRequest::new(
                    field,
                    format!("it has {bytes} bytes, more than {MAX_DRAW_PROMPT}"),
                ));
            }
        }
        if let Some((width, height)) = self.size
            && (width == 0 || height == 0)
        {
            return Err(InvalidRequest::new("size", format!("{width} x {height} pixels are none")));
        }
        in_range("steps", self.steps.unwrap_or(1), 1, MAX_DENOISING_STEPS)?;
        in_range("n", self.n, 1, MAX_DRAWN)?;
        in_range("clip_skip", self.clip_skip, 0, 64)?;
        in_range("preview_every", self.preview_every.unwrap_or(1), 1, MAX_DENOISING_STEPS)?;
        let guidance = self.guidance.unwrap_or(0.0);
        if !(0.0..=100.0).contains(&guidance) {
            return Err(InvalidRequest::new("guidance", format!("it is {guidance}, not in 0..=100")));
        }
        self.latents.as_ref().map_or(Ok(()), |noise| noise.validate(self.n))
    }
}

impl InitialNoise {
    fn validate(&self, pictures: u32) -> Result<(), InvalidRequest> {
        let wrong = |reason| Err(InvalidRequest::new("latents", reason));
        let count = self.shape.iter().try_fold(1usize, |product, side| product.checked_mul(*side));
        if count != Some(self.values.len()) {
            return wrong(format!("{:?} is not the shape of {} numbers", self.shape, self.values.len()));
        }
        if self.shape[0] != pictures as usize {
            return wrong(format!("there are {} for {pictures} pictures", self.shape[0]));
        }
        if !self.values.iter().all(|value| value.is_finite()) {
            return wrong("one of its numbers is not finite".to_owned());
        }
        Ok(())
    }
}

fn in_range(field: &'static str, found: u32, least: u32, most: u32) -> Result<(), InvalidRequest> {
    if (least..=most).contains(&found) {
        return Ok(());
    }
    Err(InvalidRequest::new(field, format!("it is {found}, not in {least}..={most}")))
}

/// One denoising step is done, of all pictures of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DenoisingStep {
    /// Counts from 1.
    pub step: u32,
    /// How many there will be: some schedules take one or a few more than were asked for.
    pub of: u32,
    /// The pictures as they are by now, after steps for which the request asks for them.
    pub preview: Vec<DrawnPicture>,
}

/// Finished pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawing {
    /// As many as were asked for.
    pub pictures: Vec<DrawnPicture>,
    /// The seed they come from: the request's, or the one that was chosen.
    pub seed: u64,
    /// Whether a prompt was cut.
    pub truncated: bool,
}

/// One picture.
#[derive(Clone, PartialEq, Eq)]
pub struct DrawnPicture {
    /// Pixels a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `width * height * 3` bytes: rows from the top, red, green, blue.
    pub rgb: Vec<u8>,
}

impl std::fmt::Debug for DrawnPicture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DrawnPicture")
            .field("width", &self.width)
            .field("height", &self.height)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_model_could_draw_is_refused_by_its_field() {
        let valid = DrawRequest::new("a mill");
        assert_eq!(valid.validate(), Ok(()));
        let noise = |shape, values: Vec<f32>| Some(InitialNoise { shape, values: values.into() });
        let wrong: [(&str, DrawRequest); 13] = [
            ("prompt", DrawRequest::new("x".repeat(MAX_DRAW_PROMPT + 1))),
            ("size", DrawRequest { size: Some((0, 64)), ..valid.clone() }),
            ("steps", DrawRequest { steps: Some(0), ..valid.clone() }),
            ("steps", DrawRequest { steps: Some(u32::MAX), ..valid.clone() }),
            ("n", DrawRequest { n: 0, ..valid.clone() }),
            ("n", DrawRequest { n: 1_000_000, ..valid.clone() }),
            ("guidance", DrawRequest { guidance: Some(f32::NAN), ..valid.clone() }),
            ("guidance", DrawRequest { guidance: Some(-1.0), ..valid.clone() }),
            ("clip_skip", DrawRequest { clip_skip: 65, ..valid.clone() }),
            ("preview_every", DrawRequest { preview_every: Some(0), ..valid.clone() }),
            ("latents", DrawRequest { latents: noise([1, 4, 8, 8], vec![0.0; 3]), ..valid.clone() }),
            ("latents", DrawRequest { latents: noise([usize::MAX, 4, 8, 8], vec![]), ..valid.clone() }),
            ("latents", DrawRequest { latents: noise([1, 1, 1, 1], vec![f32::NAN]), ..valid.clone() }),
        ];
        for (field, request) in wrong {
            assert_eq!(request.validate().unwrap_err().field, field);
        }
    }
}
