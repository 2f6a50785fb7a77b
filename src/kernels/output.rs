//! Memory that several tasks fill, each its own part.

use std::ops::Range;

/// Where the results of an operation go: memory with room for all, of which every task writes its own part.
#[derive(Clone, Copy)]
pub(super) struct Output(*mut f32);

// SAFETY: it is an address; whoever writes to it says why nobody else does at that place.
#[allow(unsafe_code)]
unsafe impl Send for Output {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Output {}

impl Output {
    /// The room that `numbers` has beyond its length.
    pub(super) fn of(numbers: &mut Vec<f32>) -> Self {
        Self(numbers.spare_capacity_mut().as_mut_ptr().cast())
    }

    /// The memory from this row of `[rows, width]` on.
    pub(super) fn at_row(self, row: usize, width: usize) -> Self {
        Self(self.at(row, 0, width))
    }

    /// The place of a row and column of `[rows, width]`.
    pub(super) fn at(self, row: usize, column: usize, width: usize) -> *mut f32 {
        self.0.wrapping_add(row * width + column)
    }

    /// These columns of a row of `[rows, width]`.
    ///
    /// # Safety
    ///
    /// They lie in the memory, they have been written unless they are only written to now, and nobody else
    /// touches them meanwhile.
    #[allow(unsafe_code)]
    pub(super) unsafe fn row<'a>(self, row: usize, columns: Range<usize>, width: usize) -> &'a mut [f32] {
        let first = self.at(row, columns.start, width);
        // SAFETY: the caller's promise. Any bits are an f32.
        unsafe { std::slice::from_raw_parts_mut(first, columns.len()) }
    }
}
