//! Vectors of f32 as the processor has them.
//!
//! Every method is one or two instructions and is compiled into its caller, which must be compiled for the
//! instruction set (`#[target_feature]`) and run only where [`Vectors::detected`](super::cpu::Vectors) found it.
//! That, and that pointers lead to [`LANES`](Lanes::LANES) readable or writable numbers, is what each method asks.
#![allow(unsafe_code)]
#![allow(clippy::inline_always, reason = "a vector crosses a call in memory; inlined, in a register")]
#![allow(clippy::missing_safety_doc, reason = "said once, above")]

use std::arch::x86_64 as x86;

/// One register of f32.
pub(crate) trait Lanes: Copy {
    /// How many.
    const LANES: usize;

    /// All `x`.
    unsafe fn splat(x: f32) -> Self;
    /// The numbers at `from`.
    unsafe fn load(from: *const f32) -> Self;
    /// Writes them to `to`.
    unsafe fn store(self, to: *mut f32);
    /// `self * factor + addend`, rounded once.
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// The bf16 in the low half of each of [`LANES`](Self::LANES) words.
    unsafe fn low_halves(from: *const u32) -> Self;
    /// The bf16 in the high half of each.
    unsafe fn high_halves(from: *const u32) -> Self;
}

/// The halves of a word that are a bf16's bits when its others are zero: a bf16 is the upper half of an f32.
const HIGH: i32 = 0xFFFF_0000_u32.cast_signed();

impl Lanes for x86::__m512 {
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: as the module says, here and below.
        unsafe { x86::_mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: see above.
        unsafe { x86::_mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see above.
        unsafe { x86::_mm512_storeu_ps(to, self) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: see above.
        unsafe { x86::_mm512_fmadd_ps(self, factor, addend) }
    }

    #[inline(always)]
    unsafe fn low_halves(from: *const u32) -> Self {
        // SAFETY: see above.
        unsafe {
            x86::_mm512_castsi512_ps(x86::_mm512_slli_epi32::<16>(x86::_mm512_loadu_si512(from.cast())))
        }
    }

    #[inline(always)]
    unsafe fn high_halves(from: *const u32) -> Self {
        // SAFETY: see above.
        unsafe {
            let words = x86::_mm512_loadu_si512(from.cast());
            x86::_mm512_castsi512_ps(x86::_mm512_and_si512(words, x86::_mm512_set1_epi32(HIGH)))
        }
    }
}

impl Lanes for x86::__m256 {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: as the module says, here and below.
        unsafe { x86::_mm256_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: see above.
        unsafe { x86::_mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see above.
        unsafe { x86::_mm256_storeu_ps(to, self) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: see above.
        unsafe { x86::_mm256_fmadd_ps(self, factor, addend) }
    }

    #[inline(always)]
    unsafe fn low_halves(from: *const u32) -> Self {
        // SAFETY: see above.
        unsafe {
            x86::_mm256_castsi256_ps(x86::_mm256_slli_epi32::<16>(x86::_mm256_loadu_si256(from.cast())))
        }
    }

    #[inline(always)]
    unsafe fn high_halves(from: *const u32) -> Self {
        // SAFETY: see above.
        unsafe {
            let words = x86::_mm256_loadu_si256(from.cast());
            x86::_mm256_castsi256_ps(x86::_mm256_and_si256(words, x86::_mm256_set1_epi32(HIGH)))
        }
    }
}
