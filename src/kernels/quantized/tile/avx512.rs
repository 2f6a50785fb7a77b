//! With AVX-512: two registers of sixteen lanes, `vpdpbusd`.

#![allow(clippy::needless_range_loop, reason = "several arrays of registers are walked at once")]
#![allow(clippy::wildcard_imports, reason = "instructions have names of their own")]

use std::arch::x86_64::*;

use super::super::activations::{Precision, step_words};
use super::super::expand::Expanded;
use super::super::format::Format;
use super::super::panel::{GROUP, LANES};
use super::{Functions, Work};

/// Registers of a row's sums.
const HALVES: usize = LANES / 16;

pub(super) fn functions<F: Format>(precision: Precision) -> Functions {
    let tiles: &'static [unsafe fn(&mut Work)] = match precision {
        Precision::Byte => &[
            tile::<F, 1, 1>,
            tile::<F, 2, 1>,
            tile::<F, 3, 1>,
            tile::<F, 4, 1>,
            tile::<F, 5, 1>,
            tile::<F, 6, 1>,
        ],
        Precision::Wide => &[tile::<F, 1, 2>, tile::<F, 2, 2>, tile::<F, 3, 2>, tile::<F, 4, 2>],
    };
    Functions { expand: expand::<F>, tiles }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma")]
fn expand<F: Format>(expanded: &mut Expanded, records: &[u8]) {
    expanded.fill::<F>(records);
}

type Ints<const R: usize> = [[__m512i; HALVES]; R];
type Sums<const R: usize> = [[__m512; HALVES]; R];

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma")]
fn tile<F: Format, const R: usize, const PLANES: usize>(work: &mut Work) {
    work.check(R, PLANES);
    // SAFETY: `check` has seen that `steps` steps of codes, scales, minimums and words of `R` rows, and `R`
    // sums, are there. What is asked for ahead need not be.
    #[allow(unsafe_code)]
    unsafe {
        let sums = work.sums.as_mut_ptr().cast::<f32>();
        let mut acc = [[_mm512_setzero_ps(); HALVES]; R];
        for r in 0..R {
            acc[r] = std::array::from_fn(|h| _mm512_loadu_ps(sums.add(r * LANES + 16 * h)));
        }
        for step in 0..work.steps {
            for line in step * work.lines..(step + 1) * work.lines {
                _mm_prefetch::<_MM_HINT_T0>(work.ahead.wrapping_add(line * 64).cast());
            }
            let codes = work.codes.as_ptr().add(step * work.stride);
            let words = work.words.as_ptr().add(step * step_words(PLANES) * R);
            if F::HALVES {
                add_halves::<F, R, PLANES>(
                    codes,
                    words,
                    work.scales.as_ptr().add(step * 2 * LANES),
                    &mut acc,
                );
            } else {
                let (scales, mins) = (work.scales.as_ptr(), work.mins.as_ptr());
                let (scales, mins) = (scales.add(step * LANES), mins.add(step * LANES));
                add_whole::<F, R, PLANES>(codes, words, scales, mins, &mut acc);
            }
        }
        for r in 0..R {
            for h in 0..HALVES {
                _mm512_storeu_ps(sums.add(r * LANES + 16 * h), acc[r][h]);
            }
        }
    }
}

/// One step with a scale, and perhaps a minimum, for all of it.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma")]
#[inline]
unsafe fn add_whole<F: Format, const R: usize, const PLANES: usize>(
    codes: *const u8,
    words: *const i32,
    scales: *const f32,
    mins: *const f32,
    acc: &mut Sums<R>,
) {
    // SAFETY: the caller has a step of each.
    unsafe {
        let extra = words.add(8 * PLANES * R);
        let dot = dots::<F, R, PLANES>(codes, words, 0, 0, 8);
        for h in 0..HALVES {
            let w = _mm512_loadu_ps(scales.add(16 * h));
            let min = if F::MINS { _mm512_loadu_ps(mins.add(16 * h)) } else { _mm512_setzero_ps() };
            for r in 0..R {
                let x = _mm512_set1_ps(f32::from_bits(extra.add(r).read().cast_unsigned()));
                let t = _mm512_mul_ps(_mm512_cvtepi32_ps(dot[r][h]), x);
                acc[r][h] = _mm512_fmadd_ps(t, w, acc[r][h]);
                if F::MINS {
                    let minus_sum = _mm512_set1_ps(f32::from_bits(extra.add(R + r).read().cast_unsigned()));
                    acc[r][h] = _mm512_fmadd_ps(minus_sum, min, acc[r][h]);
                }
            }
        }
    }
}

/// One step with a scale for each half.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma")]
#[inline]
unsafe fn add_halves<F: Format, const R: usize, const PLANES: usize>(
    codes: *const u8,
    words: *const i32,
    scales: *const f32,
    acc: &mut Sums<R>,
) {
    // SAFETY: the caller has a step of each.
    unsafe {
        let extra = words.add(8 * PLANES * R);
        let a = dots::<F, R, PLANES>(codes, words, 0, 0, 4);
        let b = dots::<F, R, PLANES>(codes, words, 1, 4, 8);
        for h in 0..HALVES {
            let wa = _mm512_loadu_ps(scales.add(16 * h));
            let wb = _mm512_loadu_ps(scales.add(LANES + 16 * h));
            for r in 0..R {
                let x = _mm512_set1_ps(f32::from_bits(extra.add(r).read().cast_unsigned()));
                let t = _mm512_mul_ps(_mm512_cvtepi32_ps(a[r][h]), wa);
                let t = _mm512_fmadd_ps(_mm512_cvtepi32_ps(b[r][h]), wb, t);
                acc[r][h] = _mm512_fmadd_ps(t, x, acc[r][h]);
            }
        }
    }
}

/// Codes less their offset times integers, over groups `from..to` of a step: its half `half`, or all of it.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma")]
#[inline]
unsafe fn dots<F: Format, const R: usize, const PLANES: usize>(
    codes: *const u8,
    words: *const i32,
    half: usize,
    from: usize,
    to: usize,
) -> Ints<R> {
    // SAFETY: the caller has a step of both.
    unsafe {
        let mut low: Ints<R> = [[_mm512_setzero_si512(); HALVES]; R];
        let mut high = low;
        if let Some(start) = F::START {
            let starts = words.add((8 * PLANES + start + half) * R);
            for r in 0..R {
                low[r] = [_mm512_set1_epi32(starts.add(r).read()); HALVES];
            }
        }
        for g in from..to {
            let w: [__m512i; HALVES] =
                std::array::from_fn(|h| _mm512_loadu_si512(codes.add(g * GROUP + 64 * h).cast()));
            for r in 0..R {
                let x = _mm512_set1_epi32(words.add(((PLANES - 1) * 8 + g) * R + r).read());
                low[r] = std::array::from_fn(|h| _mm512_dpbusd_epi32(low[r][h], w[h], x));
                if PLANES == 2 {
                    let x = _mm512_set1_epi32(words.add(g * R + r).read());
                    high[r] = std::array::from_fn(|h| _mm512_dpbusd_epi32(high[r][h], w[h], x));
                }
            }
        }
        if PLANES == 2 {
            for r in 0..R {
                let high = high[r].map(|high| _mm512_slli_epi32::<8>(high));
                low[r] = std::array::from_fn(|h| _mm512_add_epi32(high[h], low[r][h]));
            }
        }
        low
    }
}
