//! The generator behind every draw.

/// `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014). Written down
/// here rather than taken from a library: a seed that gave a text must give it after any upgrade.
#[derive(Clone, Debug)]
pub(super) struct SplitMix64 {
    state: u64,
}

/// 2^64 over the golden ratio, odd: every state comes once before any comes again.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

impl SplitMix64 {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        mix(self.state)
    }

    /// From 0 up to, but not, 1, in steps of 2^-53.
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The seed of the `choice`-th answer to a request with `seed`: the first has the request's own, so that one
/// answer is the first of several. The others start somewhere else on the generator's one long cycle.
pub(crate) fn seed_of_choice(seed: u64, choice: usize) -> u64 {
    match choice as u64 {
        0 => seed,
        choice => mix(seed ^ mix(choice)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_the_published_one() {
        let mut random = SplitMix64::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| random.next()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn choices_draw_apart() {
        let draws = |seed| {
            let mut random = SplitMix64::new(seed);
            (0..100).map(|_| random.next()).collect::<Vec<_>>()
        };
        let first = draws(seed_of_choice(7, 0));
        assert_eq!(first, draws(7));
        for choice in 1..8 {
            let other = draws(seed_of_choice(7, choice));
            assert!(other.iter().all(|x| !first.contains(x)), "choice {choice} repeats the first");
        }
    }
}
