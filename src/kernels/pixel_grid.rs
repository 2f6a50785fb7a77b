//! Where the rows of a tensor lie in pictures.

/// Pictures of one size, one after the other, each row by row from the top: a pixel to a row of the tensor, and
/// its channels side by side. So layers of single pixels are linear layers on rows, like those of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PixelGrid {
    pub(crate) pictures: usize,
    /// In pixels.
    pub(crate) height: usize,
    /// In pixels.
    pub(crate) width: usize,
}

impl PixelGrid {
    /// Pixels of one picture.
    pub(crate) fn pixels(self) -> usize {
        self.height * self.width
    }

    /// Rows of the tensor.
    pub(crate) fn rows(self) -> usize {
        self.pictures * self.pixels()
    }
}
