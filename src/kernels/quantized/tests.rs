//! The layers against exact products, and against themselves.

use rayon::ThreadPoolBuilder;

use super::isa::Isa;
use super::*;

const KINDS: [QuantKind; 5] =
    [QuantKind::Q8_0, QuantKind::Q4_0, QuantKind::Q4K, QuantKind::Q5K, QuantKind::Q6K];

/// Small numbers that repeat after 2^64 steps.
struct Noise(u64);

impl Noise {
    fn word(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    fn byte(&mut self) -> u8 {
        self.word() as u8
    }

    /// Between -1 and 1, most near 0, a few large.
    fn number(&mut self) -> f32 {
        let x = (f64::from(self.word()) / f64::from(1u32 << 30) - 1.0) as f32;
        if self.word().is_multiple_of(61) { 7.0 * x } else { x * x * x }
    }

    /// f16 between 2^-8 and 2^-6, either sign, sometimes subnormal.
    fn half(&mut self) -> [u8; 2] {
        let word = self.word();
        let exponent = if word.is_multiple_of(17) { 0 } else { 7 + (word >> 8) % 2 };
        ((word >> 16 & 0x83ff | exponent << 10) as u16).to_le_bytes()
    }

    fn block(&mut self, kind: QuantKind) -> Vec<u8> {
        let mut block: Vec<u8> = (0..kind.block_bytes()).map(|_| self.byte()).collect();
        let halves: &[usize] = match kind {
            QuantKind::Q8_0 | QuantKind::Q4_0 => &[0],
            QuantKind::Q4K | QuantKind::Q5K => &[0, 2],
            QuantKind::Q6K => &[208],
        };
        for at in halves {
            block[*at..at + 2].copy_from_slice(&self.half());
        }
        block
    }

    fn matrix(&mut self, kind: QuantKind, out: usize, width: usize) -> Vec<u8> {
        (0..out * width / kind.block_weights()).flat_map(|_| self.block(kind)).collect()
    }
}

/// The weights of a block by the definition of its kind in the GGUF specification.
fn definition(kind: QuantKind, block: &[u8]) -> Vec<f32> {
    let half = |at: usize| f16::to_f32(u16::from_le_bytes([block[at], block[at + 1]]));
    let mut weights = Vec::new();
    match kind {
        QuantKind::Q8_0 => weights.extend(block[2..].iter().map(|q| half(0) * f32::from(q.cast_signed()))),
        QuantKind::Q4_0 => {
            weights.extend(block[2..].iter().map(|q| half(0) * (f32::from(q & 15) - 8.0)));
            weights.extend(block[2..].iter().map(|q| half(0) * (f32::from(q >> 4) - 8.0)));
        }
        QuantKind::Q4K | QuantKind::Q5K => {
            let five = kind == QuantKind::Q5K;
            let (scales, low) = (&block[4..16], &block[if five { 48 } else { 16 }..]);
            for sub in 0..8 {
                let (scale, min) = if sub < 4 {
                    (scales[sub] & 63, scales[sub + 4] & 63)
                } else {
                    (
                        (scales[sub + 4] & 15) + (scales[sub - 4] >> 6) * 16,
                        (scales[sub + 4] >> 4) + (scales[sub] >> 6) * 16,
                    )
                };
                for i in 0..32 {
                    let byte = low[sub / 2 * 32 + i];
                    let four = if sub % 2 == 0 { byte & 15 } else { byte >> 4 };
                    let bit = if five { block[16 + i] >> sub & 1 } else { 0 };
                    weights.push(
                        half(0) * f32::from(scale) * f32::from(four + 16 * bit) - half(2) * f32::from(min),
                    );
                }
            }
        }
        QuantKind::Q6K => {
            weights.resize(256, 0.0);
            for part in 0..2 {
                let (low, high) = (&block[64 * part..], &block[128 + 32 * part..]);
                let scale = |sub: usize| half(208) * f32::from(block[192 + 8 * part + sub].cast_signed());
                for i in 0..32 {
                    let codes = [
                        low[i] & 15 | (high[i] & 3) << 4,
                        low[i + 32] & 15 | (high[i] >> 2 & 3) << 4,
                        low[i] >> 4 | (high[i] >> 4 & 3) << 4,
                        low[i + 32] >> 4 | (high[i] >> 6) << 4,
                    ];
                    for (quarter, code) in codes.into_iter().enumerate() {
                        weights[128 * part + 32 * quarter + i] =
                            scale(2 * quarter + i / 16) * (f32::from(code) - 32.0);
                    }
                }
            }
        }
    }
    weights
}

struct Case {
    layer: QuantizedLinear,
    weights: Vec<f32>,
    xs: Vec<f32>,
    rows: usize,
}

impl Case {
    fn new(kind: QuantKind, out: usize, width: usize, rows: usize) -> Self {
        let mut noise = Noise((out * width + rows) as u64);
        let bytes = noise.matrix(kind, out, width);
        let weights =
            bytes.chunks_exact(kind.block_bytes()).flat_map(|block| definition(kind, block)).collect();
        let layer =
            QuantizedLinear::from_gguf_blocks(kind, &bytes, out, width).expect("blocks of the right size");
        let xs = (0..rows * width).map(|_| noise.number()).collect();
        Self { layer, weights, xs, rows }
    }

    fn product(&self, isa: Isa, precision: Precision) -> Vec<f32> {
        let xs = Activations::of(isa, precision, &self.xs, self.layer.width());
        matmul_all(std::slice::from_ref(&self.layer), &xs)
    }

    /// The exact product, and how far rounding the activations may take each number from it.
    fn exact(&self, precision: Precision) -> Vec<(f64, f64)> {
        let steps = match precision {
            Precision::Byte => 254.0,
            Precision::Wide => 65_024.0,
        };
        let width = self.layer.width();
        let mut exact = Vec::new();
        for xs in self.xs.chunks_exact(width) {
            for weights in self.weights.chunks_exact(width) {
                let (mut sum, mut bound) = (0f64, 0f64);
                for (xs, weights) in xs.chunks_exact(32).zip(weights.chunks_exact(32)) {
                    let largest = xs.iter().fold(0f32, |most, x| most.max(x.abs()));
                    let (mut magnitude, mut code_magnitude) = (0f64, 0f64);
                    for (x, w) in xs.iter().zip(weights) {
                        sum += f64::from(*x) * f64::from(*w);
                        magnitude += f64::from(w.abs());
                        code_magnitude += f64::from((x * w).abs());
                    }
                    bound += f64::from(largest) / steps * magnitude * 1.001
                        + 4e-6 * code_magnitude
                        + 3e-6 * f64::from(largest) * magnitude;
                }
                exact.push((sum, bound));
            }
        }
        exact
    }
}

fn shapes(kind: QuantKind) -> Vec<(usize, usize)> {
    let block = kind.block_weights();
    vec![(1, block), (31, 2 * block), (33, 3 * block), (40, 9 * 256 / block * block + block), (64, block)]
}

#[test]
fn products_are_within_the_rounding_of_activations() {
    for kind in KINDS {
        for (out, width) in shapes(kind) {
            for rows in [1, 3, 7, 40] {
                let case = Case::new(kind, out, width, rows);
                for precision in [Precision::Byte, Precision::Wide] {
                    for isa in Isa::all() {
                        let got = case.product(isa, precision);
                        for (got, (exact, bound)) in got.iter().zip(case.exact(precision)) {
                            assert!(
                                (f64::from(*got) - exact).abs() <= bound,
                                "{kind:?} {out}x{width}x{rows} {isa:?} {precision:?}: {got}, not {exact} +- {bound}"
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn every_instruction_set_gives_the_same_bits() {
    for kind in KINDS {
        for (out, width) in shapes(kind) {
            for rows in 1..=14 {
                let case = Case::new(kind, out, width, rows);
                for precision in [Precision::Byte, Precision::Wide] {
                    let expected = case.product(Isa::Portable, precision);
                    for isa in Isa::all() {
                        let got = case.product(isa, precision);
                        let same = got.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits());
                        assert!(same, "{kind:?} {out}x{width}x{rows} {isa:?} {precision:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_row_is_the_same_in_any_company_and_on_any_threads() {
    for kind in KINDS {
        let mut case = Case::new(kind, 70, 512, 160);
        let all = case.xs.clone();
        let alone: Vec<f32> = (0..160)
            .flat_map(|row| {
                case.xs = all[row * 512..][..512].to_vec();
                case.rows = 1;
                case.product(Isa::detect(), Precision::Byte)
            })
            .collect();
        for rows in [2, 5, 6, 7, 13, 40, 147, 160] {
            (case.xs, case.rows) = (all[..rows * 512].to_vec(), rows);
            for threads in [1, 2, 3] {
                let pool =
                    ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool of a few threads");
                let got = pool.install(|| case.product(Isa::detect(), Precision::Byte));
                assert!(
                    got.iter().zip(&alone).all(|(a, b)| a.to_bits() == b.to_bits()),
                    "{kind:?} {rows} {threads}"
                );
            }
        }
    }
}

#[test]
fn layers_together_give_what_each_gives_alone() {
    let (a, b) = (Case::new(QuantKind::Q4K, 70, 512, 5), Case::new(QuantKind::Q6K, 33, 512, 5));
    let xs = Activations::of(Isa::detect(), Precision::Byte, &a.xs, 512);
    let alone = a.product(Isa::detect(), Precision::Byte);
    let b = Case { xs: a.xs.clone(), ..b };
    let beside = b.product(Isa::detect(), Precision::Byte);
    let together = matmul_all(&[a.layer, b.layer], &xs);
    for ((row, a), b) in together.chunks_exact(103).zip(alone.chunks_exact(70)).zip(beside.chunks_exact(33)) {
        assert_eq!(row, [a, b].concat());
    }
}

#[test]
fn a_row_reads_back_as_the_file_has_it() {
    for kind in KINDS {
        let case = Case::new(kind, 40, 768, 1);
        let mut row = vec![0.0; 768];
        for (index, expected) in case.weights.chunks_exact(768).enumerate() {
            case.layer.dequantize_row(index, &mut row);
            assert_eq!(row, expected, "{kind:?} row {index}");
        }
        assert_eq!(case.layer.bytes(), QuantizedLinear::packed_bytes(kind, 40, 768));
    }
}

#[test]
fn what_is_no_number_stays_visible_in_its_row_only() {
    for kind in KINDS {
        let mut case = Case::new(kind, 40, 512, 3);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            case.xs[512 + 300] = bad;
            for isa in Isa::all() {
                for precision in [Precision::Byte, Precision::Wide] {
                    let got = case.product(isa, precision);
                    assert!(
                        got.iter().enumerate().all(|(i, x)| x.is_nan() == (i / 40 == 1)),
                        "{kind:?} {isa:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn nothing_and_next_to_nothing_give_zero() {
    let mut case = Case::new(QuantKind::Q4K, 33, 256, 2);
    for tiny in [0.0, -0.0, f32::MIN_POSITIVE, 1e-40] {
        case.xs.fill(tiny);
        assert!(case.product(Isa::detect(), Precision::Byte).iter().all(|x| *x == 0.0));
    }
}

#[test]
fn blocks_that_do_not_fit_are_refused() {
    let kind = QuantKind::Q4K;
    let good = Noise(1).matrix(kind, 2, 512);
    let layer =
        |bytes: &[u8], out, width| QuantizedLinear::from_gguf_blocks(kind, bytes, out, width).map(|_| ());
    assert_eq!(layer(&good, 2, 512), Ok(()));
    for width in [0, 32, 300] {
        assert_eq!(layer(&good, 2, width), Err(QuantError::Width { width, block: 256 }));
    }
    for (out, width) in [(0, 512), (1, 512), (3, 512), (usize::MAX, 512), (2, usize::MAX / 256 * 256)] {
        assert_eq!(layer(&good, out, width), Err(QuantError::Length { kind, out, width, found: good.len() }));
    }
    let mut bad = good;
    bad[3 * 144 + 2..3 * 144 + 4].copy_from_slice(&0x7c00u16.to_le_bytes());
    assert_eq!(layer(&bad, 2, 512), Err(QuantError::Scale { row: 1 }));
}
