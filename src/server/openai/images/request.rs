//! What is asked for.

use serde::Deserialize;

use super::Manner;
use crate::capability::DrawRequest;
use crate::image::Encoding;
use crate::server::api_error::ApiError;

/// The most pictures of a request.
const MOST: u32 = 10;
/// The most pictures on the way, for each that is drawn.
const MOST_PARTIAL: u32 = 3;
/// Of a JPEG where nothing is said of it.
const QUALITY: u8 = 90;
/// How many steps a model is taken to need where nobody says: pictures on the way are spread over these.
const USUAL_STEPS: u32 = 20;

/// The body of a request.
#[derive(Debug, Deserialize)]
pub(super) struct ImagesRequest {
    model: Option<String>,
    prompt: String,
    n: Option<u32>,
    size: Option<String>,
    response_format: Option<String>,
    output_format: Option<OutputFormat>,
    output_compression: Option<u8>,
    quality: Option<String>,
    style: Option<String>,
    background: Option<String>,
    moderation: Option<String>,
    stream: Option<bool>,
    partial_images: Option<u32>,
    seed: Option<i64>,
    steps: Option<u32>,
    guidance_scale: Option<f32>,
    /// The same, as others call it.
    guidance: Option<f32>,
    negative_prompt: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OutputFormat {
    Png,
    Jpeg,
    Webp,
}

impl ImagesRequest {
    pub(super) fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// What the model is asked, and how the answer is to be told.
    pub(super) fn read(self) -> Result<(DrawRequest, Manner), ApiError> {
        self.check()?;
        let encoding = self.encoding()?;
        let partial = self.partial_images.unwrap_or(0);
        let stream = self.stream.unwrap_or(false).then_some(partial);
        let mut request = DrawRequest::new(self.prompt);
        request.n = self.n.unwrap_or(1);
        request.size = self.size.as_deref().and_then(size).transpose()?;
        request.seed = self.seed.map(i64::cast_unsigned);
        (request.steps, request.guidance) = (self.steps, self.guidance_scale.or(self.guidance));
        request.negative_prompt = self.negative_prompt;
        if stream.is_some() && partial > 0 {
            let steps = self.steps.unwrap_or(USUAL_STEPS);
            request.preview_every = Some((steps / (partial + 1)).max(1));
        }
        Ok((request, Manner { encoding, stream }))
    }

    fn encoding(&self) -> Result<Encoding, ApiError> {
        let quality = self.output_compression.unwrap_or(QUALITY);
        if quality > 100 {
            return Err(ApiError::invalid("output_compression", format!("{quality} is not in 0..=100")));
        }
        match (self.output_format.unwrap_or(OutputFormat::Png), self.output_compression) {
            (OutputFormat::Jpeg, _) => Ok(Encoding::Jpeg { quality }),
            (OutputFormat::Png, None | Some(100)) => Ok(Encoding::Png),
            (OutputFormat::Webp, None | Some(100)) => Ok(Encoding::WebP),
            _ => Err(ApiError::invalid("output_compression", "only jpeg is compressed with a loss")),
        }
    }

    /// Refuses what cannot be done.
    fn check(&self) -> Result<(), ApiError> {
        if self.response_format.as_deref().is_some_and(|format| format != "b64_json") {
            let message = "pictures are not kept here to be fetched: ask for \"b64_json\"";
            return Err(ApiError::invalid("response_format", message));
        }
        if self.n.is_some_and(|n| !(1..=MOST).contains(&n)) {
            return Err(ApiError::invalid("n", format!("it is not in 1..={MOST}")));
        }
        if self.partial_images.is_some_and(|partial| partial > MOST_PARTIAL) {
            return Err(ApiError::invalid("partial_images", format!("it is not in 0..={MOST_PARTIAL}")));
        }
        if self.partial_images.is_some_and(|partial| partial > 0) && self.stream != Some(true) {
            return Err(ApiError::invalid("partial_images", "it needs \"stream\": true"));
        }
        let as_ever = [
            ("quality", &self.quality, &["auto", "standard", "medium", "high", "hd", "low"][..]),
            ("style", &self.style, &["vivid", "natural"][..]),
            ("background", &self.background, &["auto", "opaque"][..]),
            ("moderation", &self.moderation, &["auto", "low"][..]),
        ];
        for (field, said, known) in as_ever {
            if said.as_ref().is_some_and(|said| !known.contains(&said.as_str())) {
                return Err(ApiError::invalid(field, format!("it may be {}", known.join(", "))));
            }
        }
        Ok(())
    }
}

/// `WxH`, or nothing for the model's own.
fn size(text: &str) -> Option<Result<(u32, u32), ApiError>> {
    if text == "auto" {
        return None;
    }
    let sides = text.split_once('x').and_then(|(width, height)| {
        let side =
            |digits: &str| digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten();
        Some((side(width)?, side(height)?))
    });
    Some(sides.ok_or_else(|| ApiError::invalid("size", "it is WIDTHxHEIGHT in pixels, or auto")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(more: &Value) -> Result<(DrawRequest, Manner), ApiError> {
        let mut request = json!({ "prompt": "a mill" });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value::<ImagesRequest>(request).unwrap().read()
    }

    #[test]
    fn what_is_left_out_is_the_models_own() {
        let (request, manner) = read(&json!({ "size": "auto", "quality": "auto" })).unwrap();
        assert_eq!(request, DrawRequest::new("a mill"));
        assert_eq!(manner, Manner { encoding: Encoding::Png, stream: None });
    }

    #[test]
    fn what_is_said_is_asked() {
        let (request, manner) = read(&json!({
            "n": 2, "size": "64x32", "seed": 7, "steps": 8, "guidance_scale": 2.5, "negative_prompt": "fog",
            "output_format": "jpeg", "output_compression": 50, "stream": true, "partial_images": 3,
        }))
        .unwrap();
        assert_eq!(
            (request.n, request.size, request.seed, request.steps),
            (2, Some((64, 32)), Some(7), Some(8))
        );
        assert_eq!((request.guidance, request.negative_prompt.as_deref()), (Some(2.5), Some("fog")));
        assert_eq!(request.preview_every, Some(2));
        assert_eq!(manner, Manner { encoding: Encoding::Jpeg { quality: 50 }, stream: Some(3) });
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        for (wrong, field) in [
            (json!({ "response_format": "url" }), "response_format"),
            (json!({ "n": 0 }), "n"),
            (json!({ "n": 11 }), "n"),
            (json!({ "size": "64" }), "size"),
            (json!({ "size": "64x" }), "size"),
            (json!({ "size": "-1x64" }), "size"),
            (json!({ "size": "+1x64" }), "size"),
            (json!({ "size": "1x99999999999" }), "size"),
            (json!({ "background": "transparent" }), "background"),
            (json!({ "style": "baroque" }), "style"),
            (json!({ "output_compression": 50 }), "output_compression"),
            (json!({ "output_format": "jpeg", "output_compression": 101 }), "output_compression"),
            (json!({ "partial_images": 2 }), "partial_images"),
            (json!({ "partial_images": 4, "stream": true }), "partial_images"),
        ] {
            assert_eq!(read(&wrong).unwrap_err().param.as_deref(), Some(field), "{wrong}");
        }
    }
}
