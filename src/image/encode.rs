//! From pixels to a PNG.

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use super::{ImageError, Picture};

/// The PNG of a picture, 8 bits of red, green and blue a pixel.
///
/// # Errors
///
/// [`ImageError::NotEncoded`] if the encoder refuses, which no picture gives it a reason for.
pub fn encode_png(picture: &Picture) -> Result<Vec<u8>, ImageError> {
    let mut png = Vec::new();
    let encoder = PngEncoder::new(&mut png);
    encoder
        .write_image(picture.rgb(), picture.width(), picture.height(), ExtendedColorType::Rgb8)
        .map_err(|error| ImageError::NotEncoded { reason: error.to_string() })?;
    Ok(png)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::ImageSource;
    use crate::image::decode;

    #[test]
    fn what_is_written_is_read_again() {
        let rgb: Vec<u8> = (0..5 * 3 * 3).map(|byte| byte * 5).collect();
        let picture = Picture::new(5, 3, rgb).unwrap();
        let png = encode_png(&picture).unwrap();
        assert_eq!(decode(&ImageSource::encoded(png)).unwrap(), picture);
    }
}
