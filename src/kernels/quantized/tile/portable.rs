//! Without any special instruction. What the others are checked against.

use super::super::activations::{EXTRA, Precision, step_words};
use super::super::expand::{Expanded, STEP_CODES};
use super::super::format::Format;
use super::super::panel::{GROUP, LANES};
use super::{Functions, Work};

pub(super) fn functions<F: Format>(precision: Precision) -> Functions {
    let tiles: &'static [unsafe fn(&mut Work)] = match precision {
        Precision::Byte => &[tile::<F, 1, 1>, tile::<F, 2, 1>, tile::<F, 3, 1>, tile::<F, 4, 1>],
        Precision::Wide => &[tile::<F, 1, 2>, tile::<F, 2, 2>, tile::<F, 3, 2>, tile::<F, 4, 2>],
    };
    Functions { expand: Expanded::fill::<F>, tiles }
}

fn tile<F: Format, const R: usize, const PLANES: usize>(work: &mut Work) {
    let steps = work.words.chunks_exact(step_words(PLANES) * R).take(work.steps);
    for (step, words) in steps.enumerate() {
        let codes = &work.codes[step * work.stride..][..STEP_CODES];
        for (r, sums) in work.sums.iter_mut().take(R).enumerate() {
            let extra: [i32; EXTRA] = std::array::from_fn(|i| words[(8 * PLANES + i) * R + r]);
            let x_scale = f32::from_bits(extra[0].cast_unsigned());
            let minus_sum = f32::from_bits(extra[1].cast_unsigned());
            let start = |half| F::START.map_or(0, |start| extra[start + half]);
            let dots = |groups| dots::<R, PLANES>(codes, words, r, groups);
            if F::HALVES {
                let (a, b) = (dots(0..4), dots(4..8));
                let scales = &work.scales[step * 2 * LANES..][..2 * LANES];
                for n in 0..LANES {
                    let t = (a[n] + start(0)) as f32 * scales[n];
                    let t = ((b[n] + start(1)) as f32).mul_add(scales[LANES + n], t);
                    sums[n] = t.mul_add(x_scale, sums[n]);
                }
                continue;
            }
            let dot = dots(0..8);
            for n in 0..LANES {
                let t = (dot[n] + start(0)) as f32 * x_scale;
                sums[n] = t.mul_add(work.scales[step * LANES + n], sums[n]);
                if F::MINS {
                    sums[n] = minus_sum.mul_add(work.mins[step * LANES + n], sums[n]);
                }
            }
        }
    }
}

/// Codes times integers in every lane.
fn dots<const R: usize, const PLANES: usize>(
    codes: &[u8],
    words: &[i32],
    row: usize,
    groups: std::ops::Range<usize>,
) -> [i32; LANES] {
    let mut dots = [0; LANES];
    for g in groups {
        let mut x = [0; 4];
        for plane in 0..PLANES {
            let bytes = words[(8 * plane + g) * R + row].to_le_bytes();
            for (x, byte) in x.iter_mut().zip(bytes) {
                *x = 256 * *x + i32::from(byte.cast_signed());
            }
        }
        for (dot, w) in dots.iter_mut().zip(codes[g * GROUP..].as_chunks::<4>().0) {
            *dot += (0..4).map(|i| i32::from(w[i]) * x[i]).sum::<i32>();
        }
    }
    dots
}
