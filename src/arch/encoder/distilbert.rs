//! `DistilBERT`: Sanh et al., "`DistilBERT`, a distilled version of BERT", arXiv 1910.01108. BERT without
//! segments, under other names. Reference: `modeling_distilbert.py` of Hugging Face transformers.

use serde::Deserialize;

use super::config::{EncoderConfig, Sizes};
use super::layout::{Layout, Qkv, Up};
use crate::arch::{ArchError, Architecture};

/// Not in its configuration.
const NORM_EPS: f64 = 1e-12;

const LAYOUTS: &[Layout] = &[Layout {
    inside: &["distilbert"],
    layers: "transformer.layer",
    qkv: Qkv::Apart(["attention.q_lin", "attention.k_lin", "attention.v_lin"]),
    attention_output: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    up: Up::Joined("ffn.lin1"),
    down: "ffn.lin2",
    output_norm: "output_layer_norm",
    ..Layout::BERT
}];

/// Its `config.json`.
#[derive(Debug, Deserialize)]
pub(super) struct DistilBertConfig {
    vocab_size: usize,
    dim: usize,
    n_layers: usize,
    n_heads: usize,
    hidden_dim: usize,
    activation: String,
    max_position_embeddings: usize,
}

impl DistilBertConfig {
    pub(super) fn lower(self) -> Result<EncoderConfig, ArchError> {
        let sizes = Sizes {
            vocab_size: self.vocab_size,
            hidden_size: self.dim,
            num_hidden_layers: self.n_layers,
            num_attention_heads: self.n_heads,
            intermediate_size: self.hidden_dim,
            max_position_embeddings: self.max_position_embeddings,
        };
        EncoderConfig::like_bert(Architecture::DistilBert, sizes, NORM_EPS, &self.activation, LAYOUTS)
    }
}
