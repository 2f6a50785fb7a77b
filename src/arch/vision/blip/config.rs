//! `config.json`, as transformers 4 and 5 write it. What a file leaves out is what transformers takes it for.

use serde::Deserialize;
use serde_json::Value;

use crate::arch::activation::activation_called;
use crate::arch::bounds::{bad, epsilon_within, layers_within, not_supported, within};
use crate::arch::vit::{self, VitConfig};
use crate::arch::{ArchError, read_required};
use crate::kernels::Activation;
use crate::weights::ModelFolder;

/// The one of the classes in transformers that captions.
const CLASS: &str = "BlipForConditionalGeneration";

#[derive(Debug, Deserialize)]
struct BlipFile {
    #[serde(default)]
    architectures: Vec<String>,
    text_config: Option<TextFile>,
    vision_config: Option<Value>,
    tie_word_embeddings: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
struct TextFile {
    vocab_size: Option<usize>,
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    max_position_embeddings: Option<usize>,
    hidden_act: Option<String>,
    layer_norm_eps: Option<f64>,
    bos_token_id: Option<u32>,
    sep_token_id: Option<u32>,
    is_decoder: Option<bool>,
}

/// Both networks.
#[derive(Clone, Debug)]
pub(super) struct BlipConfig {
    pub(super) tower: VitConfig,
    pub(super) text: TextConfig,
}

/// The network that writes.
#[derive(Clone, Debug)]
pub(super) struct TextConfig {
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    pub(super) intermediate_size: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: usize,
    /// The longest text, prompt and answer.
    pub(super) max_positions: usize,
    pub(super) activation: Activation,
    pub(super) norm_eps: f64,
    /// What texts begin with.
    pub(super) begin: u32,
    /// What ends them.
    pub(super) end: u32,
    /// Whether tokens are told by the vectors that they are read as.
    pub(super) tied: bool,
}

impl BlipConfig {
    /// Reads and checks the file.
    ///
    /// # Errors
    ///
    /// [`ArchError`] for a model of another use, and numbers that no real model has.
    pub(super) fn read(folder: &ModelFolder) -> Result<Self, ArchError> {
        let file: BlipFile = read_required(folder, "config.json")?;
        if let Some(class) =
            file.architectures.first().filter(|_| !file.architectures.iter().any(|class| class == CLASS))
        {
            return Err(not_supported("class", class, &[CLASS]));
        }
        let tower = vit::read_blip_tower(file.vision_config.as_ref())?;
        let text = file.text_config.unwrap_or_default().lower(file.tie_word_embeddings.unwrap_or(true))?;
        Ok(Self { tower, text })
    }

    /// How many rows a picture has.
    pub(super) fn picture_rows(&self) -> usize {
        let side = self.tower.trained_side();
        side * side + self.tower.tokens_before()
    }
}

impl TextFile {
    fn lower(self, tied: bool) -> Result<TextConfig, ArchError> {
        let text = TextConfig {
            vocab_size: self.vocab_size.unwrap_or(30_524),
            hidden_size: self.hidden_size.unwrap_or(768),
            intermediate_size: self.intermediate_size.unwrap_or(3072),
            num_hidden_layers: self.num_hidden_layers.unwrap_or(12),
            num_attention_heads: self.num_attention_heads.unwrap_or(8),
            max_positions: self.max_position_embeddings.unwrap_or(512),
            activation: activation_called(self.hidden_act.as_deref().unwrap_or("gelu"))?,
            norm_eps: self.layer_norm_eps.unwrap_or(1e-12),
            begin: self.bos_token_id.unwrap_or(30_522),
            end: self.sep_token_id.unwrap_or(102),
            tied,
        };
        let (layers, heads) = (text.num_hidden_layers, text.num_attention_heads);
        layers_within(text.hidden_size, layers, heads, text.intermediate_size)?;
        epsilon_within(text.norm_eps)?;
        within("vocab_size", text.vocab_size, 1..=1 << 20)?;
        within("max_position_embeddings", text.max_positions, 2..=1 << 13)?;
        within("bos_token_id", text.begin as usize, 0..=text.vocab_size - 1)?;
        within("sep_token_id", text.end as usize, 0..=text.vocab_size - 1)?;
        if self.is_decoder == Some(false) {
            return Err(bad("is_decoder", false, "what captions is one".to_owned()));
        }
        Ok(text)
    }
}

impl TextConfig {
    /// The width of one attention head.
    pub(super) fn head_size(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// How many numbers are kept of a token, or of a picture's row: a key and a value in each layer.
    pub(super) fn kept_numbers(&self) -> usize {
        2 * self.hidden_size * self.num_hidden_layers
    }
}
