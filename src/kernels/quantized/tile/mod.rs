//! The product of a stretch of one panel and a tile of rows, for each instruction set.
//!
//! One definition for all of them, for any number of rows: each of (row, lane) has its own sum, to which the
//! steps of 32 neighbours are added in order,
//!
//! ```text
//! sum = fma(f32(dot) * x_scale, w_scale, sum)             dot = sum of x (code - offset), exact
//! sum = fma(-(x_scale * f32(sum of x)), w_min, sum)       where there are minimums
//! ```
//!
//! and with scales per 16,
//!
//! ```text
//! t = fma(f32(dot_1), w_scale_1, f32(dot_0) * w_scale_0)
//! sum = fma(t, x_scale, sum)
//! ```
//!
//! So a row's result depends neither on the other rows, nor on the threads, nor on the processor.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use super::activations::{Precision, step_words};
use super::expand::{Expanded, STEP_CODES, STEPS};
use super::format::Format;
use super::isa::Isa;
use super::panel::LANES;

/// What a tile function reads and changes.
#[derive(Debug)]
pub(super) struct Work<'a> {
    /// `[step][group][lane][4]`, steps `stride` bytes apart.
    pub(super) codes: &'a [u8],
    /// Bytes from one step's codes to the next.
    pub(super) stride: usize,
    /// `[step][lane]`, or `[step][half][lane]`.
    pub(super) scales: &'a [f32; 2 * STEPS * LANES],
    /// `[step][lane]`.
    pub(super) mins: &'a [f32; STEPS * LANES],
    /// Steps of weights, and of activations.
    pub(super) steps: usize,
    /// The activations of these steps.
    pub(super) words: &'a [i32],
    /// Weights that will be wanted soon: so many lines of 64 bytes are asked for in each step.
    pub(super) ahead: *const u8,
    /// How many.
    pub(super) lines: usize,
    /// `[row][lane]`.
    pub(super) sums: &'a mut [[f32; LANES]],
}

impl Work<'_> {
    /// What unchecked reads and writes rely on: that all the steps of `rows` rows are there.
    fn check(&self, rows: usize, planes: usize) {
        assert!(self.steps <= STEPS && self.sums.len() >= rows);
        assert!(self.words.len() >= self.steps * step_words(planes) * rows);
        assert!(self.steps == 0 || self.codes.len() >= (self.steps - 1) * self.stride + STEP_CODES);
    }
}

/// What one instruction set has for one kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Functions {
    /// [`Expanded::fill`]. To be called on a processor that has the instruction set.
    pub(super) expand: unsafe fn(&mut Expanded, &[u8]),
    /// Adds a product to sums, at index `rows - 1`. As above.
    pub(super) tiles: &'static [unsafe fn(&mut Work)],
}

/// The functions for a kind.
pub(super) fn functions<F: Format>(isa: Isa, precision: Precision) -> Functions {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => avx512::functions::<F>(precision),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => avx2::functions::<F>(precision),
        Isa::Portable => portable::functions::<F>(precision),
    }
}
