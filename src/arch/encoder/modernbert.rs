//! `ModernBERT`: Warner et al., "Smarter, Better, Faster, Longer", arXiv 2412.13663. Norms before each part,
//! rotary positions, gated feed-forward parts, and most layers see only a window of the text. Reference:
//! `modeling_modernbert.py` of Hugging Face transformers.

use serde::Deserialize;

use super::config::{Biases, EncoderConfig, Gate, Norms, Rotary, Sight, Sizes};
use super::layout::{Layout, Qkv, Up};
use crate::arch::bounds::{bad, not_supported, within};
use crate::arch::{ArchError, Architecture, Bias};
use crate::kernels::RopeStyle;

const LAYOUTS: &[Layout] = &[Layout {
    inside: &["model"],
    words: "embeddings.tok_embeddings",
    embedding_norm: "embeddings.norm",
    layers: "layers",
    qkv: Qkv::Joined("attn.Wqkv"),
    attention_output: "attn.Wo",
    attention_norm: "attn_norm",
    up: Up::Joined("mlp.Wi"),
    down: "mlp.Wo",
    output_norm: "mlp_norm",
    final_norm: "final_norm",
    ..Layout::BERT
}];

/// The kinds of layer, by their names in transformers.
const KINDS: [&str; 2] = ["full_attention", "sliding_attention"];

/// Its `config.json`, as transformers 4 (`global_attn_every_n_layers`, `global_rope_theta`) and 5
/// (`layer_types`, `rope_parameters`) write it.
#[derive(Debug, Deserialize)]
pub(super) struct ModernBertConfig {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_activation: String,
    max_position_embeddings: usize,
    #[serde(default = "default_norm_eps")]
    norm_eps: f64,
    #[serde(default)]
    norm_bias: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    /// How many tokens a window spans, half of them on either side.
    #[serde(default = "default_local_attention")]
    local_attention: usize,
    layer_types: Option<Vec<String>>,
    #[serde(default = "default_global_attn_every_n_layers")]
    global_attn_every_n_layers: usize,
    rope_parameters: Option<RopeParameters>,
    #[serde(default = "default_global_rope_theta")]
    global_rope_theta: f64,
    local_rope_theta: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct RopeParameters {
    full_attention: Option<Rope>,
    sliding_attention: Option<Rope>,
}

#[derive(Debug, Deserialize)]
struct Rope {
    rope_theta: Option<f64>,
    rope_type: Option<String>,
}

fn default_norm_eps() -> f64 {
    1e-5
}

fn default_local_attention() -> usize {
    128
}

fn default_global_attn_every_n_layers() -> usize {
    3
}

fn default_global_rope_theta() -> f64 {
    160_000.0
}

impl ModernBertConfig {
    pub(super) fn lower(self) -> Result<EncoderConfig, ArchError> {
        let sizes = Sizes {
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            num_hidden_layers: self.num_hidden_layers,
            num_attention_heads: self.num_attention_heads,
            intermediate_size: self.intermediate_size,
            max_position_embeddings: self.max_position_embeddings,
        };
        let (eps, activation) = (self.norm_eps, &self.hidden_activation);
        let config = EncoderConfig::like_bert(Architecture::ModernBert, sizes, eps, activation, LAYOUTS)?;
        let bias = Bias::from;
        Ok(EncoderConfig {
            layers: self.layers(sizes)?,
            places: None,
            norms: Norms::Before,
            biases: Biases {
                norm: bias(self.norm_bias),
                qkv: bias(self.attention_bias),
                attention_output: bias(self.attention_bias),
                up: bias(self.mlp_bias),
                down: bias(self.mlp_bias),
            },
            gate: Gate::Present,
            ..config
        })
    }

    /// What each layer sees.
    fn layers(&self, sizes: Sizes) -> Result<Vec<Sight>, ArchError> {
        within("local_attention", self.local_attention, 1..=1 << 20)?;
        within("global_attn_every_n_layers", self.global_attn_every_n_layers, 1..=512)?;
        let rope = self.rope_parameters.as_ref();
        let full = rope.and_then(|rope| rope.full_attention.as_ref());
        let sliding = rope.and_then(|rope| rope.sliding_attention.as_ref());
        let global = theta(full)?.unwrap_or(self.global_rope_theta);
        let local = theta(sliding)?.or(self.local_rope_theta).unwrap_or(match full {
            // Files of transformers 4 may leave it out, and mean the same as elsewhere.
            None => global,
            Some(_) => 10_000.0,
        });
        let rotary = |theta| Rotary::new(theta, 1.0, RopeStyle::Halves, sizes.head_size());
        let global = Sight { window: None, rotary: Some(rotary(global)?) };
        let local = Sight { window: Some(self.local_attention / 2), rotary: Some(rotary(local)?) };
        let Some(kinds) = &self.layer_types else {
            let every = self.global_attn_every_n_layers;
            let kind = |i: usize| if i.is_multiple_of(every) { global } else { local };
            return Ok((0..sizes.num_hidden_layers).map(kind).collect());
        };
        if kinds.len() != sizes.num_hidden_layers {
            let expected = format!("there are {} layers", sizes.num_hidden_layers);
            return Err(bad("layer_types", format!("a list of {}", kinds.len()), expected));
        }
        let kind = |kind: &String| match kind.as_str() {
            "full_attention" => Ok(global),
            "sliding_attention" => Ok(local),
            other => Err(not_supported("layer type", other, &KINDS)),
        };
        kinds.iter().map(kind).collect()
    }
}

fn theta(rope: Option<&Rope>) -> Result<Option<f64>, ArchError> {
    let kind = rope.and_then(|rope| rope.rope_type.as_deref()).unwrap_or("default");
    if kind != "default" {
        return Err(not_supported("rope_type", kind, &["default"]));
    }
    Ok(rope.and_then(|rope| rope.rope_theta))
}
