//! `MPNet`: Song et al., "`MPNet`: Masked and Permuted Pre-training for Language Understanding", arXiv
//! 2004.09297. BERT without segments, with `RoBERTa`'s places and, shared by all layers, T5's biases by
//! distance (Raffel et al., arXiv 1910.10683, section 2.1). Reference: `modeling_mpnet.py` of Hugging Face
//! transformers.

use serde::Deserialize;

use super::config::{EncoderConfig, Sizes};
use super::layout::{Layout, Qkv};
use crate::arch::bounds::within;
use crate::arch::distances::Distances;
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

/// Which distances are told apart, whatever the size of the table.
pub(super) const DISTANCES: Distances = Distances { kinds: 32, far: 128 };

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
    DISTANCES.kinds
}

impl MpNetConfig {
    pub(super) fn lower(self) -> Result<EncoderConfig, ArchError> {
        let buckets = self.relative_attention_num_buckets;
        within("relative_attention_num_buckets", buckets, DISTANCES.kinds..=1024)?;
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
