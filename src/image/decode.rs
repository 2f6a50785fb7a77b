//! From an encoded picture to its pixels, within limits.

use std::borrow::Cow;
use std::io::Cursor;

use image::codecs::gif::GifDecoder;
use image::codecs::jpeg::JpegDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageResult, Limits, RgbImage};

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

/// How many times as long as its file what deflate inflates to can be.
const DEFLATE_RATIO: u64 = 1032;

/// The picture that `source` holds, upright: turned as its EXIF orientation says.
///
/// # Errors
///
/// [`ImageError`] says what is wrong with the source, and what would be right.
pub fn decode(source: &ImageSource) -> Result<Picture, ImageError> {
    match encoded(source)? {
        Ok(bytes) => decode_bytes(&bytes),
        Err((width, height, rgb)) => Picture::new(width, height, rgb.to_vec()),
    }
}

/// Refuses a source that is no picture, as far as its first bytes tell. Opens no file and decodes nothing.
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

type Pixels<'a> = (u32, u32, &'a [u8]);

/// The bytes of the encoded picture; or pixels, if that is what the source holds.
fn encoded(source: &ImageSource) -> Result<Result<Cow<'_, [u8]>, Pixels<'_>>, ImageError> {
    Ok(Ok(match source {
        ImageSource::Path(path) => Cow::Owned(read(path)?),
        ImageSource::Encoded(bytes) => Cow::Borrowed(of_length(bytes)?),
        ImageSource::Base64(text) => Cow::Owned(from_base64(text)?),
        ImageSource::DataUrl(url) => Cow::Owned(from_base64(base64_of(url)?)?),
        ImageSource::Pixels { width, height, rgb } => {
            Picture::check(*width, *height, rgb)?;
            return Ok(Err((*width, *height, rgb)));
        }
    }))
}

fn decode_bytes(bytes: &[u8]) -> Result<Picture, ImageError> {
    let format = Format::of(bytes)?;
    contain(|| decode_as(format, bytes))
        .unwrap_or_else(|message| Err(ImageError::DecoderPanicked { format, message }))
}

fn decode_as(format: Format, bytes: &[u8]) -> Result<Picture, ImageError> {
    let refused = |error| refusal(format, &error);
    let mut decoder = open(format, bytes).map_err(refused)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    let needed = decoder.total_bytes();
    if needed > MAX_DECODING {
        return Err(ImageError::TooMuchMemory { needed, most: MAX_DECODING });
    }
    if format == Format::Png && needed > (bytes.len() as u64).saturating_mul(8 * DEFLATE_RATIO) {
        return Err(ImageError::Hollow { format, width, height, bytes: bytes.len() as u64 });
    }
    if format == Format::Jpeg && !ends(bytes) {
        return Err(ImageError::Truncated { format });
    }
    decoder.set_limits(limits()).map_err(refused)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let pixels = rgb::of(DynamicImage::from_decoder(decoder).map_err(refused)?);
    let wrong = || ImageError::Damaged { format, reason: "a decoder's pixels are not as many as announced".into() };
    let pixels = RgbImage::from_raw(width, height, pixels).ok_or_else(wrong)?;
    let mut upright = DynamicImage::ImageRgb8(pixels);
    upright.apply_orientation(orientation);
    Picture::new(upright.width(), upright.height(), upright.into_rgb8().into_raw())
}

/// A decoder that has read the header and nothing else.
fn open<'a>(format: Format, bytes: &'a [u8]) -> ImageResult<Box<dyn ImageDecoder + 'a>> {
    let bytes = Cursor::new(bytes);
    Ok(match format {
        Format::Png => Box::new(PngDecoder::with_limits(bytes, limits())?),
        Format::Jpeg => Box::new(JpegDecoder::new(bytes)?),
        Format::WebP => Box::new(WebPDecoder::new(bytes)?),
        Format::Gif => Box::new(GifDecoder::new(bytes)?),
    })
}

fn limits() -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
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

/// Whether a JPEG has an end behind the start of its pixels. The decoder would fill up what is missing with grey.
fn ends(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some([0xff, marker, high, low]) = bytes.get(at..at + 4) {
        match marker {
            // Filling, or a marker without a segment.
            0xff => at += 1,
            0x01 | 0xd0..=0xd7 => at += 2,
            0xda => return bytes[at..].windows(2).any(|pair| pair == [0xff, 0xd9]),
            _ => at += 2 + usize::from(u16::from_be_bytes([*high, *low])),
        }
    }
    false
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
