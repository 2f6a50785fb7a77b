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

/// Where a picture comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageSource {
    /// A file.
    Path(PathBuf),
    /// An encoded picture: PNG, JPEG, WebP or GIF.
    Encoded(Arc<[u8]>),
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
}

/// The vector of one picture.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageVector {
    /// As many numbers as the model has dimensions.
    pub values: Vec<f32>,
}
