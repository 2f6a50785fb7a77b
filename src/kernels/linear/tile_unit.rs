//! The tile unit of a core (AMX), one instruction a method.
//!
//! Eight tiles, each of 16 rows of 64 bytes: 16 x 16 f32, or 16 x 16 words of two bf16. Who computes with tiles
//! is written for any [`TileUnit`], and so it is tested on machines that have none.

use std::arch::asm;
use std::marker::PhantomData;

use crate::kernels::cpu;

/// How many rows a tile has, and how many words or f32 a row.
pub(super) const SIDE: usize = 16;

/// Eight tiles, numbered from 0, and what is done with them.
pub(super) trait TileUnit {
    /// Tile `T` = the 16 rows of 16 words that begin `stride` words apart. Panics if `words` ends before them.
    fn load<const T: u8>(&mut self, words: &[u32], stride: usize);

    /// Every row of tile `T` = `row`.
    fn fill<const T: u8>(&mut self, row: &[f32; SIDE]);

    /// Tile `SUMS` += `LEFT` times `RIGHT`. `LEFT` has a row of the product in each row, and in its words two
    /// bf16 that follow each other in the depth, the first in the low half; `RIGHT` has the numbers that meet them in
    /// the words of the row that has the number of the word.
    ///
    /// In f32, the first and the second of all pairs are summed each in the order of the words, then the two
    /// sums are added, and that to what there was. An element is so computed from its row and its column alone.
    fn multiply<const SUMS: u8, const LEFT: u8, const RIGHT: u8>(&mut self);

    /// Writes the 16 rows of tile `T`, which begin `stride` numbers apart. Panics if `numbers` ends before them.
    fn store<const T: u8>(&mut self, numbers: &mut [f32], stride: usize);
}

/// Panics unless `length` is enough for 16 rows of 16, `stride` apart.
fn assert_holds_a_tile(length: usize, stride: usize) {
    assert!(
        stride <= usize::MAX / (4 * SIDE) && length >= (SIDE - 1) * stride + SIDE,
        "{length} numbers are no tile of rows {stride} apart"
    );
}

/// The unit of the core that the calling thread runs on, with all tiles in full size for as long as this lives.
///
/// Others use the unit too, on the same threads, and may hold that its shapes are still as they left them: they
/// are put back in the end.
#[derive(Debug)]
pub(super) struct Amx {
    found: Shapes,
    /// The state of the unit belongs to a thread.
    on_this_thread: PhantomData<*const ()>,
}

/// What LDTILECFG takes: Intel's manual, volume 2, "LDTILECFG".
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Shapes {
    /// No tiles: what a thread begins with.
    const NONE: Self =
        Self { palette: 0, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };

    /// Eight of 16 rows of 64 bytes.
    const FULL: Self = {
        let mut shapes = Self { palette: 1, ..Self::NONE };
        let mut tile = 0;
        while tile < 8 {
            shapes.row_bytes[tile] = 64;
            shapes.rows[tile] = 16;
            tile += 1;
        }
        shapes
    };
}

/// One or more instructions of the unit. Which tiles they change is said for all at once: the compiler keeps
/// nothing in tiles, and so what one block leaves there the next one finds.
macro_rules! tile_asm {
    ($($line:tt)*) => {
        asm!(
            $($line)*
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, preserves_flags),
        )
    };
}

impl Amx {
    /// None where [`cpu::tiles`] has none.
    pub(super) fn take() -> Option<Self> {
        if !cpu::tiles() {
            return None;
        }
        let mut found = Shapes::NONE;
        // SAFETY: the processor has tiles, the system lets this process use them, and both areas are as large as
        // a description of shapes is.
        #[allow(unsafe_code)]
        unsafe {
            tile_asm!(
                "sttilecfg [{found}]",
                "ldtilecfg [{full}]",
                found = in(reg) &raw mut found,
                full = in(reg) std::ptr::from_ref(&Shapes::FULL),
            );
        }
        Some(Self { found, on_this_thread: PhantomData })
    }
}

impl Drop for Amx {
    fn drop(&mut self) {
        // SAFETY: an `Amx` is only made where there are tiles, and what STTILECFG wrote LDTILECFG takes. If no
        // shapes were found, it ends the use of tiles as TILERELEASE does.
        #[allow(unsafe_code)]
        unsafe {
            tile_asm!("ldtilecfg [{found}]", found = in(reg) &raw const self.found,);
        }
    }
}

impl TileUnit for Amx {
    fn load<const T: u8>(&mut self, words: &[u32], stride: usize) {
        const { assert!(T < 8, "there are eight tiles") };
        assert_holds_a_tile(words.len(), stride);
        // SAFETY: the tiles are there and of full size, and all rows have just been found to lie in `words`.
        #[allow(unsafe_code)]
        unsafe {
            tile_asm!(
                "tileloadd tmm{tile}, [{first} + {bytes}*1]",
                tile = const T,
                first = in(reg) words.as_ptr(),
                bytes = in(reg) 4 * stride,
            );
        }
    }

    fn fill<const T: u8>(&mut self, row: &[f32; SIDE]) {
        const { assert!(T < 8, "there are eight tiles") };
        // SAFETY: the tiles are there and of full size; each of their rows is read from `row`, which has as many
        // numbers as one.
        #[allow(unsafe_code)]
        unsafe {
            tile_asm!(
                "tileloadd tmm{tile}, [{row} + {bytes}*1]",
                tile = const T,
                row = in(reg) row.as_ptr(),
                bytes = in(reg) 0_usize,
            );
        }
    }

    fn multiply<const SUMS: u8, const LEFT: u8, const RIGHT: u8>(&mut self) {
        const {
            assert!(SUMS < 8 && LEFT < 8 && RIGHT < 8, "there are eight tiles");
            assert!(
                SUMS != LEFT && SUMS != RIGHT && LEFT != RIGHT,
                "the instruction takes three different ones"
            );
        };
        // SAFETY: the tiles are there and of full size, and three different ones.
        #[allow(unsafe_code)]
        unsafe {
            tile_asm!(
                "tdpbf16ps tmm{sums}, tmm{left}, tmm{right}",
                sums = const SUMS,
                left = const LEFT,
                right = const RIGHT,
            );
        }
    }

    fn store<const T: u8>(&mut self, numbers: &mut [f32], stride: usize) {
        const { assert!(T < 8, "there are eight tiles") };
        assert_holds_a_tile(numbers.len(), stride);
        // SAFETY: the tiles are there and of full size, and there is room for all rows in `numbers`.
        #[allow(unsafe_code)]
        unsafe {
            tile_asm!(
                "tilestored [{first} + {bytes}*1], tmm{tile}",
                tile = const T,
                first = in(reg) numbers.as_mut_ptr(),
                bytes = in(reg) 4 * stride,
            );
        }
    }
}

#[cfg(test)]
pub(super) mod emulated {
    use super::*;

    /// A tile unit in plain Rust, which rounds where Intel's manual says that the real one does. (That one also
    /// takes numbers below 1.2e-38 for zero.)
    pub(in super::super) struct Emulated([[u32; SIDE * SIDE]; 8]);

    impl Emulated {
        /// What is in the tiles at first is no number, so that nobody relies on it.
        pub(in super::super) fn new() -> Self {
            Self([[f32::NAN.to_bits(); SIDE * SIDE]; 8])
        }
    }

    /// The two bf16 of a word, the one in its low half first.
    fn pair(word: u32) -> [f32; 2] {
        [f32::from_bits(word << 16), f32::from_bits(word & 0xFFFF_0000)]
    }

    impl TileUnit for Emulated {
        fn load<const T: u8>(&mut self, words: &[u32], stride: usize) {
            assert_holds_a_tile(words.len(), stride);
            for (row, slots) in self.0[usize::from(T)].chunks_exact_mut(SIDE).enumerate() {
                slots.copy_from_slice(&words[row * stride..][..SIDE]);
            }
        }

        fn fill<const T: u8>(&mut self, row: &[f32; SIDE]) {
            for slots in self.0[usize::from(T)].chunks_exact_mut(SIDE) {
                slots.copy_from_slice(&row.map(f32::to_bits));
            }
        }

        fn multiply<const SUMS: u8, const LEFT: u8, const RIGHT: u8>(&mut self) {
            let (left, right) = (self.0[usize::from(LEFT)], self.0[usize::from(RIGHT)]);
            for (number, slot) in self.0[usize::from(SUMS)].iter_mut().enumerate() {
                let (row, column) = (number / SIDE, number % SIDE);
                let mut sums = [0_f32; 2];
                for k in 0..SIDE {
                    let (a, b) = (pair(left[row * SIDE + k]), pair(right[k * SIDE + column]));
                    // f32 holds the product of two bf16 exactly: as good as fused.
                    sums = [sums[0] + a[0] * b[0], sums[1] + a[1] * b[1]];
                }
                *slot = (f32::from_bits(*slot) + (sums[0] + sums[1])).to_bits();
            }
        }

        fn store<const T: u8>(&mut self, numbers: &mut [f32], stride: usize) {
            assert_holds_a_tile(numbers.len(), stride);
            for (row, slots) in self.0[usize::from(T)].chunks_exact(SIDE).enumerate() {
                for (number, bits) in numbers[row * stride..].iter_mut().zip(slots) {
                    *number = f32::from_bits(*bits);
                }
            }
        }
    }
}
