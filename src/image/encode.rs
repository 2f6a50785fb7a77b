//! From pixels to a file's bytes.

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};

use super::{ImageError, Picture};

/// How a picture is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encoding {
    /// PNG: nothing is lost.
    Png,
    /// JPEG.
    Jpeg {
        /// From 1, small and coarse, to 100.
        quality: u8,
    },
    /// WebP: nothing is lost.
    WebP,
}

/// The file of a picture, 8 bits of red, green and blue a pixel.
///
/// # Errors
///
/// [`ImageError::NotEncoded`] if the encoder refuses, for which no picture gives it a reason but its size: WebP has
/// at most 16,384 pixels on a side, JPEG 65,535.
pub fn encode(picture: &Picture, encoding: Encoding) -> Result<Vec<u8>, ImageError> {
    let mut file = Vec::new();
    let written = match encoding {
        Encoding::Png => write(PngEncoder::new(&mut file), picture),
        Encoding::Jpeg { quality } => {
            write(JpegEncoder::new_with_quality(&mut file, quality.clamp(1, 100)), picture)
        }
        Encoding::WebP => write(WebPEncoder::new_lossless(&mut file), picture),
    };
    written.map_err(|error| ImageError::NotEncoded { reason: error.to_string() })?;
    Ok(file)
}

/// [`encode`] as a PNG.
pub fn encode_png(picture: &Picture) -> Result<Vec<u8>, ImageError> {
    encode(picture, Encoding::Png)
}

fn write(encoder: impl ImageEncoder, picture: &Picture) -> image::ImageResult<()> {
    encoder.write_image(picture.rgb(), picture.width(), picture.height(), ExtendedColorType::Rgb8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::ImageSource;
    use crate::image::{Format, decode};

    fn picture() -> Picture {
        let rgb: Vec<u8> = (0..5 * 3 * 3).map(|byte| byte * 5).collect();
        Picture::new(5, 3, rgb).unwrap()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let png = encode_png(&picture()).unwrap();
        assert_eq!(decode(&ImageSource::encoded(png)).unwrap(), picture());
        let webp = encode(&picture(), Encoding::WebP).unwrap();
        assert_eq!(Format::of(&webp).unwrap(), Format::WebP);
        assert_eq!(decode(&ImageSource::encoded(webp)).unwrap(), picture());
    }

    #[test]
    fn a_jpeg_is_about_what_was_written() {
        let jpeg = |quality| encode(&picture(), Encoding::Jpeg { quality }).unwrap();
        assert_eq!(Format::of(&jpeg(0)).unwrap(), Format::Jpeg);
        let read = decode(&ImageSource::encoded(jpeg(100))).unwrap();
        let off = read.rgb().iter().zip(picture().rgb()).map(|(read, written)| read.abs_diff(*written)).max();
        assert!((1..=16).contains(&off.unwrap()), "{off:?} of 255 at most");
        assert!(jpeg(10).len() < jpeg(100).len());
    }
}
