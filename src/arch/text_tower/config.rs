//! The part of CLIP's and of `SigLIP`'s `config.json` that is about texts.

use std::num::NonZeroUsize;

use serde::Deserialize;

use crate::arch::activation::activation_called;
use crate::arch::bounds::{epsilon_within, layers_within, within};
use crate::arch::encoder::layer_numbers;
use crate::arch::{ArchError, Architecture, read_required};
use crate::kernels::Activation;
use crate::weights::ModelFolder;

/// The shape of a text tower.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TextTowerConfig {
    /// The family.
    pub architecture: Architecture,
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
    /// How many tokens a text can have.
    pub max_positions: usize,
    /// How many numbers a text's vector has.
    pub dimensions: usize,
    pub(crate) activation: Activation,
    pub(crate) norm_eps: f64,
    pub(crate) reading: Reading,
}

/// Which tokens a token sees, and which one stands for the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Those before it; the first of this id.
    UpTo(u32),
    /// Those before it; the first of the highest id. What the configuration of older models says is wrong.
    UpToHighest,
    /// All; the last one. Texts are filled up with this token, unless the tokenizer names another.
    Whole { padding: u32 },
}

/// One family's part, or its file where that part is alone.
#[derive(Debug, Default, Deserialize)]
struct Tower {
    vocab_size: Option<usize>,
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    projection_dim: Option<usize>,
    projection_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    max_position_embeddings: Option<usize>,
    hidden_act: Option<String>,
    layer_norm_eps: Option<f64>,
    eos_token_id: Option<u32>,
    pad_token_id: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct File {
    text_config: Option<Tower>,
    /// In older files what the other one should have been.
    text_config_dict: Option<Tower>,
    #[serde(flatten)]
    alone: Tower,
}

impl TextTowerConfig {
    /// Reads `config.json` of a network of `family`, which is CLIP or a `SigLIP`.
    pub(crate) fn read(folder: &ModelFolder, family: Architecture) -> Result<Self, ArchError> {
        let file: File = read_required(folder, "config.json")?;
        let projection = file.alone.projection_dim;
        let tower = file.text_config_dict.or(file.text_config).unwrap_or(file.alone);
        if family == Architecture::Clip { tower.clip(projection) } else { tower.siglip(family) }
    }

    fn check(self) -> Result<Self, ArchError> {
        within("vocab_size", self.vocab_size, 1..=4 << 20)?;
        let (layers, heads) = (self.num_hidden_layers, self.num_attention_heads);
        layers_within(self.hidden_size, layers, heads, self.intermediate_size)?;
        within("max_position_embeddings", self.max_positions, 1..=8192)?;
        within("projection_dim", self.dimensions, 1..=16_384)?;
        epsilon_within(self.norm_eps)?;
        Ok(self)
    }

    /// The width of one attention head.
    pub(crate) fn head_size(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// How long texts are filled up to, and with what unless the tokenizer names a token for that.
    pub(crate) fn filled(&self) -> Option<(usize, u32)> {
        match self.reading {
            Reading::Whole { padding } => Some((self.max_positions, padding)),
            Reading::UpTo(_) | Reading::UpToHighest => None,
        }
    }

    /// The token that ends texts; where the configuration is wrong about it, the last one there is.
    pub(crate) fn end(&self) -> u32 {
        match self.reading {
            Reading::UpTo(end) => end,
            Reading::UpToHighest => (self.vocab_size - 1) as u32,
            Reading::Whole { padding } => padding,
        }
    }

    /// How many numbers the weights of all linear layers are.
    pub(crate) fn linear_numbers(&self) -> u64 {
        let (width, inner) = (self.hidden_size as u64, self.intermediate_size as u64);
        let layer = 4 * width * width + 2 * width * inner;
        layer.saturating_mul(self.num_hidden_layers as u64).saturating_add(width * self.dimensions as u64)
    }

    /// How many numbers are computed once and shared by all workers: what hides the tokens behind.
    pub(crate) fn table_numbers(&self) -> u64 {
        2 * (self.num_attention_heads * self.max_positions) as u64
    }

    /// How many numbers a pass of `batch` tokens holds at most on so many threads.
    pub(crate) fn pass_numbers(&self, batch: usize, threads: NonZeroUsize) -> u64 {
        let (tokens, longest) = (batch.max(self.max_positions), self.max_positions);
        let heads = (self.num_attention_heads, self.head_size());
        layer_numbers(tokens, longest, heads, self.intermediate_size, threads)
    }
}

impl Tower {
    /// `projection` is what the whole file says, where this is a part of one.
    fn clip(self, projection: Option<usize>) -> Result<TextTowerConfig, ArchError> {
        let reading = match self.eos_token_id.unwrap_or(49_407) {
            2 => Reading::UpToHighest,
            end => Reading::UpTo(end),
        };
        let activation = self.hidden_act.as_deref().unwrap_or("quick_gelu");
        TextTowerConfig {
            architecture: Architecture::Clip,
            vocab_size: self.vocab_size.unwrap_or(49_408),
            hidden_size: self.hidden_size.unwrap_or(512),
            num_hidden_layers: self.num_hidden_layers.unwrap_or(12),
            num_attention_heads: self.num_attention_heads.unwrap_or(8),
            intermediate_size: self.intermediate_size.unwrap_or(2048),
            max_positions: self.max_position_embeddings.unwrap_or(77),
            dimensions: projection.unwrap_or(512),
            activation: activation_called(activation)?,
            norm_eps: self.layer_norm_eps.unwrap_or(1e-5),
            reading,
        }
        .check()
    }

    fn siglip(self, architecture: Architecture) -> Result<TextTowerConfig, ArchError> {
        let hidden_size = self.hidden_size.unwrap_or(768);
        let activation = self.hidden_act.as_deref().unwrap_or("gelu_pytorch_tanh");
        TextTowerConfig {
            architecture,
            vocab_size: self.vocab_size.unwrap_or(32_000),
            hidden_size,
            num_hidden_layers: self.num_hidden_layers.unwrap_or(12),
            num_attention_heads: self.num_attention_heads.unwrap_or(12),
            intermediate_size: self.intermediate_size.unwrap_or(3072),
            max_positions: self.max_position_embeddings.unwrap_or(64),
            dimensions: self.projection_size.unwrap_or(hidden_size),
            activation: activation_called(activation)?,
            norm_eps: self.layer_norm_eps.unwrap_or(1e-6),
            reading: Reading::Whole { padding: self.pad_token_id.unwrap_or(1) },
        }
        .check()
    }
}
