//! Half-precision numbers as their bits.
//!
//! `half` converts them, too, but asks the processor at every call which instructions it has. This must become
//! part of functions that are compiled for one instruction set.

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

#[cfg(test)]
mod tests {
    use super::to_f32;

    #[test]
    fn values_are_those_of_the_crate() {
        for bits in 0..=u16::MAX {
            let (got, expected) = (to_f32(bits), half::f16::from_bits(bits));
            if expected.is_finite() {
                assert_eq!(got.to_bits(), expected.to_f32().to_bits(), "{bits:#x}");
            } else {
                assert!(got.abs() > half::f16::MAX.to_f32(), "{bits:#x} is taken for one that is finite");
            }
        }
    }
}
