//! What a model folder's small files say, before any weight is read.

use std::num::NonZeroUsize;

use candle_core::DType;

use super::bert::BertConfig;
use super::config::{EncoderConfig, Gate};
use super::distilbert::DistilBertConfig;
use super::layer::FEED_FORWARD_ROWS;
use super::modernbert::ModernBertConfig;
use super::mpnet::MpNetConfig;
use super::nomic_bert::NomicBertConfig;
use super::pass::PASS_TOKENS;
use crate::ByteSize;
use crate::arch::sentence::{SentencePlan, network_folder, tokenizer_settings};
use crate::arch::{ArchError, Architecture, read_required};
use crate::capability::{EmbedRequest, InvalidRequest};
use crate::kernels::{Dtype, Precision, scratch_numbers};
use crate::memory::Footprint;
use crate::text::TokenizerSettings;
use crate::weights::{ModelFolder, WeightFiles};

/// The longest text that is looked at, in bytes of UTF-8. The longest that any of these models reads, 8192 tokens
/// of ordinary language, has less than a hundredth of it; what is longer is no text, and costs nobody's time.
pub const MAX_TEXT_BYTES: usize = 4 << 20;

/// Everything but tokenizer and weights: cheap to read, enough to check requests and to predict memory.
#[derive(Clone, Debug)]
pub struct EncoderPlan {
    pub(crate) config: EncoderConfig,
    pub(crate) sentence: SentencePlan,
    pub(crate) settings: TokenizerSettings,
    pub(crate) precision: Precision,
    /// Where configuration, tokenizer and weights are.
    pub(crate) network: ModelFolder,
    max_tokens: usize,
}

impl EncoderPlan {
    /// Reads and checks the folder's configuration files, for a model that computes in `dtype`.
    ///
    /// # Errors
    ///
    /// [`ArchError`] for a missing or malformed file, an architecture, pooling or stage that is not
    /// implemented, and numbers out of bounds.
    pub fn read(folder: &ModelFolder, dtype: Dtype) -> Result<Self, ArchError> {
        let network = network_folder(folder)?;
        let config = read_config(&network)?;
        let sentence = SentencePlan::read(folder, config.hidden_size)?;
        let (settings, max_tokens) = tokenizer_settings(&network, config.max_positions)?;
        Ok(Self { config, sentence, settings, precision: dtype.precision(), network, max_tokens })
    }

    /// The shape of the network.
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// How many numbers an embedding has, unless a request asks for fewer.
    pub fn dimensions(&self) -> usize {
        self.sentence.recipe.dimensions()
    }

    /// How many tokens of a text the model reads, special ones included: `max_seq_length` of
    /// `sentence_bert_config.json`, else `model_max_length` of `tokenizer_config.json`, and never more than
    /// the network has positions.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// What the linear layers are kept in, `f32` or `bf16`; sums are f32 in any case.
    pub fn computes_in(&self) -> String {
        self.precision.to_string()
    }

    /// The names of the model's own prompts.
    pub fn prompt_names(&self) -> impl Iterator<Item = &str> {
        self.sentence.recipe.prompts().map(|(name, _)| name)
    }

    /// Refuses a request that this model could not serve, without tokenizing it.
    ///
    /// # Errors
    ///
    /// [`InvalidRequest`] for a text of more than [`MAX_TEXT_BYTES`], for a prompt that the model does not have
    /// (it lists those it has), and for a number of dimensions that is 0 or more than there are.
    pub fn validate(&self, request: &EmbedRequest) -> Result<(), InvalidRequest> {
        let bytes = request.text.len();
        if bytes > MAX_TEXT_BYTES {
            let reason = format!("it has {bytes} bytes, and no text may have more than {MAX_TEXT_BYTES}");
            return Err(InvalidRequest::new("text", reason));
        }
        self.sentence.recipe.validate(request)
    }

    /// [`estimated_cost`], which no text exceeds by being longer than the model reads.
    pub fn cost(&self, request: &EmbedRequest) -> u64 {
        estimated_cost(request).min(self.max_tokens as u64)
    }

    /// The network's weights: their headers are checked, nothing is loaded.
    ///
    /// # Errors
    ///
    /// [`ArchError::Weights`] if there are none or their headers are unreadable.
    pub fn weight_files(&self) -> Result<WeightFiles, ArchError> {
        Ok(self.network.weight_files()?)
    }

    /// What loading takes, and each worker of so many threads: see [`footprint`].
    ///
    /// # Errors
    ///
    /// [`ArchError::Weights`] if there are no weight files or their headers are unreadable.
    pub fn footprint(&self, threads: NonZeroUsize) -> Result<Footprint, ArchError> {
        let all = self.weight_files()?.predicted_bytes(DType::F32);
        // What a configuration claims beyond what its files hold is not there to be saved.
        let saved = self.config.linear_numbers().saturating_mul(4 - self.precision.bytes() as u64);
        let weights = ByteSize::new(all.bytes().saturating_sub(saved.min(all.bytes() / 2)));
        let shared =
            weights.saturating_add(self.sentence.bytes()?).saturating_add(f32s(self.table_numbers()));
        Ok(Footprint { weights: shared, per_worker: f32s(self.step_numbers(threads)) })
    }

    /// How many numbers are computed once and shared by all layers: angles, and biases by distance.
    fn table_numbers(&self) -> u64 {
        let mut rotary: Vec<_> = self.config.layers.iter().filter_map(|layer| layer.rotary).collect();
        rotary.dedup();
        rotary.truncate(2);
        let angles: u64 = rotary.iter().map(|rotary| numbers(self.max_tokens, rotary.turned)).sum();
        match self.config.distances {
            Some(_) => angles.saturating_add(numbers(self.max_tokens, 2 * self.config.num_attention_heads)),
            None => angles,
        }
    }

    /// How many numbers the largest step holds at once, on so many threads.
    fn step_numbers(&self, threads: NonZeroUsize) -> u64 {
        let c = &self.config;
        let tokens = PASS_TOKENS.saturating_mul(threads.get()).max(self.max_tokens);
        // Either attention, with input as it is and normalised, query, key, value and output; or the
        // feed-forward part of one block, with input, output so far and the block's own.
        let scratch = scratch_numbers(c.num_attention_heads, c.head_size(), self.max_tokens) as u64;
        let attention = numbers(tokens, 7 * c.hidden_size).saturating_add(scratch);
        // Each thread computes a piece of its own at most.
        let rows = tokens.min(FEED_FORWARD_ROWS.saturating_mul(threads.get()));
        let gated = if c.gate == Gate::Present { c.intermediate_size } else { 0 };
        let feed_forward = numbers(tokens, 3 * c.hidden_size)
            .saturating_add(numbers(rows, c.up_size() + gated + 2 * c.hidden_size));
        attention.max(feed_forward)
    }
}

fn read_config(network: &ModelFolder) -> Result<EncoderConfig, ArchError> {
    const FILE: &str = "config.json";
    match Architecture::of(network)? {
        Architecture::Bert => read_required::<BertConfig>(network, FILE)?.bert(),
        family @ (Architecture::Roberta | Architecture::XlmRoberta | Architecture::Camembert) => {
            read_required::<BertConfig>(network, FILE)?.roberta(family)
        }
        Architecture::DistilBert => read_required::<DistilBertConfig>(network, FILE)?.lower(),
        Architecture::MpNet => read_required::<MpNetConfig>(network, FILE)?.lower(),
        Architecture::ModernBert => read_required::<ModernBertConfig>(network, FILE)?.lower(),
        Architecture::NomicBert => read_required::<NomicBertConfig>(network, FILE)?.lower(),
        Architecture::Decoder(family) => {
            let (what, found) = ("architecture of an embedding model", family.model_type().to_owned());
            let encoders = |of: &&Architecture| !matches!(of, Architecture::Decoder(_));
            let supported = Architecture::ALL.iter().filter(encoders).map(|of| of.model_type()).collect();
            Err(ArchError::Unsupported { what, found, supported })
        }
    }
}

fn numbers(rows: usize, width: usize) -> u64 {
    (rows as u64).saturating_mul(width as u64)
}

fn f32s(numbers: u64) -> ByteSize {
    ByteSize::new(numbers).saturating_mul(4)
}

/// What a model folder takes when it is loaded to compute in `dtype` on workers of `threads` threads each, from
/// its headers and configuration alone.
///
/// `weights` is all tensors as f32, but for linear layers, which are kept in what `dtype` means on this
/// processor. `per_worker` is what one step holds at most; between steps a worker holds next to nothing.
///
/// # Errors
///
/// As [`EncoderPlan::read`], and if the weight files' headers are unreadable.
pub fn footprint(folder: &ModelFolder, dtype: Dtype, threads: NonZeroUsize) -> Result<Footprint, ArchError> {
    EncoderPlan::read(folder, dtype)?.footprint(threads)
}

/// About how many tokens a text has: a quarter of its bytes, and the two special ones. Looks at nothing but
/// its length.
pub fn estimated_cost(request: &EmbedRequest) -> u64 {
    request.text.len() as u64 / 4 + 2
}
