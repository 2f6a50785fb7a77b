//! Resizing as Pillow does it: along rows, then along columns, each pass rounded to 8 bits, weights as integers
//! of 22 bits behind the point. A filter widens with the scale when a picture shrinks, so that every pixel counts.
//!
//! Only what is asked for is computed: a narrow picture whose short side grows to what a network reads would be
//! millions of pixels long, most of which are then cut off. Library crates compute whole pictures.

use std::ops::Range;

use super::resample::Resample;
use super::{Picture, window::Window};

/// How many bits of a weight are behind the point: 32, less the 8 of a pixel and 2 for sums beyond 1.
const FRACTION_BITS: u32 = 32 - 8 - 2;

/// What is rounded to the nearest when the fraction is cut.
const HALF: i32 = 1 << (FRACTION_BITS - 1);

/// The part of the resized picture that the windows show: its rows from the top, red, green and blue.
pub(super) fn resize(picture: &Picture, filter: Resample, columns: &Window, rows: &Window) -> Vec<u8> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    if filter == Resample::Nearest {
        return nearest(picture, columns, rows);
    }
    // What is as long as before stays as it is.
    let across = (columns.full != width).then(|| Taps::new(filter, width, columns));
    let down = (rows.full != height).then(|| Taps::new(filter, height, rows));
    let needed_columns = across.as_ref().map_or(columns.shown.clone(), Taps::reach);
    let needed_rows = down.as_ref().map_or(rows.shown.clone(), Taps::reach);
    let source = Pixels { rgb: picture.rgb(), columns: 0..width, top: 0 };
    if is_lowered_first(picture, columns, rows) {
        let low = source.lowered(down.as_ref(), &needed_columns, &rows.shown);
        let low = Pixels { rgb: &low, columns: needed_columns, top: rows.shown.start };
        return low.narrowed(across.as_ref(), &columns.shown, &rows.shown);
    }
    let narrow = source.narrowed(across.as_ref(), &columns.shown, &needed_rows);
    let narrow = Pixels { rgb: &narrow, columns: columns.shown.clone(), top: needed_rows.start };
    narrow.lowered(down.as_ref(), &columns.shown, &rows.shown)
}

/// Whether columns come before rows, which can be seen in the last bits: where a picture loses more than twice as
/// many rows as columns. So Pillow 13 has it, as its results tell; before, rows always came first.
fn is_lowered_first(picture: &Picture, columns: &Window, rows: &Window) -> bool {
    let lost = |before: u32, after: usize| (before as usize).saturating_sub(after);
    lost(picture.height(), rows.full) > 2 * lost(picture.width(), columns.full)
}

/// A part of a picture.
struct Pixels<'a> {
    rgb: &'a [u8],
    /// Which of the picture's columns they are.
    columns: Range<usize>,
    /// Which of the picture's rows is the first.
    top: usize,
}

impl Pixels<'_> {
    /// These columns of a row of the picture.
    fn line(&self, row: usize, columns: &Range<usize>) -> &[u8] {
        let start = (row - self.top) * self.columns.len() + columns.start - self.columns.start;
        &self.rgb[3 * start..][..3 * columns.len()]
    }

    /// These rows, each resized to the columns shown.
    fn narrowed(&self, taps: Option<&Taps>, shown: &Range<usize>, rows: &Range<usize>) -> Vec<u8> {
        let mut out = Vec::with_capacity(3 * shown.len() * rows.len());
        for row in rows.clone() {
            match taps {
                Some(taps) => taps.along(self.line(row, &self.columns), self.columns.start, &mut out),
                None => out.extend_from_slice(self.line(row, shown)),
            }
        }
        out
    }

    /// These columns, each resized to the rows shown.
    fn lowered(&self, taps: Option<&Taps>, columns: &Range<usize>, shown: &Range<usize>) -> Vec<u8> {
        let mut out = Vec::with_capacity(3 * columns.len() * shown.len());
        match taps {
            Some(taps) => taps.across(|row| self.line(row, columns), 3 * columns.len(), &mut out),
            None => shown.clone().for_each(|row| out.extend_from_slice(self.line(row, columns))),
        }
        out
    }
}

/// The pixels that one pixel of the result is made of, for some of them.
struct Taps {
    /// Where each one's first pixel is, and how many it has.
    spans: Vec<(usize, usize)>,
    /// Their weights, one after the other.
    weights: Vec<i32>,
}

impl Taps {
    /// For the pixels that `window` shows of a line that had `length`.
    fn new(filter: Resample, length: usize, window: &Window) -> Self {
        let scale = length as f64 / window.full as f64;
        let widened = scale.max(1.0);
        let support = filter.support() * widened;
        let (mut spans, mut weights) = (Vec::with_capacity(window.shown.len()), Vec::new());
        let mut own = Vec::new();
        for place in window.shown.clone() {
            let middle = (place as f64 + 0.5) * scale;
            // A cast to an unsigned integer cuts what is below zero off.
            let first = (middle - support + 0.5) as usize;
            let end = ((middle + support + 0.5) as usize).min(length);
            own.clear();
            own.extend((first..end).map(|x| filter.weight((x as f64 - middle + 0.5) / widened)));
            let sum: f64 = own.iter().sum();
            let sum = if sum == 0.0 { 1.0 } else { sum };
            weights.extend(own.iter().map(|weight| fixed(weight / sum)));
            spans.push((first, end.saturating_sub(first)));
        }
        Self { spans, weights }
    }

    /// From the first pixel that any needs to the last.
    fn reach(&self) -> Range<usize> {
        let start = self.spans.iter().map(|(first, _)| *first).min().unwrap_or(0);
        let end = self.spans.iter().map(|(first, count)| first + count).max().unwrap_or(0);
        start..end.max(start)
    }

    /// The pixels of the result with their weights.
    fn each(&self) -> impl Iterator<Item = (usize, &[i32])> {
        let mut rest = self.weights.as_slice();
        self.spans.iter().map(move |(first, count)| {
            let (own, others) = rest.split_at(*count);
            rest = others;
            (*first, own)
        })
    }

    /// A line of pixels, the first of which is number `start`, resized, to the end of `out`.
    fn along(&self, line: &[u8], start: usize, out: &mut Vec<u8>) {
        let pixels = line.as_chunks::<3>().0;
        for (first, weights) in self.each() {
            let mut sums = [HALF; 3];
            for (pixel, weight) in pixels[first - start..].iter().zip(weights) {
                for (sum, colour) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(*colour) * weight;
                }
            }
            out.extend(sums.map(rounded));
        }
    }

    /// Lines of `width` bytes, resized across them, to the end of `out`.
    fn across<'a>(&self, line: impl Fn(usize) -> &'a [u8], width: usize, out: &mut Vec<u8>) {
        let mut sums = vec![HALF; width];
        for (first, weights) in self.each() {
            sums.fill(HALF);
            for (row, weight) in (first..).zip(weights) {
                for (sum, colour) in sums.iter_mut().zip(line(row)) {
                    *sum += i32::from(*colour) * weight;
                }
            }
            out.extend(sums.iter().copied().map(rounded));
        }
    }
}

/// A weight as an integer, rounded to the nearest.
fn fixed(weight: f64) -> i32 {
    (weight * f64::from(1 << FRACTION_BITS)).round() as i32
}

fn rounded(sum: i32) -> u8 {
    (sum >> FRACTION_BITS).clamp(0, 255) as u8
}

/// Each pixel that of the original that its middle lies in.
fn nearest(picture: &Picture, columns: &Window, rows: &Window) -> Vec<u8> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let pixels = picture.rgb().as_chunks::<3>().0;
    let columns: Vec<_> = middles(width, columns).collect();
    let mut out = Vec::with_capacity(rows.shown.len() * columns.len() * 3);
    for row in middles(height, rows) {
        out.extend(columns.iter().flat_map(|column| pixels[row * width + column]));
    }
    out
}

/// Where the middles of the pixels that `window` shows lie in a line that had `length`. Added up step by step, as
/// the reference does it, because a product is rounded otherwise.
fn middles(length: usize, window: &Window) -> impl Iterator<Item = usize> {
    let step = length as f64 / window.full as f64;
    let mut middle = step * 0.5;
    let all = (0..window.shown.end).map(move |_| {
        let place = middle as usize;
        middle += step;
        place.min(length - 1)
    });
    all.skip(window.shown.start)
}
