//! Picture in, a vector out.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Capability, NoEvent};

/// Turns pictures into vectors whose distances follow content.
#[derive(Clone, Copy, Debug)]
pub struct ImageEmbedding;

impl Capability for ImageEmbedding {
    const NAME: &'static str = "image-embedding";
    type Request = EmbedImageRequest;
    type Event = NoEvent;
    type Output = ImageVector;
}

/// Where a picture comes from. What it is in, PNG, JPEG, WebP or GIF, is told from its first bytes, whatever
/// its name or a URL says; of an animation the first frame counts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageSource {
    /// A file.
    Path(PathBuf),
    /// An encoded picture.
    Encoded(Arc<[u8]>),
    /// An encoded picture as base64, the standard alphabet; line breaks and missing padding do no harm.
    Base64(Arc<str>),
    /// An encoded picture in a URL: `data:image/png;base64,...`.
    DataUrl(Arc<str>),
    /// Decoded pixels, rows from the top, three bytes (red, green, blue) a pixel.
    Pixels {
        /// Pixels a row.
        width: u32,
        /// Rows.
        height: u32,
        /// `width * height * 3` bytes.
        rgb: Arc<[u8]>,
    },
}

impl ImageSource {
    /// The file at `path`.
    pub fn path(path: impl Into<PathBuf>) -> Self {
        Self::Path(path.into())
    }

    /// An encoded picture.
    pub fn encoded(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self::Encoded(bytes.into())
    }

    /// An encoded picture as base64. What is wrong with it is told when it is used.
    pub fn base64(text: impl Into<Arc<str>>) -> Self {
        Self::Base64(text.into())
    }

    /// An encoded picture in a `data:` URL. What is wrong with it is told when it is used.
    pub fn data_url(url: impl Into<Arc<str>>) -> Self {
        Self::DataUrl(url.into())
    }

    /// Decoded pixels: `width * height * 3` bytes, rows from the top, red, green, blue.
    pub fn pixels(width: u32, height: u32, rgb: impl Into<Arc<[u8]>>) -> Self {
        Self::Pixels { width, height, rgb: rgb.into() }
    }
}

/// One picture to embed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EmbedImageRequest {
    /// The picture.
    pub image: ImageSource,
    /// Scale the vector to length 1, or do not. Default: as the model's own files say.
    pub normalize: Option<bool>,
}

impl EmbedImageRequest {
    /// Embeds `image` as the model's files say.
    pub fn new(image: ImageSource) -> Self {
        Self { image, normalize: None }
    }

    /// Sets [`normalize`](Self::normalize).
    #[must_use]
    pub fn normalize(mut self, normalize: bool) -> Self {
        self.normalize = Some(normalize);
        self
    }
}

/// The vector of one picture.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageVector {
    /// As many numbers as the model has dimensions.
    pub values: Vec<f32>,
}
