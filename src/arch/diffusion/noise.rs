//! Noise that is the same everywhere: for one seed the same bits on every machine, alone and in a batch.
//!
//! The generator is Philox 4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011): ten
//! rounds of multiplication make four words of a counter and a key. The key is the seed, its lower half first. The
//! counter is: the number of the four words, the step, the picture among those of a request, the use. A word `w`
//! becomes the number below which a standard normal one lies with probability `(w + 1/2) / 2^32`, by the rational
//! functions of Wichura, "Algorithm AS 241" (Applied Statistics 37, 1988), in f64 and rounded to f32. Of the
//! functions in libraries only the square root is taken, which has one right answer.

/// What noise is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// What a picture begins as.
    Beginning,
    /// What the step of this number, from 0, throws in.
    Step(u32),
}

/// The noise of one picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Noise {
    seed: u64,
    picture: u32,
}

impl Noise {
    /// Of the picture of this number, from 0, in a request with this seed.
    pub(crate) fn of(seed: u64, picture: u32) -> Self {
        Self { seed, picture }
    }

    /// `count` numbers of a standard normal distribution.
    pub(crate) fn normal(self, what: Use, count: usize) -> Vec<f32> {
        let (step, what) = match what {
            Use::Beginning => (0, 0),
            Use::Step(step) => (step, 1),
        };
        let key = [self.seed as u32, (self.seed >> 32) as u32];
        let block = |number: usize| philox([number as u32, step, self.picture, what], key);
        let words = (0..count.div_ceil(4)).flat_map(block);
        words.take(count).map(normal).collect()
    }
}

/// Ten rounds.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    const FACTORS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
    const STEPS: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
    let halves = |a: u32, b: u32| {
        let product = u64::from(a) * u64::from(b);
        ((product >> 32) as u32, product as u32)
    };
    for _ in 0..10 {
        let (high0, low0) = halves(FACTORS[0], counter[0]);
        let (high1, low1) = halves(FACTORS[1], counter[2]);
        counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0];
        key = [key[0].wrapping_add(STEPS[0]), key[1].wrapping_add(STEPS[1])];
    }
    counter
}

/// Coefficients, the constant first, of the quotients of polynomials near the middle and towards the ends.
#[allow(clippy::excessive_precision, reason = "they stand as they were published")]
const MIDDLE: ([f64; 8], [f64; 8]) = (
    [
        3.387_132_872_796_366_608,
        133.141_667_891_784_377_45,
        1_971.590_950_306_551_442_7,
        13_731.693_765_509_461_125,
        45_921.953_931_549_871_457,
        67_265.770_927_008_700_853,
        33_430.575_583_588_128_105,
        2_509.080_928_730_122_672_7,
    ],
    [
        1.0,
        42.313_330_701_600_911_252,
        687.187_007_492_057_908_3,
        5_394.196_021_424_751_107_7,
        21_213.794_301_586_595_867,
        39_307.895_800_092_710_61,
        28_729.085_735_721_942_674,
        5_226.495_278_852_854_561,
    ],
);
#[allow(clippy::excessive_precision, reason = "they stand as they were published")]
const ENDS: ([f64; 8], [f64; 8]) = (
    [
        1.423_437_110_749_683_577_34,
        4.630_337_846_156_545_295_9,
        5.769_497_221_460_691_405_5,
        3.647_848_324_763_204_605_04,
        1.270_458_252_452_368_382_58,
        0.241_780_725_177_450_611_77,
        0.022_723_844_989_269_184_583_3,
        0.000_774_545_014_278_341_407_64,
    ],
    [
        1.0,
        2.053_191_626_637_758_821_87,
        1.676_384_830_183_803_849_4,
        0.689_767_334_985_100_004_55,
        0.148_103_976_427_480_074_59,
        0.015_198_666_563_616_457_196_6,
        0.000_547_593_808_499_534_494_6,
        0.000_000_001_050_750_071_644_416_843_24,
    ],
);

/// The normal number of a word.
fn normal(word: u32) -> f32 {
    let probability = (f64::from(word) + 0.5) / 4_294_967_296.0;
    let from_middle = probability - 0.5;
    if from_middle.abs() <= 0.425 {
        let at = 0.180_625 - from_middle * from_middle;
        return (from_middle * quotient(&MIDDLE, at)) as f32;
    }
    let from_end = if from_middle < 0.0 { probability } else { 1.0 - probability };
    let size = quotient(&ENDS, (-logarithm(from_end)).sqrt() - 1.6);
    (if from_middle < 0.0 { -size } else { size }) as f32
}

fn quotient((above, below): &([f64; 8], [f64; 8]), at: f64) -> f64 {
    let value = |polynomial: &[f64; 8]| polynomial.iter().rev().fold(0.0, |sum, factor| sum * at + factor);
    value(above) / value(below)
}

/// The natural logarithm of a normal positive number, by additions and multiplications alone.
fn logarithm(x: f64) -> f64 {
    const EXPONENT_BIAS: i32 = 1023;
    const FRACTION: u64 = (1 << 52) - 1;
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i32 - EXPONENT_BIAS;
    let mut fraction = f64::from_bits((bits & FRACTION) | 1f64.to_bits());
    if fraction > std::f64::consts::SQRT_2 {
        (fraction, exponent) = (fraction / 2.0, exponent + 1);
    }
    // Twice the area tangent, whose argument is below 0.172.
    let t = (fraction - 1.0) / (fraction + 1.0);
    let series = (0..12).rev().fold(0.0, |sum, n| sum * (t * t) + 1.0 / f64::from(2 * n + 1));
    f64::from(exponent) * std::f64::consts::LN_2 + 2.0 * t * series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_words_of_its_authors() {
        let cases = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, words) in cases {
            assert_eq!(philox(counter, key), words);
        }
    }

    #[test]
    fn probabilities_become_the_numbers_of_tables() {
        let at = |probability: f64| normal((probability * 4_294_967_296.0) as u32);
        for (probability, number) in [
            (0.5, 0.0),
            (0.841_344_746, 1.0),
            (0.975, 1.959_964),
            (0.025, -1.959_964),
            (0.999, 3.090_232),
            (0.000_01, -4.264_891),
        ] {
            assert!((at(probability) - number).abs() < 2e-5, "{probability}: {}", at(probability));
        }
        assert!((normal(0) + 6.338).abs() < 1e-3 && (normal(u32::MAX) - 6.338).abs() < 1e-3);
        for x in [1e-10, 0.07, 0.7, 1.0, 1.25, 1.5, 3e9] {
            assert!((logarithm(x) - x.ln()).abs() < 1e-14 * x.ln().abs().max(1.0), "{x}");
        }
    }

    #[test]
    fn the_bits_are_those_of_the_first_version() {
        let bits = |seed, picture, what| {
            Noise::of(seed, picture).normal(what, 5).into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        // As Python computes them with the inverse distribution function of its `statistics`.
        let first = [0xbe82_fa50, 0x3f96_bb4f, 0x3f21_53b7, 0x3e88_fdeb, 0x3ff5_1846];
        let other = [0xbf5b_09c1, 0xbf23_5780, 0xbfb9_f8b3, 0x3eda_f3f7, 0x3e8c_266e];
        assert_eq!(bits(0, 0, Use::Beginning), first);
        assert_eq!(bits(u64::MAX - 1, 3, Use::Step(7)), other);
    }

    #[test]
    fn streams_are_normal_and_have_nothing_to_do_with_each_other() {
        let streams = [
            Noise::of(1, 0).normal(Use::Beginning, 40_000),
            Noise::of(1, 1).normal(Use::Beginning, 40_000),
            Noise::of(1, 0).normal(Use::Step(0), 40_000),
            Noise::of(1, 0).normal(Use::Step(1), 40_000),
            Noise::of(1 << 32, 0).normal(Use::Beginning, 40_000),
        ];
        let mean = |values: &mut dyn Iterator<Item = f32>| values.map(f64::from).sum::<f64>() / 40_000.0;
        for (number, stream) in streams.iter().enumerate() {
            assert!(mean(&mut stream.iter().copied()).abs() < 0.02);
            assert!((mean(&mut stream.iter().map(|x| x * x)) - 1.0).abs() < 0.03);
            for other in &streams[number + 1..] {
                assert!(mean(&mut stream.iter().zip(other).map(|(a, b)| a * b)).abs() < 0.02);
            }
        }
        // What is shorter is the beginning of what is longer.
        assert_eq!(Noise::of(1, 0).normal(Use::Beginning, 6), streams[0][..6]);
    }
}
