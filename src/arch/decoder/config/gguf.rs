//! A decoder's shape from a GGUF file's metadata. Reference: `convert_hf_to_gguf.py` and `llama-arch.cpp` of
//! llama.cpp.

use super::families::lower;
use super::raw::{RawConfig, RopeParameters};
use super::rope::number;
use super::{DecoderConfig, DecoderFamily};
use crate::arch::ArchError;
use crate::arch::bounds::{bad, not_supported};
use crate::kernels::RopeStyle;
use crate::weights::{GgufError, GgufFile};

/// What the file calls each family, and what `config.json` would call it.
const NAMES: [(&str, &str); 9] = [
    ("llama", "llama"),
    ("qwen2", "qwen2"),
    ("qwen3", "qwen3"),
    ("qwen3moe", "qwen3_moe"),
    ("phi3", "phi3"),
    ("gemma2", "gemma2"),
    ("gemma3", "gemma3_text"),
    ("olmo2", "olmo2"),
    ("smollm3", "smollm3"),
];

/// Reads values under the family's prefix.
struct Keys<'a> {
    file: &'a GgufFile,
    prefix: &'a str,
}

impl Keys<'_> {
    fn whole(&self, key: &str) -> Result<Option<usize>, GgufError> {
        self.file.get::<usize>(&format!("{}.{key}", self.prefix))
    }

    fn real(&self, key: &str) -> Result<Option<f64>, GgufError> {
        Ok(self.file.get::<f32>(&format!("{}.{key}", self.prefix))?.map(f64::from))
    }

    fn text(&self, key: &str) -> Result<Option<&str>, GgufError> {
        self.file.get::<&str>(&format!("{}.{key}", self.prefix))
    }
}

impl DecoderConfig {
    /// From a file's metadata, and the shapes of its tensors.
    ///
    /// # Errors
    ///
    /// As for a `config.json`, and [`ArchError::Weights`] for a key that is not what it should be.
    pub(crate) fn from_gguf(file: &GgufFile) -> Result<Self, ArchError> {
        let named = file.architecture()?;
        let known = || NAMES.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        let model_type = NAMES.iter().find(|(name, _)| *name == named).map(|(_, model_type)| *model_type);
        let model_type = model_type.ok_or_else(|| not_supported("GGUF architecture", named, &known()))?;
        let keys = Keys { file, prefix: named };
        let raw = raw(&keys, model_type)?;
        let mut config = lower(&raw)?;
        config.settle(file)?;
        config.validate()?;
        Ok(config)
    }

    /// Where the files differ from transformers' in more than names.
    fn settle(&mut self, file: &GgufFile) -> Result<(), ArchError> {
        // Gemma's are stored whole here.
        self.norm_offset = 0.0;
        // The metadata do not say what has a bias.
        let has = |part: &str| file.tensor(&format!("blk.0.{part}.bias")).is_some();
        self.qkv_bias = (has("attn_q") || has("attn_qkv")).into();
        self.output_bias = has("attn_output").into();
        self.feed_forward_bias = has("ffn_down").into();
        if matches!(self.family, DecoderFamily::Llama | DecoderFamily::Mixtral | DecoderFamily::SmolLm3) {
            self.ropes.iter_mut().for_each(|rope| rope.style = RopeStyle::Interleaved);
        }
        let Some(stretch) = file.tensor("rope_freqs.weight") else { return Ok(()) };
        let pairs = self.ropes[0].frequencies.len();
        if stretch.elements() != pairs {
            let expected = format!("it must have one number for each of {pairs} pairs");
            return Err(bad("rope_freqs.weight", stretch.elements(), expected));
        }
        let divisors = file.read_f32("rope_freqs.weight", pairs)?;
        for divisor in &divisors {
            number("rope_freqs.weight", f64::from(*divisor), 1e-6)?;
        }
        for rope in &mut self.ropes {
            let divided = rope.frequencies.iter_mut().zip(&divisors);
            divided.for_each(|(frequency, divisor)| *frequency /= divisor);
        }
        Ok(())
    }
}

/// The metadata as a `config.json` would have it.
fn raw(keys: &Keys<'_>, model_type: &str) -> Result<RawConfig, GgufError> {
    let experts = keys.whole("expert_count")?.filter(|count| *count > 0);
    let mixtral = model_type == "llama" && experts.is_some();
    let heads = keys.whole("attention.head_count")?;
    let hidden_size = keys.whole("embedding_length")?;
    let head_dim = keys.whole("attention.key_length")?;
    let layers = keys.whole("block_count")?;
    let table = keys.file.tensor("token_embd.weight").and_then(|table| table.shape.first().copied());
    let default_head = hidden_size.zip(heads.filter(|heads| *heads > 0)).map(|(width, heads)| width / heads);
    let window = keys.whole("attention.sliding_window")?.filter(|window| *window > 0);
    // llama.cpp's rule: the largest of Gemma 2 and 3 scale by the share of a head in the whole.
    let largest = matches!((model_type, layers), ("gemma2", Some(46)) | ("gemma3_text", Some(62)));
    let scale = if largest { default_head } else { head_dim.or(default_head) };
    Ok(RawConfig {
        model_type: Some(if mixtral { "mixtral" } else { model_type }.to_owned()),
        vocab_size: keys.whole("vocab_size")?.or(table),
        hidden_size,
        intermediate_size: keys.whole("feed_forward_length")?,
        num_hidden_layers: layers,
        num_attention_heads: heads,
        num_key_value_heads: keys.whole("attention.head_count_kv")?,
        head_dim: head_dim.or(default_head),
        max_position_embeddings: keys.whole("context_length")?,
        rms_norm_eps: keys.real("attention.layer_norm_rms_epsilon")?,
        tie_word_embeddings: Some(keys.file.tensor("output.weight").is_none()),
        rope_parameters: Some(rope(keys, head_dim.or(default_head))?),
        rope_local_base_freq: keys.real("rope.freq_base_swa")?,
        sliding_window: window,
        query_pre_attn_scalar: scale.map(|scale| scale as f64),
        attn_logit_softcapping: keys.real("attn_logit_softcapping")?,
        final_logit_softcapping: keys.real("final_logit_softcapping")?,
        num_local_experts: experts,
        num_experts: experts,
        num_experts_per_tok: keys.whole("expert_used_count")?,
        moe_intermediate_size: keys.whole("expert_feed_forward_length")?,
        norm_topk_prob: Some(true),
        ..RawConfig::default()
    })
}

fn rope(keys: &Keys<'_>, head_dim: Option<usize>) -> Result<RopeParameters, GgufError> {
    let turned = keys.whole("rope.dimension_count")?;
    let share =
        turned.zip(head_dim.filter(|size| *size > 0)).map(|(turned, size)| turned as f64 / size as f64);
    let mut rope = RopeParameters {
        rope_theta: keys.real("rope.freq_base")?,
        partial_rotary_factor: share,
        factor: keys.real("rope.scaling.factor")?,
        original_max_position_embeddings: keys.whole("rope.scaling.original_context_length")?,
        attention_factor: keys.real("rope.scaling.attn_factor")?,
        rope_type: keys.text("rope.scaling.type")?.filter(|kind| *kind != "none").map(str::to_owned),
        ..RopeParameters::default()
    };
    let factors = |name: &str| -> Result<Option<Vec<f64>>, GgufError> {
        let Some(tensor) = keys.file.tensor(name) else { return Ok(None) };
        let factors = keys.file.read_f32(name, tensor.elements())?;
        Ok(Some(factors.into_iter().map(f64::from).collect()))
    };
    rope.short_factor = factors("rope_factors_short.weight")?;
    rope.long_factor = factors("rope_factors_long.weight")?;
    if rope.long_factor.is_some() {
        rope.rope_type = Some("longrope".to_owned());
    }
    Ok(rope)
}
