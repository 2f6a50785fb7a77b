//! Decoded pixels.

use super::decode::check_size;
use super::resize::resize;
use super::window::Window;
use super::{ImageError, Resample};

/// A decoded picture: 8 bits of red, green and blue a pixel.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl Picture {
    /// A picture of these pixels: rows from the top, red, green and blue.
    ///
    /// # Errors
    ///
    /// [`ImageError`] unless there is at least one, no more than are looked at, and three bytes for each.
    pub fn new(width: u32, height: u32, rgb: Vec<u8>) -> Result<Self, ImageError> {
        Self::check(width, height, &rgb)?;
        Ok(Self { width, height, rgb })
    }

    /// What [`new`](Self::new) checks.
    pub(super) fn check(width: u32, height: u32, rgb: &[u8]) -> Result<(), ImageError> {
        check_size(width, height)?;
        let expected = u64::from(width) * u64::from(height) * 3;
        if rgb.len() as u64 != expected {
            return Err(ImageError::WrongLength { width, height, expected, found: rgb.len() });
        }
        Ok(())
    }

    /// The picture resized to other sides, as Pillow does it.
    ///
    /// # Errors
    ///
    /// [`ImageError`] unless it will have at least one pixel and no more than are looked at.
    pub fn resize(&self, width: u32, height: u32, filter: Resample) -> Result<Self, ImageError> {
        check_size(width, height)?;
        let (columns, rows) = (Window::whole(width as usize), Window::whole(height as usize));
        Ok(Self { width, height, rgb: resize(self, filter, &columns, &rows) })
    }

    /// The part of these sides whose upper left corner is here; all of it must be in the picture.
    pub(super) fn part(&self, left: u32, top: u32, width: u32, height: u32) -> Self {
        let mut rgb = Vec::with_capacity(3 * width as usize * height as usize);
        for row in top..top + height {
            let start = 3 * (row as usize * self.width as usize + left as usize);
            rgb.extend_from_slice(&self.rgb[start..][..3 * width as usize]);
        }
        Self { width, height, rgb }
    }

    /// Pixels a row; at least 1.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows; at least 1.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// `width * height * 3` bytes: rows from the top, red, green and blue.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Picture")
            .field("width", &self.width)
            .field("height", &self.height)
            .finish_non_exhaustive()
    }
}
