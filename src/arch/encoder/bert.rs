//! BERT: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding",
//! arXiv 1810.04805; and `RoBERTa`, Liu et al., arXiv 1907.11692, which is the same graph with places counted
//! otherwise, in `XLM-RoBERTa` (arXiv 1911.02116) and `CamemBERT` (arXiv 1911.03894) too.
//! Reference: `modeling_bert.py` and `modeling_roberta.py` of Hugging Face transformers.

use serde::Deserialize;

use super::config::{EncoderConfig, Segments, Sizes};
use super::layout::Layout;
use crate::arch::bounds::{bad, not_supported, within};
use crate::arch::{ArchError, Architecture};

const BERT: &[Layout] = &[Layout::BERT];
const ROBERTA: &[Layout] = &[Layout { inside: &["roberta"], ..Layout::BERT }];

/// `config.json` of a BERT or `RoBERTa`, as transformers 4 and 5 write it. Entries that only matter for training
/// are left unread.
#[derive(Debug, Deserialize)]
pub(super) struct BertConfig {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_act: String,
    max_position_embeddings: usize,
    #[serde(default = "default_type_vocab_size")]
    type_vocab_size: usize,
    #[serde(default = "default_layer_norm_eps")]
    layer_norm_eps: f64,
    /// How positions enter: only `absolute` is implemented. Absent in files of transformers 5.
    position_embedding_type: Option<String>,
    #[serde(default)]
    is_decoder: bool,
    /// `RoBERTa` counts places from behind it.
    pad_token_id: Option<usize>,
}

fn default_type_vocab_size() -> usize {
    2
}

fn default_layer_norm_eps() -> f64 {
    1e-12
}

impl BertConfig {
    /// Places count from 0, and the tokenizer says in which segment a token is.
    pub(super) fn bert(self) -> Result<EncoderConfig, ArchError> {
        let segments = Segments::Given(self.type_vocab_size);
        Ok(EncoderConfig { segments, ..self.lower(Architecture::Bert, BERT)? })
    }

    /// Places count from behind the padding token, and all tokens are in the first segment.
    pub(super) fn roberta(self, architecture: Architecture) -> Result<EncoderConfig, ArchError> {
        let segments = Segments::First(self.type_vocab_size);
        let padding = self.pad_token_id.unwrap_or(1);
        EncoderConfig { segments, ..self.lower(architecture, ROBERTA)? }.counting_from(padding)
    }

    fn lower(
        &self,
        architecture: Architecture,
        layouts: &'static [Layout],
    ) -> Result<EncoderConfig, ArchError> {
        within("type_vocab_size", self.type_vocab_size, 1..=1024)?;
        if let Some(other) = self.position_embedding_type.as_deref().filter(|kind| *kind != "absolute") {
            return Err(not_supported("position_embedding_type", other, &["absolute"]));
        }
        if self.is_decoder {
            return Err(bad("is_decoder", true, "only encoders are supported".to_owned()));
        }
        let sizes = Sizes {
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            num_hidden_layers: self.num_hidden_layers,
            num_attention_heads: self.num_attention_heads,
            intermediate_size: self.intermediate_size,
            max_position_embeddings: self.max_position_embeddings,
        };
        EncoderConfig::like_bert(architecture, sizes, self.layer_norm_eps, &self.hidden_act, layouts)
    }
}
