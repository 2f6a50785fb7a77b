//! Six pictures to look at, 64 x 64 pixels each. `tests/fixtures/world/make.py gallery` has drawn them.

use crate::capability::ImageSource;
use crate::cli::failure::Failure;
use crate::image::{Picture, Resample, decode};

const FILES: [&[u8]; 6] = [
    include_bytes!("gallery/1.png"),
    include_bytes!("gallery/2.png"),
    include_bytes!("gallery/3.png"),
    include_bytes!("gallery/4.png"),
    include_bytes!("gallery/5.png"),
    include_bytes!("gallery/6.png"),
];

pub(super) fn images() -> [ImageSource; 6] {
    FILES.map(ImageSource::encoded)
}

/// The picture, so many pixels wide and high.
pub(super) fn shrunken(image: &ImageSource, side: u32) -> Result<Picture, Failure> {
    Ok(decode(image)?.resize(side, side, Resample::Box)?)
}
