//! `config.json` of a BERT, as transformers 4 and 5 write it.

use std::fmt::Display;
use std::ops::RangeInclusive;

use serde::Deserialize;

use crate::arch::ArchError;
use crate::kernels::Activation;

/// The shape of a network. Entries that only matter for training are left unread.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct EncoderConfig {
    /// How many different tokens there are.
    pub vocab_size: usize,
    /// The width of a token's vector.
    pub hidden_size: usize,
    /// How many layers.
    pub num_hidden_layers: usize,
    /// How many parts attention looks at separately; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// The width inside the feed-forward part of a layer.
    pub intermediate_size: usize,
    /// The function inside the feed-forward part, by its name in transformers.
    pub hidden_act: String,
    /// How many tokens a text can have.
    pub max_position_embeddings: usize,
    /// How many segments tokens can belong to.
    #[serde(default = "default_type_vocab_size")]
    pub type_vocab_size: usize,
    /// What keeps the norm of a constant row from dividing by zero.
    #[serde(default = "default_layer_norm_eps")]
    pub layer_norm_eps: f64,
    /// How positions enter: only `absolute` is implemented. Absent in files of transformers 5.
    pub position_embedding_type: Option<String>,
    /// Whether it is a decoder in an encoder's clothes, which is not implemented.
    #[serde(default)]
    pub is_decoder: bool,
}

fn default_type_vocab_size() -> usize {
    2
}

fn default_layer_norm_eps() -> f64 {
    1e-12
}

impl EncoderConfig {
    /// Checks every number against what a real model may have, so that nothing that is allocated or divided
    /// by afterwards is absurd.
    ///
    /// # Errors
    ///
    /// [`ArchError::BadConfig`] or [`ArchError::Unsupported`].
    pub fn validate(&self) -> Result<(), ArchError> {
        within("vocab_size", self.vocab_size, 1..=4 << 20)?;
        within("hidden_size", self.hidden_size, 1..=16_384)?;
        within("num_hidden_layers", self.num_hidden_layers, 1..=512)?;
        within("num_attention_heads", self.num_attention_heads, 1..=self.hidden_size)?;
        within("intermediate_size", self.intermediate_size, 1..=131_072)?;
        within("max_position_embeddings", self.max_position_embeddings, 1..=1 << 20)?;
        within("type_vocab_size", self.type_vocab_size, 1..=1024)?;
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            let expected = format!("it must divide hidden_size, {}", self.hidden_size);
            return Err(bad("num_attention_heads", self.num_attention_heads, expected));
        }
        if !(0.0..1.0).contains(&self.layer_norm_eps) {
            return Err(bad("layer_norm_eps", self.layer_norm_eps, "it must be in 0..1".to_owned()));
        }
        if let Some(other) = self.position_embedding_type.as_deref().filter(|kind| *kind != "absolute") {
            return Err(not_supported("position_embedding_type", other, &["absolute"]));
        }
        if self.is_decoder {
            return Err(bad("is_decoder", true, "only encoders are supported".to_owned()));
        }
        self.activation().map(drop)
    }

    /// The width of one attention head.
    pub(crate) fn head_size(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// The function that `hidden_act` names.
    pub(crate) fn activation(&self) -> Result<Activation, ArchError> {
        match self.hidden_act.as_str() {
            "gelu" | "gelu_python" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Activation::GeluTanh),
            "relu" => Ok(Activation::Relu),
            other => {
                Err(not_supported("hidden_act", other, &["gelu", "gelu_new", "gelu_pytorch_tanh", "relu"]))
            }
        }
    }
}

fn within(field: &'static str, found: usize, bounds: RangeInclusive<usize>) -> Result<(), ArchError> {
    if bounds.contains(&found) {
        return Ok(());
    }
    Err(bad(field, found, format!("it must be in {}..={}", bounds.start(), bounds.end())))
}

fn bad(field: &'static str, found: impl Display, expected: String) -> ArchError {
    ArchError::BadConfig { field, found: found.to_string(), expected }
}

fn not_supported(what: &'static str, found: &str, supported: &[&'static str]) -> ArchError {
    ArchError::Unsupported { what, found: found.to_owned(), supported: supported.to_vec() }
}
