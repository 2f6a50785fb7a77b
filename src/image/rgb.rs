//! Any pixels as red, green and blue, as Pillow's `convert("RGB")` has them.

use image::DynamicImage;

/// `width * height * 3` bytes.
///
/// Alpha is left out: what lies under it counts. 16 bits a colour lose their lower 8; but grey of 16 bits is cut
/// at 255, so that all but the darkest is white, which is what models see of such files in Python.
pub(super) fn of(picture: DynamicImage) -> Vec<u8> {
    match picture {
        DynamicImage::ImageRgb8(pixels) => pixels.into_raw(),
        DynamicImage::ImageRgba8(pixels) => without_alpha(pixels.into_raw()),
        DynamicImage::ImageLuma8(pixels) => greys::<1, _>(pixels.as_raw(), |byte| byte),
        DynamicImage::ImageLumaA8(pixels) => greys::<2, _>(pixels.as_raw(), |byte| byte),
        DynamicImage::ImageLuma16(pixels) => greys::<1, _>(pixels.as_raw(), |word| word.min(255) as u8),
        DynamicImage::ImageLumaA16(pixels) => greys::<2, _>(pixels.as_raw(), upper),
        DynamicImage::ImageRgb16(pixels) => pixels.as_raw().iter().copied().map(upper).collect(),
        DynamicImage::ImageRgba16(pixels) => {
            without_alpha(pixels.as_raw().iter().copied().map(upper).collect())
        }
        other => other.into_rgb8().into_raw(),
    }
}

fn upper(word: u16) -> u8 {
    (word >> 8) as u8
}

/// Of red, green, blue and alpha, in the memory they are in: it may be a lot.
fn without_alpha(mut pixels: Vec<u8>) -> Vec<u8> {
    let count = pixels.len() / 4;
    for at in 1..count {
        pixels.copy_within(4 * at..4 * at + 3, 3 * at);
    }
    pixels.truncate(3 * count);
    pixels
}

/// Of pixels of `N` numbers, of which the first is grey.
fn greys<const N: usize, T: Copy>(pixels: &[T], byte: impl Fn(T) -> u8) -> Vec<u8> {
    pixels.as_chunks::<N>().0.iter().flat_map(|pixel| [byte(pixel[0]); 3]).collect()
}
