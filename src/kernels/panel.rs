//! Rows times packed columns: the product at the bottom of linear layers and of attention.
//!
//! The right-hand side lies in panels: as many columns as two registers hold, all their rows one after the other,
//! so that a product reads it front to back. The left-hand side is read where it is. A tile of a few rows by one
//! panel stays in registers while the whole depth goes by, and so every result is the sum of its products in the
//! order of the depth, one accumulator for each: the same bits whatever other rows, panels and threads there are.
//!
//! The shape of the tile follows Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008);
//! as the right-hand side is packed once and the rows are few, there is no further blocking of the depth.
#![allow(unsafe_code)]

use std::arch::x86_64::{__m256, __m512, _MM_HINT_T0, _mm_prefetch};

use super::cpu::Vectors;
use super::lanes::Lanes;

/// How many columns a panel has.
pub(crate) const fn panel_width(vectors: Vectors) -> usize {
    match vectors {
        Vectors::Avx512 => 2 * <__m512 as Lanes>::LANES,
        _ => 2 * <__m256 as Lanes>::LANES,
    }
}

/// How many rows a tile has: with two registers each, as many as leave room for the operands.
pub(crate) const fn tile_rows(vectors: Vectors) -> usize {
    match vectors {
        Vectors::Avx512 => 14,
        _ => 6,
    }
}

/// One panel: `depth` rows of [`panel_width`] columns.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Panel<'a> {
    /// Row by row.
    F32(&'a [f32]),
    /// Two rows at a time: each word has a column's bf16 of the even row in its low half and of the odd row in
    /// its high half. An odd depth is filled up with zeros.
    Bf16(&'a [u32]),
}

/// Rows of f32.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    /// From the first row's first number on.
    pub(crate) numbers: &'a [f32],
    /// How many numbers after a row the next one begins.
    pub(crate) stride: usize,
    /// How many rows.
    pub(crate) count: usize,
}

/// Where results go: rows of the panel's width, to be written by one thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// The first row's first number.
    pub(crate) first: *mut f32,
    /// How many numbers after a row the next one begins.
    pub(crate) stride: usize,
}

/// `target = left * panel + start`, where `start` has a number per column of the panel and `left` is `depth`
/// wide.
///
/// # Safety
///
/// `target` has room for `left.count` rows of [`panel_width`] numbers, `stride` apart, which nobody else touches
/// meanwhile. `vectors` is at most what [`Vectors::detected`] says, and not `Portable`.
///
/// # Panics
///
/// If `left`, `panel` or `start` are too short for that.
pub(crate) unsafe fn multiply(
    vectors: Vectors,
    left: Rows<'_>,
    depth: usize,
    panel: Panel<'_>,
    start: &[f32],
    target: Target,
) {
    let width = panel_width(vectors);
    let rows_there = left.count == 0 || left.numbers.len() >= (left.count - 1) * left.stride + depth;
    let panel_there = match panel {
        Panel::F32(numbers) => numbers.len() >= depth * width,
        Panel::Bf16(words) => words.len() >= depth.div_ceil(2) * width,
    };
    assert!(rows_there && panel_there && start.len() >= width, "a panel product's operands are too short");
    // SAFETY: the operands have just been measured; the rest is the caller's promise.
    unsafe {
        match vectors {
            Vectors::Avx512 => multiply_avx512(left, depth, panel, start.as_ptr(), target),
            _ => multiply_avx2(left, depth, panel, start.as_ptr(), target),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn multiply_avx512(left: Rows<'_>, depth: usize, panel: Panel<'_>, start: *const f32, target: Target) {
    // SAFETY: as for `multiply`, whose promises are passed on.
    unsafe { in_tiles::<__m512>(left, depth, panel, start, target, tile_rows(Vectors::Avx512)) }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn multiply_avx2(left: Rows<'_>, depth: usize, panel: Panel<'_>, start: *const f32, target: Target) {
    // SAFETY: as for `multiply`, whose promises are passed on.
    unsafe { in_tiles::<__m256>(left, depth, panel, start, target, tile_rows(Vectors::Avx2)) }
}

/// All rows, `most` at a time. Of less than two tiles' rows each gets half: a small tile cannot keep the
/// processor busy, and one row more costs a tile nothing.
#[allow(clippy::inline_always, reason = "compiled for its caller's instruction set")]
#[inline(always)]
unsafe fn in_tiles<V: Lanes>(
    left: Rows<'_>,
    depth: usize,
    panel: Panel<'_>,
    start: *const f32,
    target: Target,
    most: usize,
) {
    let mut row = 0;
    while row < left.count {
        let rest = left.count - row;
        let rows = if rest > most && rest < 2 * most { rest.div_ceil(2) } else { rest.min(most) };
        // SAFETY: the rows up to `left.count` are there, on both sides.
        unsafe {
            let a = left.numbers.as_ptr().add(row * left.stride);
            let to = Target { first: target.first.add(row * target.stride), ..target };
            in_tile::<V>(rows, a, left.stride, depth, panel, start, to);
        }
        row += rows;
    }
}

/// One tile of `rows`, at most 14.
#[allow(clippy::inline_always, reason = "compiled for its caller's instruction set")]
#[inline(always)]
unsafe fn in_tile<V: Lanes>(
    rows: usize,
    a: *const f32,
    stride: usize,
    depth: usize,
    panel: Panel<'_>,
    start: *const f32,
    to: Target,
) {
    macro_rules! tiles {
        ($($rows:literal)*) => {
            match (rows, panel) {
                $(
                    ($rows, Panel::F32(panel)) => tile::<V, $rows>(a, stride, depth, panel.as_ptr(), start, to),
                    ($rows, Panel::Bf16(panel)) => {
                        tile_bf16::<V, $rows>(a, stride, depth, panel.as_ptr(), start, to);
                    }
                )*
                _ => unreachable!("a tile has between 1 and 14 rows"),
            }
        };
    }
    // SAFETY: as for `multiply`, whose promises are passed on.
    unsafe { tiles!(1 2 3 4 5 6 7 8 9 10 11 12 13 14) }
}

/// The sums of one tile.
type Sums<V, const ROWS: usize> = [[V; 2]; ROWS];

#[allow(clippy::inline_always, reason = "compiled for its caller's instruction set")]
#[inline(always)]
unsafe fn tile<V: Lanes, const ROWS: usize>(
    a: *const f32,
    stride: usize,
    depth: usize,
    panel: *const f32,
    start: *const f32,
    to: Target,
) {
    // SAFETY: `multiply` has measured that `depth` numbers of each row and rows of the panel are there.
    unsafe {
        let mut sums: Sums<V, ROWS> = [[V::load(start), V::load(start.add(V::LANES))]; ROWS];
        for k in 0..depth {
            let b = panel.add(k * 2 * V::LANES);
            fetch::<V>(b.cast());
            let b = [V::load(b), V::load(b.add(V::LANES))];
            add_products(&mut sums, a.add(k), stride, b);
        }
        write(sums, to);
    }
}

#[allow(clippy::inline_always, reason = "compiled for its caller's instruction set")]
#[inline(always)]
unsafe fn tile_bf16<V: Lanes, const ROWS: usize>(
    a: *const f32,
    stride: usize,
    depth: usize,
    panel: *const u32,
    start: *const f32,
    to: Target,
) {
    // SAFETY: as in `tile`; a pair of the panel's rows is there for an odd last one too.
    unsafe {
        let mut sums: Sums<V, ROWS> = [[V::load(start), V::load(start.add(V::LANES))]; ROWS];
        for pair in 0..depth / 2 {
            let words = panel.add(pair * 2 * V::LANES);
            fetch::<V>(words);
            let even = [V::low_halves(words), V::low_halves(words.add(V::LANES))];
            add_products(&mut sums, a.add(2 * pair), stride, even);
            let odd = [V::high_halves(words), V::high_halves(words.add(V::LANES))];
            add_products(&mut sums, a.add(2 * pair + 1), stride, odd);
        }
        if !depth.is_multiple_of(2) {
            let words = panel.add(depth / 2 * 2 * V::LANES);
            let last = [V::low_halves(words), V::low_halves(words.add(V::LANES))];
            add_products(&mut sums, a.add(depth - 1), stride, last);
        }
        write(sums, to);
    }
}

/// Tells the processor what of a panel is needed soon. Weights of a whole network come from memory, and for few rows
/// a product is done with a panel's row before the next one has arrived: the processor itself looks no further
/// ahead than a page.
#[allow(clippy::inline_always, reason = "compiled for its caller's instruction set")]
#[inline(always)]
unsafe fn fetch<V: Lanes>(panel: *const u32) {
    /// 8 KiB.
    const AHEAD: usize = 2048;
    // SAFETY: a prefetch reads nothing that a program could see, wherever it points.
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(panel.wrapping_add(AHEAD).cast());
        _mm_prefetch::<_MM_HINT_T0>(panel.wrapping_add(AHEAD + V::LANES).cast());
    }
}

/// Adds each row's number at `a` times `b`.
#[allow(clippy::inline_always, reason = "compiled for its caller's instruction set")]
#[inline(always)]
unsafe fn add_products<V: Lanes, const ROWS: usize>(
    sums: &mut Sums<V, ROWS>,
    a: *const f32,
    stride: usize,
    b: [V; 2],
) {
    for (row, sums) in sums.iter_mut().enumerate() {
        // SAFETY: the caller's tile has `ROWS` rows.
        unsafe {
            let x = V::splat(*a.add(row * stride));
            sums[0] = x.mul_add(b[0], sums[0]);
            sums[1] = x.mul_add(b[1], sums[1]);
        }
    }
}

#[allow(clippy::inline_always, reason = "compiled for its caller's instruction set")]
#[inline(always)]
unsafe fn write<V: Lanes, const ROWS: usize>(sums: Sums<V, ROWS>, to: Target) {
    for (row, sums) in sums.into_iter().enumerate() {
        // SAFETY: `multiply`'s caller has given room for every row.
        unsafe {
            let to = to.first.add(row * to.stride);
            sums[0].store(to);
            sums[1].store(to.add(V::LANES));
        }
    }
}
