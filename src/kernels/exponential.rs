//! The exponential function, without a branch, so that a compiler can do several at a time, and the soft maximum
//! made of it.

use super::widened;

/// `e^x` to within two units in the last place where that is a normal number; less than those is 0, more is
/// infinite, and what is no number stays none.
///
/// `2^n * e^r` with `n` whole and `|r| <= ln 2 / 2`: the reduction by a two-part `ln 2` of Cody and Waite, "Software
/// Manual for the Elementary Functions" (1980). The polynomial is the Taylor series, whose next term is below a
/// quarter of the last place on this interval.
#[allow(clippy::inline_always, reason = "its callers are compiled for wider instruction sets")]
#[inline(always)]
pub(super) fn exp<const FUSED: bool>(x: f32) -> f32 {
    /// Adding this to a number below 2^22 leaves the nearest whole number in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    const SERIES: [f32; 8] = [1.0, 1.0, 0.5, 1.0 / 6.0, 1.0 / 24.0, 1.0 / 120.0, 1.0 / 720.0, 1.0 / 5040.0];
    // Beyond these the scale below would wrap; results there are 0 and infinity to f32 anyway.
    let held = x.clamp(-87.0, 88.0);
    let shifted = fused::<FUSED>(held, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = fused::<FUSED>(n, -LN_2_LOW, fused::<FUSED>(n, -LN_2_HIGH, held));
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits());
    let scale = f32::from_bits(exponent.wrapping_add(127) << 23);
    let within = polynomial::<FUSED, 8>(SERIES, r) * scale;
    let small = if x < -87.0 { 0.0 } else { within };
    if x > 88.0 { f32::INFINITY } else { small }
}

/// `c[0] + c[1] x + c[2] x^2 + ...`
#[allow(clippy::inline_always, reason = "its callers are compiled for wider instruction sets")]
#[inline(always)]
pub(super) fn polynomial<const FUSED: bool, const N: usize>(coefficients: [f32; N], x: f32) -> f32 {
    let mut sum = coefficients[N - 1];
    for c in coefficients[..N - 1].iter().rev() {
        sum = fused::<FUSED>(sum, x, *c);
    }
    sum
}

/// `a * b + c`, rounded once where the processor does that in one instruction.
#[allow(clippy::inline_always, reason = "its callers are compiled for wider instruction sets")]
#[inline(always)]
pub(super) fn fused<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

// `x` becomes `e^(scale x + bias - m)`, `m` the largest `scale x + bias` of the row, and `sum` becomes their sum.
// `bias` is empty or as long as `row`.
widened! {
    pub(super) fn soft_maximum(row: &mut [f32], bias: &[f32], scale: f32, sum: &mut f32) {
        const STRANDS: usize = 16;
        if bias.is_empty() {
            for x in row.iter_mut() {
                *x *= scale;
            }
        } else {
            for (x, b) in row.iter_mut().zip(bias) {
                *x = *x * scale + b;
            }
        }
        let (chunks, rest) = row.as_chunks_mut::<STRANDS>();
        let mut most = [f32::NEG_INFINITY; STRANDS];
        for chunk in chunks.iter() {
            for (most, x) in most.iter_mut().zip(chunk) {
                *most = if *x > *most { *x } else { *most };
            }
        }
        let most = most.iter().chain(rest.iter()).fold(f32::NEG_INFINITY, |most, x| if *x > most { *x } else { most });
        let mut sums = [0f32; STRANDS];
        for chunk in chunks {
            for (sum, x) in sums.iter_mut().zip(chunk) {
                *x = exp::<FUSED>(*x - most);
                *sum += *x;
            }
        }
        *sum = sums.iter().sum();
        for x in rest {
            *x = exp::<FUSED>(*x - most);
            *sum += *x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_right_to_the_last_digits() {
        for i in -87_000..88_000 {
            let x = i as f32 / 1000.0;
            let expected = f64::from(x).exp();
            for got in [exp::<false>(x), exp::<true>(x)] {
                let off = (f64::from(got) - expected).abs() / expected;
                assert!(off < 2.5e-7, "e^{x} is {expected}, not {got}");
            }
        }
    }

    #[test]
    fn its_ends_are_its_limits() {
        for (x, expected) in [(f32::NEG_INFINITY, 0.0), (-1e9, 0.0), (0.0, 1.0), (1e9, f32::INFINITY)] {
            assert_eq!(exp::<true>(x).to_bits(), f32::to_bits(expected), "e^{x}");
            assert_eq!(exp::<false>(x).to_bits(), f32::to_bits(expected), "e^{x}");
        }
        assert!(exp::<true>(f32::INFINITY).is_infinite());
        assert!(exp::<true>(f32::NAN).is_nan());
    }
}
