//! `MPNet`: Song et al., "`MPNet`: Masked and Permuted Pre-training for Language Understanding", arXiv
//! 2004.09297. BERT without segments, with `RoBERTa`'s places and, shared by all layers, T5's biases by
//! distance (Raffel et al., arXiv 1910.10683, section 2.1). Reference: `modeling_mpnet.py` of Hugging Face
//! transformers.

use candle_core::{Result, Tensor};
use serde::Deserialize;

use super::config::{EncoderConfig, Sizes};
use super::layout::{Layout, Qkv};
use crate::arch::bounds::within;
use crate::arch::{ArchError, Architecture};

const LAYOUTS: &[Layout] = &[Layout {
    inside: &["mpnet"],
    qkv: Qkv::Apart(["attention.attn.q", "attention.attn.k", "attention.attn.v"]),
    attention_output: "attention.attn.o",
    attention_norm: "attention.LayerNorm",
    ..Layout::BERT
}];

/// The token that fills up texts; not read from the configuration by the reference.
const PADDING: usize = 1;

/// How many kinds of distance are told apart, whatever the size of the table: half of them for each side.
const BUCKETS: usize = 32;

/// From here on all distances are alike.
const FAR: f32 = 128.0;

/// Its `config.json`.
#[derive(Debug, Deserialize)]
pub(super) struct MpNetConfig {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_act: String,
    max_position_embeddings: usize,
    #[serde(default = "default_layer_norm_eps")]
    layer_norm_eps: f64,
    #[serde(default = "default_buckets")]
    relative_attention_num_buckets: usize,
}

fn default_layer_norm_eps() -> f64 {
    1e-12
}

fn default_buckets() -> usize {
    BUCKETS
}

impl MpNetConfig {
    pub(super) fn lower(self) -> std::result::Result<EncoderConfig, ArchError> {
        let buckets = self.relative_attention_num_buckets;
        within("relative_attention_num_buckets", buckets, BUCKETS..=1024)?;
        let sizes = Sizes {
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            num_hidden_layers: self.num_hidden_layers,
            num_attention_heads: self.num_attention_heads,
            intermediate_size: self.intermediate_size,
            max_position_embeddings: self.max_position_embeddings,
        };
        let (eps, activation) = (self.layer_norm_eps, &self.hidden_act);
        let config = EncoderConfig::like_bert(Architecture::MpNet, sizes, eps, activation, LAYOUTS)?;
        EncoderConfig { distances: Some(buckets), ..config }.counting_from(PADDING)
    }
}

/// The bias of every distance from `-reach` to `reach`, `[heads, 2 x reach + 1]`, from the table
/// `[buckets, heads]`.
pub(super) fn biases_by_distance(table: &Tensor, reach: usize) -> Result<Tensor> {
    let behind = (0..reach).map(|i| bucket(reach - i));
    let ahead = (1..=reach).map(|distance| (BUCKETS / 2) as u32 + bucket(distance));
    let buckets: Vec<u32> = behind.chain([0]).chain(ahead).collect();
    let rows = Tensor::from_vec(buckets, 2 * reach + 1, table.device())?;
    table.index_select(&rows, 0)?.t()?.contiguous()
}

/// Which kind of distance `distance` is, on either side: each its own up to 7, then wider and wider ones.
fn bucket(distance: usize) -> u32 {
    const EXACT: f32 = (BUCKETS / 4) as f32;
    const LAST: u32 = (BUCKETS / 2 - 1) as u32;
    if distance < BUCKETS / 4 {
        return distance as u32;
    }
    // In f32, like the reference: which side of a border a distance falls on is a matter of rounding.
    let wider = (distance as f32 / EXACT).ln() / (FAR / EXACT).ln() * EXACT;
    LAST.min(EXACT as u32 + wider as u32)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn buckets_widen_as_in_the_reference() {
        // Where transformers' relative_position_bucket changes its mind, going outwards.
        let borders = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91];
        for distance in 0..2000 {
            let expected = borders.iter().rposition(|border| *border <= distance).unwrap();
            assert_eq!(bucket(distance) as usize, expected, "{distance}");
        }
    }

    #[test]
    fn keys_behind_and_ahead_have_buckets_of_their_own() -> Result<()> {
        let table = Tensor::arange(0f32, 64.0, &Device::Cpu)?.reshape((32, 2))?;
        let biases = biases_by_distance(&table, 3)?.to_vec2::<f32>()?;
        assert_eq!(biases[0], [6.0, 4.0, 2.0, 0.0, 34.0, 36.0, 38.0]);
        assert_eq!(biases[1], [7.0, 5.0, 3.0, 1.0, 35.0, 37.0, 39.0]);
        Ok(())
    }
}
