//! The shape of a decoder: one description for all families, lowered from what each writes in its own way.

mod families;
mod gguf;
mod raw;
mod rope;

pub use families::DecoderFamily;
pub(crate) use raw::RawConfig;
pub(crate) use rope::RopeConfig;

use crate::arch::bounds::{bad, within};

use crate::arch::{ArchError, Architecture, Bias, read_required};
use crate::kernels::{Activation, Direction};
use crate::weights::ModelFolder;

/// The shape of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderConfig {
    pub(crate) family: DecoderFamily,
    pub(crate) vocab_size: usize,
    /// The width of a token's vector.
    pub(crate) hidden_size: usize,
    /// How many tokens a text may have.
    pub(crate) context: usize,
    /// Heads of queries; a multiple of `kv_heads`.
    pub(crate) heads: usize,
    /// Heads of keys and of values.
    pub(crate) kv_heads: usize,
    pub(crate) head_size: usize,
    pub(crate) eps: f64,
    /// What is added to the weights of norms: Gemma stores them less one.
    pub(crate) norm_offset: f64,
    pub(crate) norms: NormPlaces,
    pub(crate) head_norm: HeadNorm,
    /// Of queries, keys and values.
    pub(crate) qkv_bias: Bias,
    /// Of what attention gives back.
    pub(crate) output_bias: Bias,
    /// Of the feed-forward part.
    pub(crate) feed_forward_bias: Bias,
    /// Whether queries, keys and values, and gate and up, are one tensor each in the files.
    pub(crate) joined: bool,
    pub(crate) activation: Activation,
    /// Which way a token looks.
    pub(crate) direction: Direction,
    /// What scores are multiplied by.
    pub(crate) attention_scale: f64,
    /// Scores become `cap * tanh(score / cap)`.
    pub(crate) attention_cap: Option<f64>,
    /// Logits likewise.
    pub(crate) logit_cap: Option<f64>,
    /// What a token's vector is multiplied by on its way in.
    pub(crate) embedding_scale: Option<f64>,
    /// Whether the table of tokens is the way out, too.
    pub(crate) tied: bool,
    /// The ways of turning by positions that layers use.
    pub(crate) ropes: Vec<RopeConfig>,
    pub(crate) layers: Vec<LayerConfig>,
}

/// What differs from layer to layer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LayerConfig {
    /// A token sees so many in each direction, itself included; `None`: all.
    pub(crate) window: Option<usize>,
    /// Which of the ropes; `None`: positions do not enter here.
    pub(crate) rope: Option<usize>,
    pub(crate) feed_forward: FeedForwardConfig,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FeedForwardConfig {
    /// One, for every token.
    Dense { width: usize },
    /// Several, of which each token goes through some.
    Experts(ExpertsConfig),
}

/// Mixture of experts: each token goes to `chosen` of `count`, each as wide as `width`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExpertsConfig {
    pub(crate) count: usize,
    pub(crate) chosen: usize,
    pub(crate) width: usize,
    pub(crate) weights: ExpertWeights,
}

/// What the chosen experts' outputs are weighted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExpertWeights {
    /// Their probabilities among all.
    AmongAll,
    /// Their probabilities among the chosen: they add up to 1.
    AmongChosen,
}

/// Where a layer normalises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NormPlaces {
    /// What goes into attention and feed-forward.
    Before,
    /// What comes out of them, before it is added.
    After,
    /// Both.
    Around,
}

/// How queries and keys are normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadNorm {
    Absent,
    /// Each head on its own, all with the same weights.
    PerHead,
    /// All heads as one row.
    Across,
}

impl DecoderConfig {
    /// Reads `config.json`.
    pub(crate) fn read(folder: &ModelFolder) -> Result<Self, ArchError> {
        let mut raw = read_required::<RawConfig>(folder, "config.json")?;
        if raw.names_no_type() {
            raw.model_type = Some(Architecture::of(folder)?.model_type().to_owned());
        }
        Self::from_raw(raw)
    }

    /// Refuses a network that cannot continue a text, having learnt to see what comes next.
    pub(crate) fn that_writes(self) -> Result<Self, ArchError> {
        match self.direction {
            Direction::Backward => Ok(self),
            Direction::BothWays => {
                let expected =
                    "a network that sees both ways only embeds, and needs a modules.json that says how";
                Err(bad("use_bidirectional_attention or is_causal", "both ways", expected.to_owned()))
            }
        }
    }

    /// From `config.json`.
    ///
    /// # Errors
    ///
    /// [`ArchError::BadConfig`] for a number that is missing or absurd, [`ArchError::Unsupported`] for a family
    /// or a variant of one that is not implemented.
    pub(crate) fn from_raw(raw: RawConfig) -> Result<Self, ArchError> {
        let config = families::lower(&raw.text())?;
        config.validate()?;
        Ok(config)
    }

    /// Checks what [`lower`](families::lower) has not, so that nothing that is allocated or divided by
    /// afterwards is absurd.
    fn validate(&self) -> Result<(), ArchError> {
        within("num_key_value_heads", self.kv_heads, 1..=self.heads)?;
        within("max_position_embeddings", self.context, 1..=16 << 20)?;
        if !self.heads.is_multiple_of(self.kv_heads) {
            let expected = format!("it must divide num_attention_heads, {}", self.heads);
            return Err(bad("num_key_value_heads", self.kv_heads, expected));
        }
        if !(0.0..1.0).contains(&self.eps) {
            return Err(bad("rms_norm_eps", self.eps, "it must be in 0..1".to_owned()));
        }
        let caps =
            [("attn_logit_softcapping", self.attention_cap), ("final_logit_softcapping", self.logit_cap)];
        let scale = [("query_pre_attn_scalar", Some(self.attention_scale))];
        for (field, number) in caps.into_iter().chain(scale) {
            if number.is_some_and(|number| !(number.is_finite() && number > 0.0)) {
                return Err(bad(field, number.unwrap_or_default(), "it must be over 0".to_owned()));
            }
        }
        self.layers.iter().try_for_each(LayerConfig::validate)
    }

    /// How many numbers the keys of one token have in one layer, and its values.
    pub(crate) fn kv_width(&self) -> usize {
        self.kv_heads * self.head_size
    }

    /// How many numbers the queries of one token have.
    pub(crate) fn query_width(&self) -> usize {
        self.heads * self.head_size
    }

    /// The length beyond which a text is computed in another way from its first token on, if there is one.
    pub(crate) fn stretches_over(&self) -> Option<usize> {
        self.ropes.iter().filter_map(|rope| Some(rope.stretched.as_ref()?.over)).min()
    }
}

impl LayerConfig {
    fn validate(&self) -> Result<(), ArchError> {
        within("sliding_window", self.window.unwrap_or(1), 1..=16 << 20)?;
        match self.feed_forward {
            FeedForwardConfig::Dense { width } => within("intermediate_size", width, 1..=1 << 20),
            FeedForwardConfig::Experts(ExpertsConfig { count, chosen, width, .. }) => {
                within("num_experts", count, 1..=4096)?;
                within("num_experts_per_tok", chosen, 1..=count)?;
                within("moe_intermediate_size", width, 1..=1 << 20)
            }
        }
    }
}

#[cfg(test)]
mod tests;
