//! Where a key is, told by its distance from the query: what is added to a score for each kind of distance is
//! learned, and far ones are told apart less finely. Raffel et al., "Exploring the Limits of Transfer Learning with
//! a Unified Text-to-Text Transformer", arXiv 1910.10683, section 2.1. Reference: `_relative_position_bucket` of
//! `modeling_t5.py` of Hugging Face transformers, in both directions.

use candle_core::{Result, Tensor};

/// Which distances are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Distances {
    /// How many kinds there are: half of them for each side. At least 4.
    pub(crate) kinds: usize,
    /// From here on all distances are alike; more than a quarter of `kinds`.
    pub(crate) far: usize,
}

impl Distances {
    /// What is added for every distance from `-reach` to `reach`, `[heads, 2 x reach + 1]`, by the table
    /// `[kinds or more, heads]`.
    pub(crate) fn biases(self, table: &Tensor, reach: usize) -> Result<Tensor> {
        let behind = (0..reach).map(|i| self.kind(reach - i));
        let ahead = (1..=reach).map(|distance| (self.kinds / 2) as u32 + self.kind(distance));
        let kinds: Vec<u32> = behind.chain([0]).chain(ahead).collect();
        let rows = Tensor::from_vec(kinds, 2 * reach + 1, table.device())?;
        table.index_select(&rows, 0)?.t()?.contiguous()
    }

    /// Which kind `distance` is, on either side: small ones each their own, then wider and wider ones.
    fn kind(self, distance: usize) -> u32 {
        let of_side = self.kinds / 2;
        let exact = of_side / 2;
        if distance < exact {
            return distance as u32;
        }
        // In f32, like the reference: which side of a border a distance falls on is a matter of rounding.
        let span = (self.far as f64 / exact as f64).ln() as f32;
        let wider = (distance as f32 / exact as f32).ln() / span * (of_side - exact) as f32;
        (of_side - 1).min(exact + wider as usize) as u32
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    const USUAL: Distances = Distances { kinds: 32, far: 128 };

    #[test]
    fn kinds_widen_as_in_the_reference() {
        // Where transformers' relative_position_bucket changes its mind, going outwards.
        let borders = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91];
        for distance in 0..2000 {
            let expected = borders.iter().rposition(|border| *border <= distance).unwrap();
            assert_eq!(USUAL.kind(distance) as usize, expected, "{distance}");
        }
    }

    #[test]
    fn keys_behind_and_ahead_have_kinds_of_their_own() -> Result<()> {
        let table = Tensor::arange(0f32, 64.0, &Device::Cpu)?.reshape((32, 2))?;
        let biases = USUAL.biases(&table, 3)?.to_vec2::<f32>()?;
        assert_eq!(biases[0], [6.0, 4.0, 2.0, 0.0, 34.0, 36.0, 38.0]);
        assert_eq!(biases[1], [7.0, 5.0, 3.0, 1.0, 35.0, 37.0, 39.0]);
        Ok(())
    }

    #[test]
    fn the_fewest_kinds_still_have_a_border() {
        let few = Distances { kinds: 4, far: 2 };
        assert_eq!([0, 1, 2, 900].map(|distance| few.kind(distance)), [0, 1, 1, 1]);
    }
}
