//! `config.json` of a decoder as it stands in the file: what transformers 4 and 5 write, for every family.

use serde::Deserialize;

/// The entries of any family. What a family lacks or leaves to its defaults is `None`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawConfig {
    pub(super) model_type: Option<String>,
    /// The language half of a model that also sees.
    pub(super) text_config: Option<Box<RawConfig>>,

    pub(super) vocab_size: Option<usize>,
    pub(super) hidden_size: Option<usize>,
    pub(super) intermediate_size: Option<usize>,
    pub(super) num_hidden_layers: Option<usize>,
    pub(super) num_attention_heads: Option<usize>,
    pub(super) num_key_value_heads: Option<usize>,
    pub(super) head_dim: Option<usize>,
    pub(super) max_position_embeddings: Option<usize>,
    pub(super) rms_norm_eps: Option<f64>,
    pub(super) hidden_act: Option<String>,
    /// Gemma's name for it, which counts where both are given.
    pub(super) hidden_activation: Option<String>,
    pub(super) tie_word_embeddings: Option<bool>,
    pub(super) attention_bias: Option<bool>,
    pub(super) mlp_bias: Option<bool>,

    /// Where positions' angles were described before transformers 5.
    pub(super) rope_theta: Option<f64>,
    pub(super) rope_scaling: Option<RopeParameters>,
    pub(super) rope_local_base_freq: Option<f64>,
    pub(super) partial_rotary_factor: Option<f64>,
    pub(super) original_max_position_embeddings: Option<usize>,
    /// Where transformers 5 describes them.
    pub(super) rope_parameters: Option<RopeParameters>,
    pub(super) no_rope_layers: Option<Vec<u8>>,
    pub(super) no_rope_layer_interval: Option<usize>,

    pub(super) sliding_window: Option<usize>,
    pub(super) use_sliding_window: Option<bool>,
    pub(super) max_window_layers: Option<usize>,
    pub(super) layer_types: Option<Vec<String>>,
    pub(super) sliding_window_pattern: Option<usize>,
    /// The same, as transformers 4 wrote it at the end.
    #[serde(rename = "_sliding_window_pattern")]
    pub(super) private_sliding_window_pattern: Option<usize>,
    pub(super) use_bidirectional_attention: Option<bool>,
    pub(super) is_causal: Option<bool>,

    pub(super) query_pre_attn_scalar: Option<f64>,
    pub(super) attn_logit_softcapping: Option<f64>,
    pub(super) final_logit_softcapping: Option<f64>,

    pub(super) num_local_experts: Option<usize>,
    pub(super) num_experts: Option<usize>,
    pub(super) num_experts_per_tok: Option<usize>,
    pub(super) moe_intermediate_size: Option<usize>,
    pub(super) norm_topk_prob: Option<bool>,
    pub(super) decoder_sparse_step: Option<usize>,
    pub(super) mlp_only_layers: Option<Vec<usize>>,
}

/// How positions become angles; or, nested, how they do for each kind of layer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RopeParameters {
    pub(super) rope_type: Option<String>,
    /// The older name of `rope_type`. Many files have both.
    pub(super) r#type: Option<String>,
    pub(super) rope_theta: Option<f64>,
    pub(super) partial_rotary_factor: Option<f64>,
    pub(super) factor: Option<f64>,
    pub(super) original_max_position_embeddings: Option<usize>,
    pub(super) attention_factor: Option<f64>,
    pub(super) low_freq_factor: Option<f64>,
    pub(super) high_freq_factor: Option<f64>,
    pub(super) beta_fast: Option<f64>,
    pub(super) beta_slow: Option<f64>,
    pub(super) mscale: Option<f64>,
    pub(super) mscale_all_dim: Option<f64>,
    pub(super) truncate: Option<bool>,
    pub(super) short_factor: Option<Vec<f64>>,
    pub(super) long_factor: Option<Vec<f64>>,
    pub(super) mrope_section: Option<Vec<usize>>,
    pub(super) full_attention: Option<Box<RopeParameters>>,
    pub(super) sliding_attention: Option<Box<RopeParameters>>,
}

impl RawConfig {
    /// Whether only the classes in `architectures` say what it is.
    pub(super) fn names_no_type(&self) -> bool {
        self.model_type.is_none() && self.text_config.as_ref().is_none_or(|text| text.model_type.is_none())
    }

    /// The part that describes the decoder, with what only the whole says.
    pub(super) fn text(self) -> Self {
        let Some(mut text) = self.text_config else { return self };
        if self.model_type.as_deref() == Some("paligemma") {
            // Its prompts are read both ways, as whoever asks for them says; answers are not.
            text.use_bidirectional_attention = None;
        }
        text.model_type = text.model_type.or(self.model_type);
        text.tie_word_embeddings = text.tie_word_embeddings.or(self.tie_word_embeddings);
        text.fill();
        *text
    }

    /// Sizes that the language half of a model leaves out, as transformers fills them in: files of `LLaVA` 1.5
    /// say little more than that it is Llama.
    fn fill(&mut self) {
        let sizes = match self.model_type.as_deref() {
            Some("llama") => (32_000, 4096, 11_008, 32, 32),
            Some("mistral") => (32_000, 4096, 14_336, 32, 32),
            _ => return,
        };
        let (vocabulary, hidden, inner, layers, heads) = sizes;
        self.vocab_size.get_or_insert(vocabulary);
        self.hidden_size.get_or_insert(hidden);
        self.intermediate_size.get_or_insert(inner);
        self.num_hidden_layers.get_or_insert(layers);
        self.num_attention_heads.get_or_insert(heads);
        if self.model_type.as_deref() == Some("mistral") {
            self.num_key_value_heads.get_or_insert(8);
        }
    }

    /// What `rope_parameters` or `rope_scaling` say, completed by the entries beside them.
    pub(super) fn rope(&self) -> RopeParameters {
        let mut rope = self.rope_parameters.clone().or(self.rope_scaling.clone()).unwrap_or_default();
        rope.rope_theta = rope.rope_theta.or(self.rope_theta);
        rope.partial_rotary_factor = rope.partial_rotary_factor.or(self.partial_rotary_factor);
        rope.original_max_position_embeddings =
            self.original_max_position_embeddings.or(rope.original_max_position_embeddings);
        rope
    }
}
