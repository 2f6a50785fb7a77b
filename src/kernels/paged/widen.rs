//! f16 to f32: attention does it to all that it reads.

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use super::BLOCK_TOKENS;

/// `numbers` become the values of the f16s whose `bits` there are as many of.
///
/// `half` asks the processor anew for every eight; with AVX-512 it is sixteen, and asked once.
pub(super) fn widen(bits: &[[u16; BLOCK_TOKENS]], numbers: &mut [[f32; BLOCK_TOKENS]]) {
    #[cfg(target_arch = "x86_64")]
    if crate::kernels::cpu::Vectors::detected() == crate::kernels::cpu::Vectors::Avx512 {
        // SAFETY: it asks nothing of its caller but a processor that has AVX-512.
        #[allow(unsafe_code)]
        return unsafe { avx512(bits, numbers) };
    }
    bits.as_flattened().reinterpret_cast::<f16>().convert_to_f32_slice(numbers.as_flattened_mut());
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512(bits: &[[u16; BLOCK_TOKENS]], numbers: &mut [[f32; BLOCK_TOKENS]]) {
    use std::arch::x86_64::{_mm256_loadu_si256, _mm512_cvtph_ps, _mm512_storeu_ps};

    for (bits, numbers) in bits.iter().zip(numbers) {
        // SAFETY: both are sixteen.
        #[allow(unsafe_code)]
        unsafe {
            let bits = _mm256_loadu_si256(bits.as_ptr().cast());
            _mm512_storeu_ps(numbers.as_mut_ptr(), _mm512_cvtph_ps(bits));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_values_are_those_of_the_crate() {
        let bits: Vec<u16> = (0..=u16::MAX).collect();
        let mut numbers = vec![[0f32; BLOCK_TOKENS]; bits.len() / BLOCK_TOKENS];
        widen(bits.as_chunks().0, &mut numbers);
        for (bits, got) in bits.iter().zip(numbers.as_flattened()) {
            let expected = f16::from_bits(*bits).to_f32();
            assert!(got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan(), "{bits:#x}");
        }
    }
}
