//! Any pixels as red, green and blue, as Pillow's `convert("RGB")` has them.

use image::DynamicImage;

/// `width * height * 3` bytes.
///
/// Alpha is left out: what lies under it counts. 16 bits a colour lose their lower 8; but grey of 16 bits is cut
/// at 255, so that all but the darkest is white, which is what models see of such files in Python.
pub(super) fn of(picture: DynamicImage) -> Vec<u8> {
    match picture {
        DynamicImage::ImageRgb8(pixels) => pixels.into_raw(),
        DynamicImage::ImageRgba8(pixels) => colours(pixels.as_raw(), |byte| byte),
        DynamicImage::ImageLuma8(pixels) => greys::<1, _>(pixels.as_raw(), |byte| byte),
        DynamicImage::ImageLumaA8(pixels) => greys::<2, _>(pixels.as_raw(), |byte| byte),
        DynamicImage::ImageLuma16(pixels) => greys::<1, _>(pixels.as_raw(), |word| word.min(255) as u8),
        DynamicImage::ImageLumaA16(pixels) => greys::<2, _>(pixels.as_raw(), upper),
        DynamicImage::ImageRgb16(pixels) => pixels.as_raw().iter().copied().map(upper).collect(),
        DynamicImage::ImageRgba16(pixels) => colours(pixels.as_raw(), upper),
        other => other.into_rgb8().into_raw(),
    }
}

fn upper(word: u16) -> u8 {
    (word >> 8) as u8
}

/// Of red, green, blue and alpha.
fn colours<T: Copy>(pixels: &[T], byte: impl Fn(T) -> u8) -> Vec<u8> {
    pixels.as_chunks::<4>().0.iter().flat_map(|[red, green, blue, _]| [*red, *green, *blue]).map(byte).collect()
}

/// Of pixels of `N` numbers, of which the first is grey.
fn greys<const N: usize, T: Copy>(pixels: &[T], byte: impl Fn(T) -> u8) -> Vec<u8> {
    pixels.as_chunks::<N>().0.iter().flat_map(|pixel| [byte(pixel[0]); 3]).collect()
}
