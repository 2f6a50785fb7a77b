//! Resizing as Pillow does it: along rows, then along columns, each pass rounded to 8 bits, weights as integers
//! of 22 bits behind the point. A filter widens with the scale when a picture shrinks, so that every pixel counts.
//!
//! Only what is asked for is computed: a narrow picture whose short side grows to what a network reads would be
//! millions of pixels long, most of which are then cut off. Library crates compute whole pictures.

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
    let needed = down.as_ref().map_or(rows.shown.clone(), Taps::reach);
    let lines = picture.rgb().chunks_exact(3 * width).skip(needed.start).take(needed.len());
    let mut narrow = Vec::with_capacity(needed.len() * columns.shown.len() * 3);
    for line in lines {
        match &across {
            Some(taps) => taps.along(line, &mut narrow),
            None => narrow.extend_from_slice(&line[3 * columns.shown.start..3 * columns.shown.end]),
        }
    }
    match down {
        Some(taps) => taps.across(&narrow, 3 * columns.shown.len(), needed.start),
        None => narrow,
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
    fn reach(&self) -> std::ops::Range<usize> {
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

    /// One line of pixels, resized, to the end of `out`.
    fn along(&self, line: &[u8], out: &mut Vec<u8>) {
        let pixels = line.as_chunks::<3>().0;
        for (first, weights) in self.each() {
            let mut sums = [HALF; 3];
            for (pixel, weight) in pixels[first..].iter().zip(weights) {
                for (sum, colour) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(*colour) * weight;
                }
            }
            out.extend(sums.map(rounded));
        }
    }

    /// Lines of `width` bytes, the first of which is number `start` of the picture, resized across.
    fn across(&self, lines: &[u8], width: usize, start: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.spans.len() * width);
        let mut sums = vec![HALF; width];
        for (first, weights) in self.each() {
            sums.fill(HALF);
            let own = lines[(first - start) * width..].chunks_exact(width);
            for (line, weight) in own.zip(weights) {
                for (sum, colour) in sums.iter_mut().zip(line) {
                    *sum += i32::from(*colour) * weight;
                }
            }
            out.extend(sums.iter().copied().map(rounded));
        }
        out
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
