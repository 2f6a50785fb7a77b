//! From an encoded picture to its pixels, within limits.

use std::borrow::Cow;
use std::io::Cursor;

use image::codecs::gif::GifDecoder;
use image::codecs::jpeg::JpegDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageResult, Limits, RgbImage};
use parking_lot::{Mutex, MutexGuard};

use super::source::{base64_of, check_base64, from_base64, of_length, read};
use super::{Format, ImageError, Picture, rgb};
use crate::capability::ImageSource;
use crate::contain::contain;

/// The longest side of a picture that is looked at, in pixels.
pub const MAX_SIDE: u32 = 8192;

/// The most pixels of a picture that is looked at.
pub const MAX_PIXELS: u64 = 40_000_000;

/// The most memory that decoding one picture may take, in bytes, beside its file.
pub const MAX_DECODING: u64 = 256 << 20;

/// What decoding a small picture takes at most, in bytes.
pub(crate) const SMALL_DECODING: u64 = 24 << 20;

/// How many times as long as its file what deflate inflates to can be.
const DEFLATE_RATIO: u64 = 1032;

/// Room for one large picture at a time: threads that decode in it together take no more than
/// [`MAX_DECODING`], and what as many small pictures take.
#[derive(Debug, Default)]
pub(crate) struct DecodingRoom(Mutex<()>);

/// The picture that `source` holds, upright: turned as its EXIF orientation says.
///
/// # Errors
///
/// [`ImageError`] says what is wrong with the source, and what would be right.
pub fn decode(source: &ImageSource) -> Result<Picture, ImageError> {
    DecodingRoom::default().with_picture(source, |picture| picture)
}

impl DecodingRoom {
    /// What `looking` makes of the picture that `source` holds.
    pub(crate) fn with_picture<T>(
        &self,
        source: &ImageSource,
        looking: impl FnOnce(Picture) -> T,
    ) -> Result<T, ImageError> {
        let bytes = match source {
            ImageSource::Path(path) => Cow::Owned(read(path)?),
            ImageSource::Encoded(bytes) => Cow::Borrowed(of_length(bytes)?),
            ImageSource::Base64(text) => Cow::Owned(from_base64(text)?),
            ImageSource::DataUrl(url) => Cow::Owned(from_base64(base64_of(url)?)?),
            ImageSource::Pixels { width, height, rgb } => {
                Picture::check(*width, *height, rgb)?;
                let _turn = self.turn(rgb.len() as u64);
                return Ok(looking(Picture::new(*width, *height, rgb.to_vec())?));
            }
        };
        let format = Format::of(&bytes)?;
        let panicked = |message| ImageError::DecoderPanicked { format, message };
        let needed = contain(|| needed(format, &bytes)).map_err(panicked)??;
        let _turn = self.turn(needed);
        let picture = contain(|| pixels(format, &bytes)).map_err(panicked)??;
        drop(bytes);
        Ok(looking(picture))
    }

    /// Waits until it is a large picture's turn.
    fn turn(&self, needed: u64) -> Option<MutexGuard<'_, ()>> {
        (needed > SMALL_DECODING).then(|| self.0.lock())
    }
}

/// Refuses a source that is no picture, as far as its first bytes tell; of base64, as far as its length
/// tells. Opens no file and decodes nothing.
///
/// # Errors
///
/// As [`decode`].
pub fn check(source: &ImageSource) -> Result<(), ImageError> {
    match source {
        ImageSource::Path(_) => Ok(()),
        ImageSource::Encoded(bytes) => Format::of(of_length(bytes)?).map(drop),
        ImageSource::Base64(text) => check_base64(text),
        ImageSource::DataUrl(url) => check_base64(base64_of(url)?),
        ImageSource::Pixels { width, height, rgb } => Picture::check(*width, *height, rgb),
    }
}

/// How much memory decoding takes at most, once the header is found to be that of a picture which can be decoded.
fn needed(format: Format, bytes: &[u8]) -> Result<u64, ImageError> {
    let decoder = open(format, bytes).map_err(|error| refusal(format, &error))?;
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    let (pixels, whole) = (u64::from(width) * u64::from(height), decoder.total_bytes());
    // A bit can become four bytes: of a palette with transparency.
    if format == Format::Png && whole > (bytes.len() as u64).saturating_mul(32 * DEFLATE_RATIO) {
        return Err(ImageError::Hollow { format, width, height, bytes: bytes.len() as u64 });
    }
    let progressive = format == Format::Jpeg && jpeg_is_progressive(bytes)?;
    // Coefficients of all of a progressive JPEG are 2 bytes each; 8 bits of 16 are copied out; a picture that is
    // turned is there twice.
    let beside = if progressive { 6 * pixels } else { 3 * pixels };
    let needed = whole.saturating_add(beside);
    if needed > MAX_DECODING {
        return Err(ImageError::TooMuchMemory { needed, most: MAX_DECODING });
    }
    Ok(needed)
}

fn pixels(format: Format, bytes: &[u8]) -> Result<Picture, ImageError> {
    let refused = |error| refusal(format, &error);
    let mut decoder = open(format, bytes).map_err(refused)?;
    let (width, height) = decoder.dimensions();
    decoder.set_limits(limits()).map_err(refused)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let pixels = rgb::of(DynamicImage::from_decoder(decoder).map_err(refused)?);
    let found = pixels.len();
    let expected = u64::from(width) * u64::from(height) * 3;
    let wrong = || ImageError::WrongLength { width, height, expected, found };
    let pixels = RgbImage::from_raw(width, height, pixels).ok_or_else(wrong)?;
    let mut upright = DynamicImage::ImageRgb8(pixels);
    upright.apply_orientation(orientation);
    Picture::new(upright.width(), upright.height(), upright.into_rgb8().into_raw())
}

/// A decoder that has read the header and nothing else.
fn open<'a>(format: Format, bytes: &'a [u8]) -> ImageResult<Box<dyn ImageDecoder + 'a>> {
    let bytes = Cursor::new(bytes);
    Ok(match format {
        Format::Png => Box::new(PngDecoder::with_limits(bytes, memory_limit())?),
        Format::Jpeg => Box::new(JpegDecoder::new(bytes)?),
        Format::WebP => Box::new(WebPDecoder::new(bytes)?),
        Format::Gif => Box::new(GifDecoder::new(bytes)?),
    })
}

fn limits() -> Limits {
    let mut limits = memory_limit();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits
}

fn memory_limit() -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_DECODING);
    limits
}

/// Refuses a picture with no pixels, and one with too many.
pub(super) fn check_size(width: u32, height: u32) -> Result<(), ImageError> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err(ImageError::Empty { width, height });
    }
    if width.max(height) > MAX_SIDE || pixels > MAX_PIXELS {
        return Err(ImageError::TooLarge { width, height, max_side: MAX_SIDE, max_pixels: MAX_PIXELS });
    }
    Ok(())
}

/// Whether a JPEG is progressive.
///
/// # Errors
///
/// [`ImageError::Truncated`] if it has no end behind the start of its pixels: the decoder would fill up what is
/// missing with grey.
fn jpeg_is_progressive(bytes: &[u8]) -> Result<bool, ImageError> {
    const TRUNCATED: ImageError = ImageError::Truncated { format: Format::Jpeg };
    let (mut at, mut progressive) = (2, false);
    while let Some([0xff, marker, high, low]) = bytes.get(at..at + 4) {
        progressive |= *marker == 0xc2;
        match marker {
            // Filling, or a marker without a segment.
            0xff => at += 1,
            0x01 | 0xd0..=0xd7 => at += 2,
            0xda if bytes[at..].windows(2).any(|pair| pair == [0xff, 0xd9]) => return Ok(progressive),
            0xda => return Err(TRUNCATED),
            _ => at += 2 + usize::from(u16::from_be_bytes([*high, *low])),
        }
    }
    Err(TRUNCATED)
}

/// What the decoder's error says to whoever has the picture.
fn refusal(format: Format, error: &image::ImageError) -> ImageError {
    match error {
        image::ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            ImageError::Truncated { format }
        }
        error => ImageError::Damaged { format, reason: error.to_string() },
    }
}
