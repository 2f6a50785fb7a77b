//! With AVX2: four registers of eight lanes, one after the other, `vpmaddubsw`.

#![allow(clippy::needless_range_loop, reason = "several arrays of registers are walked at once")]
#![allow(clippy::wildcard_imports, reason = "instructions have names of their own")]

use std::arch::x86_64::*;

use super::super::activations::{Precision, step_words};
use super::super::expand::Expanded;
use super::super::format::Format;
use super::super::panel::{GROUP, LANES};
use super::{Functions, Work};

/// Lanes of a register.
const WIDTH: usize = 8;

pub(super) fn functions<F: Format>(precision: Precision) -> Functions {
    let tiles: &'static [unsafe fn(&mut Work)] = match precision {
        Precision::Byte => &[tile::<F, 1, 1>, tile::<F, 2, 1>, tile::<F, 3, 1>, tile::<F, 4, 1>],
        Precision::Wide => &[tile::<F, 1, 2>, tile::<F, 2, 2>, tile::<F, 3, 2>, tile::<F, 4, 2>],
    };
    Functions { expand: expand::<F>, tiles }
}

#[target_feature(enable = "avx2,fma")]
fn expand<F: Format>(expanded: &mut Expanded, records: &[u8]) {
    expanded.fill::<F>(records);
}

#[target_feature(enable = "avx2,fma")]
fn tile<F: Format, const R: usize, const PLANES: usize>(work: &mut Work) {
    work.check(R, PLANES);
    // SAFETY: `check` has seen that `steps` steps of codes, scales, minimums and words of `R` rows, and `R`
    // sums, are there; a register's lanes begin below `LANES`. What is asked for ahead need not be.
    #[allow(unsafe_code)]
    unsafe {
        for line in 0..work.steps * work.lines {
            _mm_prefetch::<_MM_HINT_T0>(work.ahead.wrapping_add(line * 64).cast());
        }
        for lane in (0..LANES).step_by(WIDTH) {
            let sums = work.sums.as_mut_ptr().cast::<f32>().add(lane);
            let mut acc: [__m256; R] = std::array::from_fn(|r| _mm256_loadu_ps(sums.add(r * LANES)));
            for step in 0..work.steps {
                let codes = work.codes.as_ptr().add(step * work.stride + 4 * lane);
                let words = work.words.as_ptr().add(step * step_words(PLANES) * R);
                if F::HALVES {
                    let scales = work.scales.as_ptr().add(step * 2 * LANES + lane);
                    add_halves::<F, R, PLANES>(codes, words, scales, &mut acc);
                } else {
                    let scales = work.scales.as_ptr().add(step * LANES + lane);
                    let mins = work.mins.as_ptr().add(step * LANES + lane);
                    add_whole::<F, R, PLANES>(codes, words, scales, mins, &mut acc);
                }
            }
            for r in 0..R {
                _mm256_storeu_ps(sums.add(r * LANES), acc[r]);
            }
        }
    }
}

/// One step with a scale, and perhaps a minimum, for all of it.
#[allow(unsafe_code)]
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn add_whole<F: Format, const R: usize, const PLANES: usize>(
    codes: *const u8,
    words: *const i32,
    scales: *const f32,
    mins: *const f32,
    acc: &mut [__m256; R],
) {
    // SAFETY: the caller has a step of each.
    unsafe {
        let extra = words.add(8 * PLANES * R);
        let (w, min) = (_mm256_loadu_ps(scales), _mm256_loadu_ps(mins));
        let dot = dots::<F, R, PLANES, 8>(codes, words, 0);
        for r in 0..R {
            let x = _mm256_set1_ps(f32::from_bits(extra.add(r).read().cast_unsigned()));
            let t = _mm256_mul_ps(_mm256_cvtepi32_ps(dot[r]), x);
            acc[r] = _mm256_fmadd_ps(t, w, acc[r]);
            if F::MINS {
                let minus_sum = _mm256_set1_ps(f32::from_bits(extra.add(R + r).read().cast_unsigned()));
                acc[r] = _mm256_fmadd_ps(minus_sum, min, acc[r]);
            }
        }
    }
}

/// One step with a scale for each half.
#[allow(unsafe_code)]
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn add_halves<F: Format, const R: usize, const PLANES: usize>(
    codes: *const u8,
    words: *const i32,
    scales: *const f32,
    acc: &mut [__m256; R],
) {
    // SAFETY: the caller has a step of each.
    unsafe {
        let extra = words.add(8 * PLANES * R);
        let (wa, wb) = (_mm256_loadu_ps(scales), _mm256_loadu_ps(scales.add(LANES)));
        let a = dots::<F, R, PLANES, 4>(codes, words, 0);
        let b = dots::<F, R, PLANES, 4>(codes, words, 1);
        for r in 0..R {
            let x = _mm256_set1_ps(f32::from_bits(extra.add(r).read().cast_unsigned()));
            let t = _mm256_mul_ps(_mm256_cvtepi32_ps(a[r]), wa);
            let t = _mm256_fmadd_ps(_mm256_cvtepi32_ps(b[r]), wb, t);
            acc[r] = _mm256_fmadd_ps(t, x, acc[r]);
        }
    }
}

/// Codes less their offset times integers, over part `part` of a step's groups: eight at a time, or four.
#[allow(unsafe_code)]
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn dots<F: Format, const R: usize, const PLANES: usize, const GROUPS: usize>(
    codes: *const u8,
    words: *const i32,
    part: usize,
) -> [__m256i; R] {
    // SAFETY: the caller has a step of both.
    unsafe {
        let mut total = [_mm256_setzero_si256(); R];
        if let Some(start) = F::START {
            let starts = words.add((8 * PLANES + start + part) * R);
            total = std::array::from_fn(|r| _mm256_set1_epi32(starts.add(r).read()));
        }
        let codes = codes.add(part * GROUPS * GROUP);
        for plane in 0..PLANES {
            let words = words.add((plane * 8 + part * GROUPS) * R);
            let dot = if F::BITS == 8 {
                eight_bits::<R, GROUPS>(codes, words)
            } else {
                few_bits::<F, R, GROUPS>(codes, words)
            };
            for r in 0..R {
                let dot = if plane + 1 < PLANES { _mm256_slli_epi32::<8>(dot[r]) } else { dot[r] };
                total[r] = _mm256_add_epi32(total[r], dot);
            }
        }
        total
    }
}

/// Codes of at most 6 bits: pairs of products are summed in 16 bits as long as they fit.
#[allow(unsafe_code)]
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn few_bits<F: Format, const R: usize, const GROUPS: usize>(
    codes: *const u8,
    words: *const i32,
) -> [__m256i; R] {
    let fitting = const { 32_767 / (((1usize << F::BITS) - 1) * 128 * 2) };
    let ones = _mm256_set1_epi16(1);
    // SAFETY: the caller has so many groups of both.
    unsafe {
        let mut dots = [_mm256_setzero_si256(); R];
        for first in (0..GROUPS).step_by(fitting) {
            let mut pairs = [_mm256_setzero_si256(); R];
            for g in first..(first + fitting).min(GROUPS) {
                let w = _mm256_loadu_si256(codes.add(g * GROUP).cast());
                for r in 0..R {
                    let x = _mm256_set1_epi32(words.add(g * R + r).read());
                    pairs[r] = _mm256_add_epi16(pairs[r], _mm256_maddubs_epi16(w, x));
                }
            }
            for r in 0..R {
                dots[r] = _mm256_add_epi32(dots[r], _mm256_madd_epi16(pairs[r], ones));
            }
        }
        dots
    }
}

/// Codes of 8 bits: pairs of products do not fit 16, so the uppermost bit goes its own way.
#[allow(unsafe_code)]
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn eight_bits<const R: usize, const GROUPS: usize>(
    codes: *const u8,
    words: *const i32,
) -> [__m256i; R] {
    let (ones, weight) = (_mm256_set1_epi16(1), _mm256_set1_epi16(128));
    // SAFETY: the caller has so many groups of both.
    unsafe {
        let mut dots = [_mm256_setzero_si256(); R];
        let mut tops = [_mm256_setzero_si256(); R];
        for g in 0..GROUPS {
            let w = _mm256_loadu_si256(codes.add(g * GROUP).cast());
            let low = _mm256_and_si256(w, _mm256_set1_epi8(127));
            let top = _mm256_and_si256(_mm256_srli_epi16::<7>(w), _mm256_set1_epi8(1));
            for r in 0..R {
                let x = _mm256_set1_epi32(words.add(g * R + r).read());
                let pairs = _mm256_madd_epi16(_mm256_maddubs_epi16(low, x), ones);
                dots[r] = _mm256_add_epi32(dots[r], pairs);
                tops[r] = _mm256_add_epi16(tops[r], _mm256_maddubs_epi16(top, x));
            }
        }
        for r in 0..R {
            dots[r] = _mm256_add_epi32(dots[r], _mm256_madd_epi16(tops[r], weight));
        }
        dots
    }
}
