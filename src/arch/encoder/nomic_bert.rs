//! Nomic-BERT: Nussbaum et al., "Nomic Embed: Training a Reproducible Long Context Text Embedder", arXiv
//! 2402.01613. BERT with rotary positions, a gated feed-forward part and few biases. Reference:
//! `modeling_nomic_bert.py` of Hugging Face transformers, and of `nomic-ai/nomic-bert-2048` on the hub, which
//! came first and whose configurations and names most checkpoints have.

use serde::Deserialize;

use super::config::{Biases, EncoderConfig, Gate, Rotary, Segments, Sight, Sizes};
use super::layout::{Layout, Qkv, Up};
use crate::arch::bounds::{bad, not_supported, within};
use crate::arch::{ArchError, Architecture, Bias};
use crate::kernels::RopeStyle;

const FIRST: Layout = Layout {
    inside: &["bert", "nomic_bert"],
    embedding_norm: "emb_ln",
    layers: "encoder.layers",
    qkv: Qkv::Joined("attn.Wqkv"),
    attention_output: "attn.out_proj",
    attention_norm: "norm1",
    up: Up::Apart(["mlp.fc12", "mlp.fc11"]),
    down: "mlp.fc2",
    output_norm: "norm2",
    ..Layout::BERT
};

const GATED: &[Layout] = &[
    FIRST,
    Layout {
        inside: &["nomic_bert"],
        layers: "layers",
        qkv: Qkv::Apart(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
        attention_output: "self_attn.o_proj",
        attention_norm: "post_attention_layernorm",
        up: Up::Apart(["mlp.gate_proj", "mlp.up_proj"]),
        down: "mlp.down_proj",
        output_norm: "post_mlp_layernorm",
        ..Layout::BERT
    },
];

const UNGATED: &[Layout] = &[Layout { up: Up::Joined("mlp.fc1"), ..FIRST }];

/// Its `config.json`: the entries of transformers, or those of the code that came first, in GPT-2's style.
/// Files written by transformers from the older ones have both.
#[allow(clippy::struct_excessive_bools, reason = "the file has them")]
#[derive(Debug, Deserialize)]
pub(super) struct NomicBertConfig {
    vocab_size: usize,
    hidden_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    intermediate_size: Option<usize>,
    max_position_embeddings: Option<usize>,
    hidden_act: Option<String>,
    layer_norm_eps: Option<f64>,
    rope_parameters: Option<RopeParameters>,
    rope_theta: Option<f64>,
    type_vocab_size: Option<usize>,

    n_embd: Option<usize>,
    n_layer: Option<usize>,
    n_head: Option<usize>,
    n_inner: Option<usize>,
    n_positions: Option<usize>,
    activation_function: Option<String>,
    layer_norm_epsilon: Option<f64>,
    rotary_emb_base: Option<f64>,
    rotary_emb_fraction: Option<f64>,
    #[serde(default)]
    rotary_emb_interleaved: bool,
    /// Past so many tokens the angles are scaled, where there is a factor.
    max_trained_positions: Option<usize>,
    rotary_scaling_factor: Option<f64>,
    rotary_emb_scale_base: Option<f64>,
    #[serde(default)]
    qkv_proj_bias: bool,
    #[serde(default)]
    mlp_fc1_bias: bool,
    #[serde(default)]
    mlp_fc2_bias: bool,
    #[serde(default)]
    prenorm: bool,
    #[serde(default)]
    parallel_block: bool,
    #[serde(default)]
    use_rms_norm: bool,
    #[serde(default)]
    causal: bool,
    #[serde(default)]
    scale_attn_by_inverse_layer_idx: bool,
    moe_every_n_layers: Option<i64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct RopeParameters {
    rope_theta: Option<f64>,
    rope_type: Option<String>,
    original_max_position_embeddings: Option<usize>,
}

impl NomicBertConfig {
    pub(super) fn lower(self) -> Result<EncoderConfig, ArchError> {
        self.check_graph()?;
        let sizes = self.sizes()?;
        let eps = self.layer_norm_eps.or(self.layer_norm_epsilon).unwrap_or(1e-12);
        let segments = match self.type_vocab_size.unwrap_or(2) {
            0 => Segments::Absent,
            some => Segments::Given(some),
        };
        if let Segments::Given(some) = segments {
            within("type_vocab_size", some, 1..=1024)?;
        }
        let (activation, gate) = self.activation();
        let layouts = if gate == Gate::Present { GATED } else { UNGATED };
        let config = EncoderConfig::like_bert(Architecture::NomicBert, sizes, eps, activation, layouts)?;
        let sight = Sight { window: None, rotary: Some(self.rotary(sizes)?) };
        let bias = Bias::from;
        Ok(EncoderConfig {
            max_positions: self.positions_unscaled(config.max_positions)?,
            layers: vec![sight; sizes.num_hidden_layers],
            segments,
            places: None,
            biases: Biases {
                norm: Bias::Present,
                qkv: bias(self.qkv_proj_bias),
                attention_output: bias(self.qkv_proj_bias),
                up: bias(self.mlp_fc1_bias),
                down: bias(self.mlp_fc2_bias),
            },
            gate,
            ..config
        })
    }

    /// Refuses what the first code can be told to do otherwise and no published encoder does.
    fn check_graph(&self) -> Result<(), ArchError> {
        let switches = [
            ("prenorm", self.prenorm),
            ("parallel_block", self.parallel_block),
            ("use_rms_norm", self.use_rms_norm),
            ("causal", self.causal),
            ("scale_attn_by_inverse_layer_idx", self.scale_attn_by_inverse_layer_idx),
        ];
        if let Some((name, _)) = switches.into_iter().find(|(_, on)| *on) {
            return Err(bad(name, true, "only false is supported".to_owned()));
        }
        if self.moe_every_n_layers.is_some_and(|n| n > 0) {
            return Err(not_supported("layer type", "mixture of experts", &["dense"]));
        }
        if self.rotary_emb_scale_base.is_some() {
            return Err(not_supported("rope_type", "xpos", &["default", "dynamic"]));
        }
        Ok(())
    }

    fn sizes(&self) -> Result<Sizes, ArchError> {
        let either = |field, new: Option<usize>, old: Option<usize>| {
            new.or(old).ok_or_else(|| bad(field, "missing", "every model has it".to_owned()))
        };
        let hidden_size = either("hidden_size", self.hidden_size, self.n_embd)?;
        Ok(Sizes {
            vocab_size: self.vocab_size,
            hidden_size,
            num_hidden_layers: either("num_hidden_layers", self.num_hidden_layers, self.n_layer)?,
            num_attention_heads: either("num_attention_heads", self.num_attention_heads, self.n_head)?,
            intermediate_size: self
                .intermediate_size
                .or(self.n_inner)
                .unwrap_or_else(|| hidden_size.saturating_mul(4)),
            max_position_embeddings: either(
                "max_position_embeddings",
                self.max_position_embeddings,
                self.n_positions,
            )?,
        })
    }

    /// By its name in transformers, or the first code's, which says in the name whether there is a gate.
    fn activation(&self) -> (&str, Gate) {
        match (self.hidden_act.as_deref(), self.activation_function.as_deref()) {
            (_, Some("swiglu")) => ("silu", Gate::Present),
            (_, Some("geglu")) => ("gelu", Gate::Present),
            (_, Some(other)) => (other, Gate::Absent),
            (Some(new), None) => (new, Gate::Present),
            (None, None) => ("silu", Gate::Present),
        }
    }

    fn rope(&self) -> RopeParameters {
        self.rope_parameters.clone().unwrap_or_default()
    }

    fn rotary(&self, sizes: Sizes) -> Result<Rotary, ArchError> {
        let base = self.rope().rope_theta.or(self.rope_theta).or(self.rotary_emb_base);
        let style = if self.rotary_emb_interleaved { RopeStyle::Interleaved } else { RopeStyle::Halves };
        let fraction = self.rotary_emb_fraction.unwrap_or(1.0);
        Rotary::new(base.unwrap_or(1000.0), fraction, style, sizes.head_size())
    }

    /// How many positions have their angles as trained. Beyond, with a dynamic scale, all angles of a text
    /// depend on its length; such texts are cut instead, and the answer says so.
    fn positions_unscaled(&self, positions: usize) -> Result<usize, ArchError> {
        let trained = match self.rope().rope_type.as_deref() {
            None | Some("default") if self.rotary_scaling_factor.is_none() => return Ok(positions),
            None | Some("default") => self.max_trained_positions,
            Some("dynamic") => self.rope().original_max_position_embeddings,
            Some(other) => return Err(not_supported("rope_type", other, &["default", "dynamic"])),
        };
        let trained = trained.unwrap_or(positions);
        within("max_trained_positions", trained, 1..=1 << 20)?;
        Ok(positions.min(trained))
    }
}
