//! From stored numbers to `f32`.
//!
//! The layouts are those of ggml. Arithmetic is done in its order, so results agree with it to the last bit.

use half::{bf16, f16};

use super::storage::GgmlType;

/// Numbers that share scales in the K formats.
pub(super) const SUPER: usize = 256;
/// Numbers that share one scale in `Q4_0` and `Q8_0`, and one pair of small scales in `Q4_K` and `Q5_K`.
pub(super) const GROUP: usize = 32;

/// Turns whole blocks into numbers; `out` has room for exactly those. Unsupported formats give nothing.
pub(super) fn decode(stored: GgmlType, bytes: &[u8], out: &mut [f32]) {
    let Some((numbers, size)) = stored.block() else { return };
    let blocks = bytes.chunks_exact(size).zip(out.chunks_exact_mut(numbers));
    match stored {
        GgmlType::F32 => blocks.for_each(|(b, y)| y[0] = f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
        GgmlType::F16 => blocks.for_each(|(b, y)| y[0] = half_at(b, 0)),
        GgmlType::BF16 => blocks.for_each(|(b, y)| y[0] = bf16::from_le_bytes([b[0], b[1]]).to_f32()),
        GgmlType::Q4_0 => blocks.for_each(|(b, y)| q4_0(b, y)),
        GgmlType::Q8_0 => blocks.for_each(|(b, y)| q8_0(b, y)),
        GgmlType::Q4K => blocks.for_each(|(b, y)| q4_k(b, y)),
        GgmlType::Q5K => blocks.for_each(|(b, y)| q5_k(b, y)),
        GgmlType::Q6K => blocks.for_each(|(b, y)| q6_k(b, y)),
        GgmlType::Unsupported(_) => {}
    }
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Scale, then 32 signed bytes.
fn q8_0(block: &[u8], out: &mut [f32]) {
    let scale = half_at(block, 0);
    for (y, &q) in out.iter_mut().zip(&block[2..]) {
        *y = scale * f32::from(q.cast_signed());
    }
}

/// Scale, then 16 bytes: the first half of the numbers in the low, the second in the high halves.
fn q4_0(block: &[u8], out: &mut [f32]) {
    let scale = half_at(block, 0);
    let (low, high) = out.split_at_mut(GROUP / 2);
    for ((l, h), &q) in low.iter_mut().zip(high).zip(&block[2..]) {
        *l = scale * (f32::from(q & 15) - 8.0);
        *h = scale * (f32::from(q >> 4) - 8.0);
    }
}

/// The six-bit scale and minimum of each of eight groups, out of their twelve bytes.
pub(super) fn small_scales(packed: &[u8]) -> [(u8, u8); 8] {
    std::array::from_fn(|group| {
        if group < 4 {
            (packed[group] & 63, packed[group + 4] & 63)
        } else {
            let (low, scale_top, minimum_top) = (packed[group + 4], packed[group - 4], packed[group]);
            ((low & 15) | (scale_top >> 6) << 4, (low >> 4) | (minimum_top >> 6) << 4)
        }
    })
}

/// The scale and the minimum of each group of a `Q4_K` or `Q5_K` block.
fn scales(block: &[u8]) -> [(f32, f32); 8] {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    small_scales(&block[4..16]).map(|(s, m)| (scale * f32::from(s), minimum * f32::from(m)))
}

/// Scale, scale of minima, twelve bytes of small scales, then four bits for each number: 32 bytes hold two groups.
fn q4_k(block: &[u8], out: &mut [f32]) {
    let scales = scales(block);
    for (pair, (y, q)) in out.chunks_exact_mut(2 * GROUP).zip(block[16..].chunks_exact(GROUP)).enumerate() {
        for (half, y) in y.chunks_exact_mut(GROUP).enumerate() {
            let (scale, minimum) = scales[2 * pair + half];
            for (y, &q) in y.iter_mut().zip(q) {
                *y = scale * f32::from((q >> (4 * half)) & 15) - minimum;
            }
        }
    }
}

/// As `Q4_K`, with a fifth bit of each number: bit g of 32 bytes before the others is for group g.
fn q5_k(block: &[u8], out: &mut [f32]) {
    let scales = scales(block);
    let (fifth, rest) = block[16..].split_at(GROUP);
    for (pair, (y, q)) in out.chunks_exact_mut(2 * GROUP).zip(rest.chunks_exact(GROUP)).enumerate() {
        for (half, y) in y.chunks_exact_mut(GROUP).enumerate() {
            let group = 2 * pair + half;
            let (scale, minimum) = scales[group];
            for ((y, &q), &top) in y.iter_mut().zip(q).zip(fifth) {
                let number = ((q >> (4 * half)) & 15) | ((top >> group) & 1) << 4;
                *y = scale * f32::from(number) - minimum;
            }
        }
    }
}

/// 128 bytes of low four bits, 64 of high two bits, a signed scale for each 16 numbers, then the scale of all.
fn q6_k(block: &[u8], out: &mut [f32]) {
    let (low, rest) = block.split_at(SUPER / 2);
    let (high, rest) = rest.split_at(SUPER / 4);
    let (small, _) = rest.split_at(SUPER / 16);
    let scale = half_at(block, SUPER / 2 + SUPER / 4 + SUPER / 16);
    for (at, y) in out.iter_mut().enumerate() {
        // Each half of the block is four quarters of 32; quarters 2 and 3 are the high bits of 0 and 1.
        let (half, quarter, lane) = (at / 128, at % 128 / 32, at % 32);
        let four = low[64 * half + 32 * (quarter % 2) + lane] >> (4 * (quarter / 2)) & 15;
        let two = high[32 * half + lane] >> (2 * quarter) & 3;
        let scale = scale * f32::from(small[at / 16].cast_signed());
        *y = scale * (f32::from(four | two << 4) - 32.0);
    }
}
