//! What each family's `config.json` means. Reference: `configuration_*.py` and `modeling_*.py` of transformers.

use super::raw::{RawConfig, RopeParameters};
use super::rope::{RopeConfig, Surroundings};
use super::{
    DecoderConfig, ExpertWeights, ExpertsConfig, FeedForwardConfig, HeadNorm, LayerConfig, NormPlaces,
};
use crate::arch::activation::activation_called;
use crate::arch::bounds::{bad, not_supported, within};
use crate::arch::{ArchError, Bias};
use crate::kernels::{Activation, Direction};

/// A family of decoders: networks that share a `config.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DecoderFamily {
    /// Llama 1 to 3, `SmolLM` 1 and 2, and what else was trained on Llama's graph.
    Llama,
    /// Mistral: Llama with a sliding window.
    Mistral,
    /// Mixtral: Mistral with experts.
    Mixtral,
    /// Qwen 2 and 2.5: biases on queries, keys and values.
    Qwen2,
    /// Qwen 3: normalised queries and keys.
    Qwen3,
    /// Qwen 3 with experts.
    Qwen3Moe,
    /// Phi 3, 3.5 and 4: joined tensors, long and short angles.
    Phi3,
    /// The first Gemma: Llama with scaled vectors and GELU.
    Gemma,
    /// Gemma 2: norms on both sides, capped scores, a window in every second layer.
    Gemma2,
    /// The language half of Gemma 3: two kinds of angles.
    Gemma3,
    /// `SmolLM` 3: some layers without positions.
    SmolLm3,
    /// `OLMo` 2: norms behind attention and feed-forward.
    Olmo2,
}

impl DecoderFamily {
    /// All of them, by the `model_type` in `config.json`; of two names for one, first that of the decoder alone.
    pub(crate) const ALL: [(&'static str, Self); 17] = [
        ("llama", Self::Llama),
        ("mistral", Self::Mistral),
        ("mixtral", Self::Mixtral),
        ("qwen2", Self::Qwen2),
        ("qwen3", Self::Qwen3),
        ("qwen3_moe", Self::Qwen3Moe),
        ("phi3", Self::Phi3),
        // The language halves of Qwen's models that see; of older files, all of them.
        ("qwen2_vl_text", Self::Qwen2),
        ("qwen2_5_vl_text", Self::Qwen2),
        ("qwen2_vl", Self::Qwen2),
        ("qwen2_5_vl", Self::Qwen2),
        ("gemma", Self::Gemma),
        ("gemma2", Self::Gemma2),
        ("gemma3_text", Self::Gemma3),
        ("gemma3", Self::Gemma3),
        ("smollm3", Self::SmolLm3),
        ("olmo2", Self::Olmo2),
    ];

    /// The family called `model_type`.
    pub(crate) fn named(model_type: &str) -> Option<Self> {
        Self::ALL.iter().find(|(name, _)| *name == model_type).map(|(_, family)| *family)
    }

    /// The `model_type` of networks that are nothing else.
    pub fn model_type(self) -> &'static str {
        Self::ALL.iter().find(|(_, family)| *family == self).map_or("", |(name, _)| name)
    }

    /// What the names of its classes in transformers begin with.
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Llama => "Llama",
            Self::Mistral => "Mistral",
            Self::Mixtral => "Mixtral",
            Self::Qwen2 => "Qwen2",
            Self::Qwen3 => "Qwen3",
            Self::Qwen3Moe => "Qwen3Moe",
            Self::Phi3 => "Phi3",
            Self::Gemma => "Gemma",
            Self::Gemma2 => "Gemma2",
            Self::Gemma3 => "Gemma3",
            Self::SmolLm3 => "SmolLM3",
            Self::Olmo2 => "Olmo2",
        }
    }

    fn is_gemma(self) -> bool {
        matches!(self, Self::Gemma | Self::Gemma2 | Self::Gemma3)
    }

    /// The base of the angles where the file has none.
    fn default_theta(self) -> f64 {
        match self {
            Self::Mixtral | Self::Gemma3 => 1e6,
            Self::SmolLm3 => 2e6,
            _ => 1e4,
        }
    }
}

/// The shape that `raw` describes. Nothing is allocated by a number that has not been checked.
pub(super) fn lower(raw: &RawConfig) -> Result<DecoderConfig, ArchError> {
    let named = raw.model_type.as_deref().unwrap_or_default();
    let known = || DecoderFamily::ALL.map(|(name, _)| name);
    let family = DecoderFamily::named(named).ok_or_else(|| not_supported("decoder", named, &known()))?;
    let defaults = Defaults::of(family);
    let hidden_size = bounded("hidden_size", raw.hidden_size, 1..=1 << 17)?;
    let vocab_size = bounded("vocab_size", raw.vocab_size.or(defaults.vocab_size), 1..=1 << 24)?;
    let heads = bounded("num_attention_heads", raw.num_attention_heads.or(defaults.heads), 1..=4096)?;
    let kv_heads = raw.num_key_value_heads.or(defaults.kv_heads).unwrap_or(heads);
    let head_size = raw.head_dim.or(defaults.head_size).unwrap_or(hidden_size / heads);
    within("head_dim", head_size, 1..=1024)?;
    let context = raw.max_position_embeddings.or(defaults.context).unwrap_or(2048);
    let around = Surroundings { head_size, context, default_theta: family.default_theta() };
    let ropes = ropes(family, raw, around)?;
    let (qkv_bias, output_bias) = attention_biases(family, raw);
    let scaled = matches!(family, DecoderFamily::Gemma2 | DecoderFamily::Gemma3);
    let scale = if scaled { raw.query_pre_attn_scalar.unwrap_or(256.0) } else { head_size as f64 };
    Ok(DecoderConfig {
        family,
        vocab_size,
        hidden_size,
        context,
        heads,
        kv_heads,
        head_size,
        eps: raw.rms_norm_eps.unwrap_or(if family == DecoderFamily::Mixtral { 1e-5 } else { 1e-6 }),
        norm_offset: if family.is_gemma() { 1.0 } else { 0.0 },
        norms: match family {
            DecoderFamily::Gemma2 | DecoderFamily::Gemma3 => NormPlaces::Around,
            DecoderFamily::Olmo2 => NormPlaces::After,
            _ => NormPlaces::Before,
        },
        head_norm: match family {
            DecoderFamily::Qwen3 | DecoderFamily::Qwen3Moe | DecoderFamily::Gemma3 => HeadNorm::PerHead,
            DecoderFamily::Olmo2 => HeadNorm::Across,
            _ => HeadNorm::Absent,
        },
        qkv_bias,
        output_bias,
        feed_forward_bias: (raw.mlp_bias == Some(true)).into(),
        joined: family == DecoderFamily::Phi3,
        activation: activation(family, raw)?,
        direction: direction(family, raw)?,
        attention_scale: scale.sqrt().recip(),
        attention_cap: raw.attn_logit_softcapping.filter(|_| family == DecoderFamily::Gemma2),
        logit_cap: raw.final_logit_softcapping.filter(|_| scaled),
        embedding_scale: family.is_gemma().then(|| (hidden_size as f64).sqrt()),
        tied: raw.tie_word_embeddings.unwrap_or(family.is_gemma() || family == DecoderFamily::SmolLm3),
        layers: layers(family, raw, ropes.len())?,
        ropes,
    })
}

/// Numbers that files of Gemma 3 leave out, as the reference fills them in.
#[derive(Default)]
struct Defaults {
    vocab_size: Option<usize>,
    heads: Option<usize>,
    kv_heads: Option<usize>,
    head_size: Option<usize>,
    context: Option<usize>,
}

impl Defaults {
    fn of(family: DecoderFamily) -> Self {
        match family {
            DecoderFamily::Gemma3 => Self {
                vocab_size: Some(262_208),
                heads: Some(8),
                kv_heads: Some(4),
                head_size: Some(256),
                context: Some(131_072),
            },
            DecoderFamily::Gemma2 => Self { head_size: Some(256), ..Self::default() },
            DecoderFamily::Gemma => Self { head_size: Some(256), context: Some(8192), ..Self::default() },
            DecoderFamily::Qwen3 => Self { head_size: Some(128), ..Self::default() },
            _ => Self::default(),
        }
    }
}

fn bounded(
    field: &'static str,
    found: Option<usize>,
    bounds: std::ops::RangeInclusive<usize>,
) -> Result<usize, ArchError> {
    let found = found.ok_or_else(|| bad(field, "missing", "every decoder has it".to_owned()))?;
    within(field, found, bounds)?;
    Ok(found)
}

fn attention_biases(family: DecoderFamily, raw: &RawConfig) -> (Bias, Bias) {
    match family {
        DecoderFamily::Qwen2 => (Bias::Present, Bias::Absent),
        _ => {
            let both = Bias::from(raw.attention_bias == Some(true));
            (both, both)
        }
    }
}

fn activation(family: DecoderFamily, raw: &RawConfig) -> Result<Activation, ArchError> {
    let gemma = family.is_gemma();
    if family == DecoderFamily::Gemma {
        // Files that say "gelu" mean its approximation, too.
        let named = raw.hidden_activation.as_deref().or(raw.hidden_act.as_deref());
        return activation_called(named.filter(|name| *name != "gelu").unwrap_or("gelu_pytorch_tanh"));
    }
    let named = if gemma { raw.hidden_activation.as_deref() } else { raw.hidden_act.as_deref() };
    activation_called(named.unwrap_or(if gemma { "gelu_pytorch_tanh" } else { "silu" }))
}

/// One way of turning, or, for Gemma 3, first that of full and then that of windowed layers.
fn ropes(family: DecoderFamily, raw: &RawConfig, around: Surroundings) -> Result<Vec<RopeConfig>, ArchError> {
    let mut rope = raw.rope();
    if family != DecoderFamily::Gemma3 {
        let sees = raw.model_type.as_deref().is_some_and(|name| name.contains("_vl"));
        let sections = rope.mrope_section.take().or(sees.then(|| vec![16, 24, 24]));
        return Ok(vec![RopeConfig::new(&rope, around)?.in_sections(sections)?]);
    }
    let local = rope.sliding_attention.take().map_or_else(
        || RopeParameters { rope_theta: raw.rope_local_base_freq, ..RopeParameters::default() },
        |local| *local,
    );
    let full = rope.full_attention.take().map_or(rope, |full| *full);
    let local = RopeConfig::new(&local, Surroundings { default_theta: 1e4, ..around })?;
    Ok(vec![RopeConfig::new(&full, around)?, local])
}

fn layers(family: DecoderFamily, raw: &RawConfig, ropes: usize) -> Result<Vec<LayerConfig>, ArchError> {
    let count = bounded("num_hidden_layers", raw.num_hidden_layers, 1..=1024)?;
    let layer = |i: usize| {
        let window = window(family, raw, i)?;
        let local = usize::from(window.is_some()).min(ropes - 1);
        let rope = has_positions(family, raw, i).then_some(local);
        Ok(LayerConfig { window, rope, feed_forward: feed_forward(family, raw, i)? })
    };
    (0..count).map(layer).collect()
}

/// Gemma 3 says that it looks both ways in words of its own.
fn direction(family: DecoderFamily, raw: &RawConfig) -> Result<Direction, ArchError> {
    let both = raw.use_bidirectional_attention == Some(true);
    if both && family != DecoderFamily::Gemma3 {
        let expected = "only in Gemma 3 is it known what that means".to_owned();
        return Err(bad("use_bidirectional_attention", true, expected));
    }
    let both = both || raw.is_causal == Some(false);
    Ok(if both { Direction::BothWays } else { Direction::Backward })
}

/// How far layer `i` sees: by its kind in `layer_types`, or by the family's own rule where that is missing.
fn window(family: DecoderFamily, raw: &RawConfig, i: usize) -> Result<Option<usize>, ArchError> {
    let slides = match raw.layer_types.as_ref().map(|kinds| kinds.get(i).map(String::as_str)) {
        Some(Some("sliding_attention")) => true,
        Some(Some("full_attention")) => false,
        Some(Some(other)) => {
            return Err(not_supported("layer type", other, &["full_attention", "sliding_attention"]));
        }
        Some(None) => return Err(bad("layer_types", "too short", "each layer has one".to_owned())),
        None => slides_by_rule(family, raw, i),
    };
    let window = match family {
        // A file may give a window and say beside it that it is not used.
        DecoderFamily::Qwen2 | DecoderFamily::Qwen3 | DecoderFamily::Qwen3Moe | DecoderFamily::SmolLm3 => {
            raw.sliding_window.filter(|_| raw.use_sliding_window == Some(true))
        }
        DecoderFamily::Gemma2 | DecoderFamily::Gemma3 => raw.sliding_window.or(Some(4096)),
        DecoderFamily::Llama | DecoderFamily::Gemma | DecoderFamily::Olmo2 => None,
        DecoderFamily::Mistral | DecoderFamily::Mixtral | DecoderFamily::Phi3 => raw.sliding_window,
    };
    // Where a token looks both ways, Gemma's window is divided between them, and other families' is how far it
    // sees in each; neither counts the token itself.
    let halved = raw.use_bidirectional_attention == Some(true);
    let window = window.map(|window| if halved { window / 2 + 1 } else { window });
    let window = window.map(|window| window.saturating_add(usize::from(raw.is_causal == Some(false))));
    Ok(window.filter(|_| slides))
}

fn slides_by_rule(family: DecoderFamily, raw: &RawConfig, i: usize) -> bool {
    match family {
        DecoderFamily::Qwen2 | DecoderFamily::Qwen3 => i >= raw.max_window_layers.unwrap_or(28),
        DecoderFamily::Gemma2 => i.is_multiple_of(2),
        DecoderFamily::Gemma3 => {
            let pattern = raw.sliding_window_pattern.or(raw.private_sliding_window_pattern).unwrap_or(6);
            pattern != 0 && !(i + 1).is_multiple_of(pattern)
        }
        DecoderFamily::SmolLm3 => !has_positions(family, raw, i),
        _ => true,
    }
}

/// Whether layer `i` turns by positions.
fn has_positions(family: DecoderFamily, raw: &RawConfig, i: usize) -> bool {
    if family != DecoderFamily::SmolLm3 {
        return true;
    }
    match &raw.no_rope_layers {
        // Despite its name the list says 1 for layers with positions.
        Some(listed) => listed.get(i).is_none_or(|has| *has != 0),
        None => !(i + 1).is_multiple_of(raw.no_rope_layer_interval.unwrap_or(4).max(1)),
    }
}

fn feed_forward(family: DecoderFamily, raw: &RawConfig, i: usize) -> Result<FeedForwardConfig, ArchError> {
    let dense =
        || Ok(FeedForwardConfig::Dense { width: bounded_width("intermediate_size", raw.intermediate_size)? });
    match family {
        DecoderFamily::Mixtral => Ok(FeedForwardConfig::Experts(ExpertsConfig {
            count: raw.num_local_experts.unwrap_or(8),
            chosen: raw.num_experts_per_tok.unwrap_or(2),
            width: bounded_width("intermediate_size", raw.intermediate_size)?,
            weights: ExpertWeights::AmongChosen,
        })),
        DecoderFamily::Qwen3Moe => {
            let sparse = (i + 1).is_multiple_of(raw.decoder_sparse_step.unwrap_or(1).max(1));
            if !sparse || raw.mlp_only_layers.as_ref().is_some_and(|listed| listed.contains(&i)) {
                return dense();
            }
            let among_chosen = raw.norm_topk_prob == Some(true);
            Ok(FeedForwardConfig::Experts(ExpertsConfig {
                count: raw.num_experts.or(raw.num_local_experts).unwrap_or(128),
                chosen: raw.num_experts_per_tok.unwrap_or(8),
                width: bounded_width("moe_intermediate_size", raw.moe_intermediate_size)?,
                weights: if among_chosen { ExpertWeights::AmongChosen } else { ExpertWeights::AmongAll },
            }))
        }
        _ => dense(),
    }
}

fn bounded_width(field: &'static str, found: Option<usize>) -> Result<usize, ArchError> {
    bounded(field, found, 1..=1 << 20)
}
