//! Products of bf16 in tiles: rows times a panel, 32 rows by 32 columns at a time.
//!
//! A block of results is four tiles, which stay in the unit while the whole depth goes by, two tiles of the left
//! side and two of the panel a step. A panel lies as the unit takes it: with 32 columns, its rows of words are those
//! of two tiles side by side. The left side is rounded and laid out once for a task's panels. What there is no row
//! or depth for is zeros, and what is computed of them is left out; so every result is computed in the same steps,
//! whatever other rows, panels and threads there are.

use std::array::from_fn;
use std::sync::LazyLock;

use super::tile_unit::{Amx, SIDE, TileUnit};
use crate::kernels::panel::Rows;
use crate::kernels::widened;

/// How many columns a panel has.
pub(super) const WIDTH: usize = 2 * SIDE;

/// How many rows are computed at a time.
pub(super) const BLOCK_ROWS: usize = 2 * SIDE;

/// How much of the depth one tile covers. Panels have whole steps, filled up with zeros.
pub(super) const STEP: usize = 2 * SIDE;

/// How many words a tile has.
const TILE: usize = SIDE * SIDE;

/// The tile unit of this thread, where [`serve`].
pub(super) fn unit() -> Option<Amx> {
    if serve() { Amx::take() } else { None }
}

/// Whether there are tiles to compute with and they compute what they should. Asked once.
pub(super) fn serve() -> bool {
    static SERVE: LazyLock<bool> = LazyLock::new(|| {
        let Some(mut unit) = Amx::take() else { return false };
        let right = is_right(&mut unit);
        if !right {
            tracing::warn!("this processor's tiles (AMX) compute wrong products: doing without them");
        }
        right
    });
    *SERVE
}

/// Rows of the left side, rounded to bf16, as the unit takes them.
///
/// Tile after tile: 16 rows by one step, then the same rows by the next step, and so on to the last; then the next
/// 16 rows.
#[derive(Debug)]
pub(super) struct Left {
    words: Vec<u32>,
    rows: usize,
    steps: usize,
}

impl Left {
    /// The first `depth` numbers of each row.
    pub(super) fn new(from: Rows<'_>, depth: usize) -> Self {
        let steps = depth.div_ceil(STEP);
        let mut words = vec![0; from.count.next_multiple_of(SIDE) * steps * SIDE];
        for (row, numbers) in from.numbers.chunks(from.stride).take(from.count).enumerate() {
            let tiles = &mut words[row / SIDE * steps * TILE..][..steps * TILE];
            for (numbers, tile) in numbers[..depth].chunks(STEP).zip(tiles.chunks_exact_mut(TILE)) {
                let words = &mut tile[row % SIDE * SIDE..][..SIDE];
                if numbers.len() == STEP {
                    round(numbers, words);
                } else {
                    let mut step = [0.0; STEP];
                    step[..numbers.len()].copy_from_slice(numbers);
                    round(&step, words);
                }
            }
        }
        Self { words, rows: from.count, steps }
    }

    /// The tiles of these 16 rows, one a step.
    fn tiles(&self, sixteen: usize) -> &[u32] {
        &self.words[sixteen * self.steps * TILE..][..self.steps * TILE]
    }
}

// Rounds numbers to bf16, to the nearest and of two equally near to the even one, two to a word.
widened! {
    fn round(numbers: &[f32], words: &mut [u32]) {
        for (word, pair) in words.iter_mut().zip(numbers.chunks_exact(2)) {
            *word = rounded(pair[0]) >> 16 | rounded(pair[1]) & 0xFFFF_0000;
        }
    }
}

/// A number of which the upper half is the nearest bf16.
#[allow(clippy::inline_always, reason = "its caller is compiled for wider instruction sets")]
#[inline(always)]
fn rounded(x: f32) -> u32 {
    const QUIET: u32 = 1 << 22;
    let bits = x.to_bits();
    let nearest = bits.wrapping_add(0x7FFF + (bits >> 16 & 1));
    // What is no number must not be rounded to infinity.
    if x.is_nan() { bits | QUIET } else { nearest }
}

/// `left * panel + start`, where `start` has a number per column. `take` gets block after block: the number of its
/// first row and its results, [`WIDTH`] a row.
///
/// # Panics
///
/// If the panel or `start` are too short for that.
pub(super) fn multiply(
    unit: &mut impl TileUnit,
    left: &Left,
    panel: &[u32],
    start: &[f32],
    mut take: impl FnMut(usize, &mut [f32]),
) {
    let panel = &panel[..left.steps * SIDE * WIDTH];
    let start: [[f32; SIDE]; 2] = from_fn(|half| from_fn(|column| start[half * SIDE + column]));
    let mut results = Block([0.0; BLOCK_ROWS * WIDTH]);
    for first in (0..left.rows).step_by(BLOCK_ROWS) {
        let rows = (left.rows - first).min(BLOCK_ROWS);
        let upper = left.tiles(first / SIDE);
        if rows > SIDE {
            four_tiles(unit, [upper, left.tiles(first / SIDE + 1)], panel, &start, &mut results.0);
        } else {
            two_tiles(unit, upper, panel, &start, &mut results.0);
        }
        take(first, &mut results.0[..rows * WIDTH]);
    }
}

/// Results of one block, each half a row in a line of the cache.
#[repr(align(64))]
struct Block([f32; BLOCK_ROWS * WIDTH]);

/// A block of 32 rows, 16 of them `left[0]`.
fn four_tiles(
    unit: &mut impl TileUnit,
    left: [&[u32]; 2],
    panel: &[u32],
    start: &[[f32; SIDE]; 2],
    results: &mut [f32],
) {
    unit.fill::<0>(&start[0]);
    unit.fill::<1>(&start[1]);
    unit.fill::<2>(&start[0]);
    unit.fill::<3>(&start[1]);
    let left = left[0].chunks_exact(TILE).zip(left[1].chunks_exact(TILE));
    for ((upper, lower), step) in left.zip(panel.chunks_exact(SIDE * WIDTH)) {
        unit.load::<4>(upper, SIDE);
        unit.load::<6>(step, WIDTH);
        unit.multiply::<0, 4, 6>();
        unit.load::<7>(&step[SIDE..], WIDTH);
        unit.multiply::<1, 4, 7>();
        unit.load::<5>(lower, SIDE);
        unit.multiply::<2, 5, 6>();
        unit.multiply::<3, 5, 7>();
    }
    unit.store::<0>(results, WIDTH);
    unit.store::<1>(&mut results[SIDE..], WIDTH);
    unit.store::<2>(&mut results[SIDE * WIDTH..], WIDTH);
    unit.store::<3>(&mut results[SIDE * WIDTH + SIDE..], WIDTH);
}

/// The upper half of a block.
fn two_tiles(
    unit: &mut impl TileUnit,
    left: &[u32],
    panel: &[u32],
    start: &[[f32; SIDE]; 2],
    results: &mut [f32],
) {
    unit.fill::<0>(&start[0]);
    unit.fill::<1>(&start[1]);
    for (left, step) in left.chunks_exact(TILE).zip(panel.chunks_exact(SIDE * WIDTH)) {
        unit.load::<4>(left, SIDE);
        unit.load::<6>(step, WIDTH);
        unit.multiply::<0, 4, 6>();
        unit.load::<7>(&step[SIDE..], WIDTH);
        unit.multiply::<1, 4, 7>();
    }
    unit.store::<0>(results, WIDTH);
    unit.store::<1>(&mut results[SIDE..], WIDTH);
}

/// Whether the unit multiplies small whole numbers rightly: 33 rows, 40 columns, 65 deep. All sums are whole and
/// f32 holds them, so they are equal in whatever order they are added.
fn is_right(unit: &mut impl TileUnit) -> bool {
    const ROWS: u16 = 33;
    const COLUMNS: u16 = 40;
    const DEPTH: u16 = 65;
    let whole = |i: u16, j: u16, turn: u16| f32::from((i * turn + j * 7 + i * j % 11) % 17) - 8.0;
    let numbers: Vec<f32> = (0..ROWS).flat_map(|i| (0..DEPTH).map(move |k| whole(i, k, 5))).collect();
    let depth = usize::from(DEPTH);
    let left = Left::new(Rows { numbers: &numbers, stride: depth, count: ROWS.into() }, depth);
    let mut right = true;
    for first in (0..COLUMNS).step_by(WIDTH) {
        let columns: Vec<Vec<f32>> = (first..(first + 32).min(COLUMNS))
            .map(|j| (0..DEPTH).map(|k| whole(k, j, 3)).collect())
            .collect();
        let mut panel = vec![0; left.steps * SIDE * WIDTH];
        for (j, column) in columns.iter().enumerate() {
            for (pair, numbers) in column.chunks(2).enumerate() {
                let odd = numbers.get(1).map_or(0, |odd| odd.to_bits());
                panel[pair * WIDTH + j] = numbers[0].to_bits() >> 16 | odd;
            }
        }
        let start: [f32; WIDTH] = from_fn(|j| if j % 2 == 0 { 3.0 } else { -4.0 });
        multiply(unit, &left, &panel, &start, |row, block| {
            for (i, results) in block.chunks_exact(WIDTH).enumerate() {
                let row = &numbers[(row + i) * depth..][..depth];
                right &= columns.iter().zip(results).zip(start).all(|((column, result), start)| {
                    let sum: f32 = row.iter().zip(column).map(|(x, y)| x * y).sum();
                    (sum + start - result).abs() < 0.5
                });
            }
        });
    }
    right
}

#[cfg(test)]
mod tests {
    use super::super::tile_unit::emulated::Emulated;
    use super::*;

    #[test]
    fn numbers_are_rounded_as_half_rounds_them() {
        let near_one = (0..1 << 18).map(|i| 0x3F7E_0000 + i);
        let all_over = (0..=u32::MAX).step_by(0x1_0001 / 3);
        let edges = [0x7F7F_FFFF, 0x7F80_0000, 0x7F80_0001, 0xFF80_FFFF, 0x7FFF_FFFF, 0x8000_0000, 1];
        for bits in near_one.chain(all_over).chain(edges) {
            let x = f32::from_bits(bits);
            let (got, expected) = (rounded(x) >> 16, u32::from(half::bf16::from_f32(x).to_bits()));
            assert_eq!(got, expected, "{x} ({bits:#010x})");
        }
    }

    #[test]
    fn words_have_the_first_number_in_the_low_half() {
        let numbers: Vec<f32> = (0..16u8).map(f32::from).collect();
        let mut words = vec![0; 8];
        round(&numbers, &mut words);
        for (number, word) in words.iter().enumerate() {
            let halves = [word << 16, word & 0xFFFF_0000];
            assert_eq!(halves, [numbers[2 * number], numbers[2 * number + 1]].map(f32::to_bits));
        }
    }

    /// A unit that takes the sides of one product for each other: of the first, if the number is 1, and so on.
    struct Faulty(Emulated, usize);

    impl TileUnit for Faulty {
        fn load<const T: u8>(&mut self, words: &[u32], stride: usize) {
            self.0.load::<T>(words, stride);
        }

        fn fill<const T: u8>(&mut self, row: &[f32; SIDE]) {
            self.0.fill::<T>(row);
        }

        fn multiply<const SUMS: u8, const LEFT: u8, const RIGHT: u8>(&mut self) {
            match self.1.checked_sub(1) {
                Some(0) => self.0.multiply::<SUMS, RIGHT, LEFT>(),
                _ => self.0.multiply::<SUMS, LEFT, RIGHT>(),
            }
            self.1 = self.1.wrapping_sub(1);
        }

        fn store<const T: u8>(&mut self, numbers: &mut [f32], stride: usize) {
            self.0.store::<T>(numbers, stride);
        }
    }

    #[test]
    fn a_unit_is_checked_before_it_is_used() {
        assert!(is_right(&mut Emulated::new()));
        // The first panel, all columns of which are there, takes 3 steps of 4 products and 3 of 2.
        for wrong in 1..=18 {
            assert!(!is_right(&mut Faulty(Emulated::new(), wrong)), "product {wrong}");
        }
    }

    #[test]
    fn the_real_unit_computes_what_the_emulated_one_does() {
        // On machines with tiles: elsewhere there is none to take.
        let Some(mut unit) = Amx::take() else { return };
        assert!(is_right(&mut unit));
        let waves =
            |count: u16, step: f32| (0..count).map(|i| (f32::from(i) * step).sin()).collect::<Vec<_>>();
        let numbers = waves(50 * 70, 0.37);
        let left = Left::new(Rows { numbers: &numbers, stride: 70, count: 50 }, 70);
        let mut panel = vec![0; left.steps * SIDE * WIDTH];
        round(&waves(2 * 48 * 32, 0.73), &mut panel);
        let start = waves(32, 0.11);
        let (mut real, mut emulated) = (Vec::new(), Vec::new());
        let bits = |block: &mut [f32]| block.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        multiply(&mut unit, &left, &panel, &start, |_, block| real.extend(bits(block)));
        multiply(&mut Emulated::new(), &left, &panel, &start, |_, block| emulated.extend(bits(block)));
        assert_eq!(real, emulated);
    }

    #[test]
    fn tiles_serve_where_they_are_right() {
        assert_eq!(serve(), Amx::take().is_some_and(|mut unit| is_right(&mut unit)));
        assert_eq!(unit().is_some(), serve());
    }
}
