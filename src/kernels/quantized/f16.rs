//! Half-precision numbers as their bits.

/// The value of a finite f16. Without a branch, so that a compiler can do several at a time.
#[allow(clippy::inline_always, reason = "its callers are compiled for wider instruction sets")]
#[inline(always)]
pub(super) fn to_f32(bits: u16) -> f32 {
    const SMALLEST: f32 = 1.0 / 16_777_216.0;
    let bits = u32::from(bits);
    let magnitude = bits & 0x7fff;
    let subnormal = (magnitude as f32 * SMALLEST).to_bits();
    let normal = (magnitude << 13) + (112 << 23);
    let value = if magnitude < 0x400 { subnormal } else { normal };
    f32::from_bits(value | (bits & 0x8000) << 16)
}

/// Whether the f16 is neither infinite nor not-a-number.
pub(super) fn is_finite(bits: u16) -> bool {
    bits & 0x7c00 != 0x7c00
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_agree_with_the_definition() {
        for bits in (0..=u16::MAX).filter(|bits| is_finite(*bits)) {
            let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 0x3ff) / 1024.0);
            let value = if exponent == 0 {
                fraction * 2f64.powi(-14)
            } else {
                (1.0 + fraction) * 2f64.powi(exponent - 15)
            };
            let value = if bits & 0x8000 == 0 { value } else { -value };
            assert_eq!(f64::from(to_f32(bits)).to_bits(), value.to_bits(), "{bits:#x}");
        }
    }
}
