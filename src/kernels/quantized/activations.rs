//! Activations as integers, in the order in which the dot products take them.

use rayon::prelude::*;

use super::isa::Isa;
use crate::kernels::widened;

/// Numbers that share one scale: neighbours in a row.
pub(super) const STEP: usize = 32;
/// Words of a step and row beside the integers: scale and minus scale times sum, in f32; -8 and -128 times
/// the sum; -32 times the sums of both halves. What codes are offset by starts the dot products.
pub(super) const EXTRA: usize = 6;

/// Numbers below which handing parts to other threads costs more than it saves.
const WORTH_SHARING: usize = 32_768;

/// How exactly activations are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precision {
    /// 8 bits: each number to 1/254 of the largest of its 32.
    Byte,
    /// 16 bits, in two bytes: to 1/65,024 of it. Twice the arithmetic, the same weight traffic.
    Wide,
}

impl Precision {
    /// Bytes of an integer.
    pub(super) const fn planes(self) -> usize {
        match self {
            Self::Byte => 1,
            Self::Wide => 2,
        }
    }
}

/// The input of linear layers, `[rows, width]`, as integers with one scale per 32.
///
/// What is computed of a row depends on that row only.
#[derive(Debug)]
pub(crate) struct Activations {
    isa: Isa,
    precision: Precision,
    rows: usize,
    width: usize,
    words: Vec<i32>,
}

/// Rows that are computed together, and where their words are. `[step]` of
/// `[plane][group][row]` words of four integers, then [`EXTRA`] times `[row]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile<'a> {
    pub(super) first: usize,
    pub(super) rows: usize,
    pub(super) words: &'a [i32],
}

impl Activations {
    /// Those of `xs`, `[xs.len() / width, width]`, for the functions of `isa`. A number that is not finite makes
    /// every output of its row not-a-number.
    pub(super) fn of(isa: Isa, precision: Precision, xs: &[f32], width: usize) -> Self {
        assert!(
            width > 0 && width.is_multiple_of(STEP) && xs.len().is_multiple_of(width),
            "{} numbers in rows of {width}",
            xs.len()
        );
        let mut made = Self { isa, precision, rows: xs.len() / width, width, words: Vec::new() };
        made.words.resize(made.rows * made.row_words(), 0);
        made.quantize(xs);
        made
    }

    /// Fills the words.
    fn quantize(&mut self, xs: &[f32]) {
        let width = self.width;
        let few = self.rows * width < WORTH_SHARING;
        let mut tiles = Vec::with_capacity(self.tile_count());
        let (row_words, mut words) = (self.row_words(), self.words.as_mut_slice());
        for (first, rows) in spans(self.rows, self.isa.tile_rows(self.precision)) {
            let (tile, rest) = words.split_at_mut(rows * row_words);
            words = rest;
            tiles.push((tile, &xs[first * width..(first + rows) * width]));
        }
        let quantize = match self.precision {
            Precision::Byte => quantize_byte,
            Precision::Wide => quantize_wide,
        };
        if few {
            tiles.into_iter().for_each(|(words, xs)| quantize(words, xs, width));
        } else {
            tiles.into_par_iter().for_each(|(words, xs)| quantize(words, xs, width));
        }
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// How long each is.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn isa(&self) -> Isa {
        self.isa
    }

    pub(super) fn precision(&self) -> Precision {
        self.precision
    }

    /// Words of one row and step.
    pub(super) fn step_words(&self) -> usize {
        step_words(self.precision.planes())
    }

    fn row_words(&self) -> usize {
        self.width / STEP * self.step_words()
    }

    pub(super) fn tile_count(&self) -> usize {
        self.rows.div_ceil(self.isa.tile_rows(self.precision))
    }

    /// Every row, in order, in tiles that differ by at most one row.
    pub(super) fn tiles(&self) -> impl Iterator<Item = Tile<'_>> {
        let row_words = self.row_words();
        spans(self.rows, self.isa.tile_rows(self.precision)).map(move |(first, rows)| Tile {
            first,
            rows,
            words: &self.words[first * row_words..(first + rows) * row_words],
        })
    }
}

/// Words of one row and step with so many bytes to an integer.
pub(super) const fn step_words(planes: usize) -> usize {
    planes * STEP / 4 + EXTRA
}

/// Cuts `rows` into the fewest spans of at most `most`: first and length of each.
fn spans(rows: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = rows.div_ceil(most);
    (0..count).map(move |i| (i * rows / count, (i + 1) * rows / count - i * rows / count))
}

/// The scale of 32 numbers, and the numbers in units of it, so that the largest becomes `top`.
///
/// The scale is not-a-number where one of them is infinite or none, and 0 where all are next to nothing.
#[allow(clippy::inline_always, reason = "its callers are compiled for wider instruction sets")]
#[inline(always)]
fn integers(xs: &[f32; STEP], top: f32) -> (f32, [i32; STEP]) {
    const INFINITE: u32 = 0x7f80_0000;
    /// Added to a number below 2^22, leaves its nearest integer, ties to even, in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let largest = xs.iter().fold(0, |largest, x| largest.max(x.to_bits() & 0x7fff_ffff));
    if largest >= INFINITE {
        return (f32::NAN, [0; STEP]);
    }
    let magnitude = f32::from_bits(largest);
    if magnitude < 1e-30 {
        return (0.0, [0; STEP]);
    }
    let inverse = top / magnitude;
    let integer = |x: f32| (x * inverse + ROUND).to_bits().wrapping_sub(ROUND.to_bits()).cast_signed();
    (magnitude / top, xs.map(integer))
}

#[allow(clippy::inline_always, reason = "its callers are compiled for wider instruction sets")]
#[inline(always)]
fn extra(words: &mut [i32], rows: usize, row: usize, scale: f32, q: &[i32; STEP]) {
    let low: i32 = q[..STEP / 2].iter().sum();
    let high: i32 = q[STEP / 2..].iter().sum();
    let sum = low + high;
    let values = [
        scale.to_bits().cast_signed(),
        (-scale * sum as f32).to_bits().cast_signed(),
        -8 * sum,
        -128 * sum,
        -32 * low,
        -32 * high,
    ];
    for (i, value) in values.into_iter().enumerate() {
        words[i * rows + row] = value;
    }
}

/// Neighbours four to a word.
#[allow(clippy::inline_always, reason = "its callers are compiled for wider instruction sets")]
#[inline(always)]
fn quads(q: [i8; STEP], words: &mut [i32], rows: usize, row: usize) {
    for (g, q) in q.as_chunks::<4>().0.iter().enumerate() {
        words[g * rows + row] = i32::from_le_bytes(q.map(i8::cast_unsigned));
    }
}

widened! {
    fn quantize_byte(words: &mut [i32], xs: &[f32], width: usize) {
        let rows = xs.len() / width;
        for (row, xs) in xs.chunks_exact(width).enumerate() {
            let steps = words.chunks_exact_mut(rows * step_words(1));
            for (words, xs) in steps.zip(xs.as_chunks::<STEP>().0) {
                let (scale, q) = integers(xs, 127.0);
                quads(q.map(|q| q as i8), words, rows, row);
                extra(&mut words[8 * rows..], rows, row, scale, &q);
            }
        }
    }
}

widened! {
    // `q = 256 high + low`, both signed bytes.
    fn quantize_wide(words: &mut [i32], xs: &[f32], width: usize) {
        let rows = xs.len() / width;
        for (row, xs) in xs.chunks_exact(width).enumerate() {
            let steps = words.chunks_exact_mut(rows * step_words(2));
            for (words, xs) in steps.zip(xs.as_chunks::<STEP>().0) {
                let (scale, q) = integers(xs, 32_512.0);
                quads(q.map(|q| ((q + 128) >> 8) as i8), words, rows, row);
                quads(q.map(|q| q as i8), &mut words[8 * rows..], rows, row);
                extra(&mut words[16 * rows..], rows, row, scale, &q);
            }
        }
    }
}
