//! From `f32` rows to GGUF blocks, for models that are to be quantised as they load.
//!
//! Both formats are chosen as ggml does without an importance matrix, so a model quantised here is as good as
//! one quantised there.

use std::fmt;
use std::str::FromStr;

use half::f16;

use super::blocks::{GROUP, SUPER, small_scales};
use super::storage::GgmlType;

/// What a model may be quantised to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quantization {
    /// 8.5 bits for each number.
    Q8_0,
    /// 4.5 bits for each number.
    Q4K,
}

/// Why rows cannot be quantised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant's message describes its fields")]
pub enum QuantizeError {
    /// The caller keeps such a tensor as it is.
    #[error("rows of {width} numbers are not whole blocks of {block}")]
    BrokenRow { width: usize, block: usize },
    #[error("{numbers} numbers are not whole rows of {width}")]
    BrokenRows { numbers: usize, width: usize },
    #[error("row {row} holds a number that is not finite")]
    NotFinite { row: usize },
}

impl Quantization {
    /// All of them, by the names users write.
    pub const ALL: [(&'static str, Self); 2] = [("q8_0", Self::Q8_0), ("q4_k", Self::Q4K)];

    /// How the blocks are stored.
    pub fn stored(self) -> GgmlType {
        match self {
            Self::Q8_0 => GgmlType::Q8_0,
            Self::Q4K => GgmlType::Q4K,
        }
    }
}

impl fmt::Display for Quantization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name =
            Self::ALL.iter().find(|(_, quantization)| quantization == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

/// A name that is none of [`Quantization::ALL`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no quantization is called {0:?}; there are q8_0 and q4_k")]
pub struct UnknownQuantization(String);

impl FromStr for Quantization {
    type Err = UnknownQuantization;

    fn from_str(name: &str) -> Result<Self, UnknownQuantization> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, quantization)| *quantization).ok_or_else(|| UnknownQuantization(name.to_owned()))
    }
}

/// The blocks of `rows`, each of `width` numbers, one after the other.
pub fn quantize_rows(to: Quantization, rows: &[f32], width: usize) -> Result<Vec<u8>, QuantizeError> {
    let (block, size) = to.stored().block().expect("a format that is written here is known");
    if width == 0 || !width.is_multiple_of(block) {
        return Err(QuantizeError::BrokenRow { width, block });
    }
    if !rows.len().is_multiple_of(width) {
        return Err(QuantizeError::BrokenRows { numbers: rows.len(), width });
    }
    if let Some(at) = rows.iter().position(|x| !x.is_finite()) {
        return Err(QuantizeError::NotFinite { row: at / width });
    }
    let mut out = Vec::with_capacity(rows.len() / block * size);
    for numbers in rows.chunks_exact(block) {
        match to {
            Quantization::Q8_0 => q8_0(numbers, &mut out),
            Quantization::Q4K => q4_k(numbers, &mut out),
        }
    }
    Ok(out)
}

fn q8_0(numbers: &[f32], out: &mut Vec<u8>) {
    let largest = numbers.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    let scale = largest / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    out.extend_from_slice(&f16::from_f32(scale).to_le_bytes());
    out.extend(numbers.iter().map(|x| ((x * inverse).round() as i8).cast_unsigned()));
}

/// Each group of 32 gets a scale and a minimum of its own, which are rounded to 6 bits of the largest; the
/// numbers are then rounded to 4 bits of what became of those.
fn q4_k(numbers: &[f32], out: &mut Vec<u8>) {
    let mut fits = [(0f32, 0f32); SUPER / GROUP];
    for (fit, group) in fits.iter_mut().zip(numbers.chunks_exact(GROUP)) {
        *fit = fit_group(group);
    }
    let scale = fits.iter().fold(0f32, |largest, fit| largest.max(fit.0));
    let minimum = fits.iter().fold(0f32, |largest, fit| largest.max(fit.1));
    let six_bits = |x: f32, largest: f32| {
        if largest > 0.0 { (63.0 / largest * x).round_ties_even().min(63.0) as u8 } else { 0 }
    };
    let small = fits.map(|(s, m)| (six_bits(s, scale), six_bits(m, minimum)));
    let packed = pack_small_scales(&small);
    let (scale, minimum) = (f16::from_f32(scale / 63.0), f16::from_f32(minimum / 63.0));
    out.extend_from_slice(&scale.to_le_bytes());
    out.extend_from_slice(&minimum.to_le_bytes());
    out.extend_from_slice(&packed);

    let small = small_scales(&packed);
    let mut four_bits = [0u8; SUPER];
    for (group, (x, q)) in numbers.chunks_exact(GROUP).zip(four_bits.chunks_exact_mut(GROUP)).enumerate() {
        let step = scale.to_f32() * f32::from(small[group].0);
        let below = minimum.to_f32() * f32::from(small[group].1);
        if step != 0.0 {
            q.iter_mut().zip(x).for_each(|(q, x)| *q = four_bits_of((x + below) / step));
        }
    }
    for pair in four_bits.chunks_exact(2 * GROUP) {
        let (low, high) = pair.split_at(GROUP);
        out.extend(low.iter().zip(high).map(|(low, high)| low | high << 4));
    }
}

fn four_bits_of(x: f32) -> u8 {
    x.round_ties_even().clamp(0.0, 15.0) as u8
}

/// The opposite of [`small_scales`].
fn pack_small_scales(small: &[(u8, u8); 8]) -> [u8; 12] {
    let mut packed = [0u8; 12];
    for (group, &(scale, minimum)) in small.iter().enumerate() {
        if group < 4 {
            packed[group] = scale;
            packed[group + 4] = minimum;
        } else {
            packed[group + 4] = (scale & 15) | (minimum & 15) << 4;
            packed[group - 4] |= (scale >> 4) << 6;
            packed[group] |= (minimum >> 4) << 6;
        }
    }
    packed
}

/// Sums over a group that a straight line through it is made of: numbers `x` at steps `q`, of weight `w`.
#[derive(Clone, Copy, Default)]
struct Sums {
    q: f32,
    qq: f32,
    xq: f32,
}

/// The scale, and the minimum with its sign turned, with which 32 numbers lose least when rounded to 4 bits;
/// large numbers weigh more. Tries 21 scales around the obvious one, each with the best line for its rounding;
/// as in ggml, a better line's minimum is where the next attempts round from.
fn fit_group(x: &[f32]) -> (f32, f32) {
    let spread = (x.iter().map(|x| x * x).sum::<f32>() / GROUP as f32).sqrt();
    let weights: [f32; GROUP] = std::array::from_fn(|i| spread + x[i].abs());
    let mut minimum = x.iter().fold(x[0], |least, x| least.min(*x)).min(0.0);
    let maximum = x.iter().fold(x[0], |most, x| most.max(*x));
    if maximum <= minimum {
        return (0.0, -minimum);
    }
    let weight: f32 = weights.iter().sum();
    let weighted: f32 = weights.iter().zip(x).map(|(w, x)| w * x).sum();
    let round = |inverse: f32, from: f32| -> [f32; GROUP] {
        std::array::from_fn(|i| (inverse * (x[i] - from)).round_ties_even().clamp(0.0, 15.0))
    };
    let loss = |q: &[f32; GROUP], scale: f32, minimum: f32| -> f32 {
        let off = q.iter().zip(x).map(|(q, x)| scale * q + minimum - x);
        off.zip(&weights).map(|(off, w)| w * (off * off)).sum()
    };

    let inverse = 15.0 / (maximum - minimum);
    let mut scale = 1.0 / inverse;
    let mut best = loss(&round(inverse, minimum), scale, minimum);
    for attempt in 0..=20u8 {
        let steps = (0.1 * f32::from(attempt) - 1.0) + 15.0;
        let q = round(steps / (maximum - minimum), minimum);
        let mut sums = Sums::default();
        for ((q, x), w) in q.iter().zip(x).zip(&weights) {
            sums.q += w * q;
            sums.qq += w * q * q;
            sums.xq += w * q * x;
        }
        let Some((slope, start)) = line(sums, weight, weighted) else { continue };
        let now = loss(&q, slope, start);
        if now < best {
            (best, scale, minimum) = (now, slope, start);
        }
    }
    (scale, -minimum)
}

/// The line of least weighted squares that does not begin above zero: its slope, and where it begins.
fn line(sums: Sums, weight: f32, weighted: f32) -> Option<(f32, f32)> {
    let determinant = weight * sums.qq - sums.q * sums.q;
    if determinant <= 0.0 {
        return None;
    }
    let start = (sums.qq * weighted - sums.q * sums.xq) / determinant;
    if start > 0.0 {
        return Some((sums.xq / sums.qq, 0.0));
    }
    Some(((weight * sums.xq - weighted * sums.q) / determinant, start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::gguf::blocks::decode;

    fn noise(len: usize) -> Vec<f32> {
        let mut rng = fastrand::Rng::with_seed(7);
        (0..len).map(|_| (0..6).map(|_| rng.f32() - 0.5).sum()).collect()
    }

    /// The root of the mean square of what is lost, over that of the numbers.
    fn loss(to: Quantization, rows: &[f32]) -> f32 {
        let bytes = quantize_rows(to, rows, rows.len()).unwrap();
        let mut back = vec![0.0; rows.len()];
        decode(to.stored(), &bytes, &mut back);
        let square = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>();
        let lost = square(&mut back.iter().zip(rows).map(|(a, b)| a - b));
        (lost / square(&mut rows.iter().copied())).sqrt()
    }

    #[test]
    fn small_scales_read_back() {
        let mut rng = fastrand::Rng::with_seed(3);
        for _ in 0..1000 {
            let small = std::array::from_fn(|_| (rng.u8(0..64), rng.u8(0..64)));
            assert_eq!(small_scales(&pack_small_scales(&small)), small);
        }
    }

    #[test]
    fn little_is_lost() {
        let rows = noise(16 * 256);
        assert!(loss(Quantization::Q8_0, &rows) < 0.006);
        assert!(loss(Quantization::Q4K, &rows) < 0.08);
    }

    #[test]
    fn what_has_no_spread_survives() {
        for x in [0.5, -0.25, 3.0] {
            assert!(loss(Quantization::Q8_0, &[x; 256]) < 1e-3, "{x}");
            assert!(loss(Quantization::Q4K, &[x; 256]) < 1e-3, "{x}");
        }
        for to in [Quantization::Q8_0, Quantization::Q4K] {
            let bytes = quantize_rows(to, &[0.0; 256], 256).unwrap();
            let mut back = [1.0; 256];
            decode(to.stored(), &bytes, &mut back);
            assert!(back.iter().all(|x| *x == 0.0), "{back:?}");
        }
    }

    #[test]
    fn rows_that_are_no_blocks_are_refused() {
        let refused = |to, numbers: &[f32], width| quantize_rows(to, numbers, width).unwrap_err();
        assert_eq!(
            refused(Quantization::Q4K, &[0.0; 384], 384),
            QuantizeError::BrokenRow { width: 384, block: 256 }
        );
        assert_eq!(refused(Quantization::Q8_0, &[], 0), QuantizeError::BrokenRow { width: 0, block: 32 });
        assert_eq!(
            refused(Quantization::Q8_0, &[0.0; 33], 32),
            QuantizeError::BrokenRows { numbers: 33, width: 32 }
        );
        let mut rows = [0.0; 96];
        rows[40] = f32::NAN;
        assert_eq!(refused(Quantization::Q8_0, &rows, 32), QuantizeError::NotFinite { row: 1 });
    }
}
