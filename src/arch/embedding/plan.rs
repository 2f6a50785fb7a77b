//! What a model folder's small files say, before any weight is read.

use std::num::NonZeroUsize;

use candle_core::DType;

use super::network::NetworkConfig;
use crate::ByteSize;
use crate::arch::ArchError;
use crate::arch::pieces::PASS_TOKENS;
use crate::arch::sentence::{SentencePlan, network_folder, tokenizer_settings};
use crate::capability::{EmbedInput, EmbedRequest, InvalidRequest};
use crate::kernels::{Dtype, Precision};
use crate::memory::Footprint;
use crate::text::TokenizerSettings;
use crate::weights::{ModelFolder, WeightFiles};

/// The longest text that is looked at, in bytes of UTF-8. The longest that any of these models reads, 8192 tokens
/// of ordinary language, has less than a hundredth of it; what is longer is no text, and costs nobody's time.
pub const MAX_TEXT_BYTES: usize = 4 << 20;

/// Everything but tokenizer and weights: cheap to read, enough to check requests and to predict memory.
#[derive(Clone, Debug)]
pub struct EmbeddingPlan {
    pub(crate) config: NetworkConfig,
    pub(crate) sentence: SentencePlan,
    pub(crate) settings: TokenizerSettings,
    pub(crate) precision: Precision,
    /// Where configuration, tokenizer and weights are.
    pub(crate) network: ModelFolder,
    max_tokens: usize,
}

impl EmbeddingPlan {
    /// Reads and checks the folder's configuration files, for a model that computes in `dtype`.
    ///
    /// # Errors
    ///
    /// [`ArchError`] for a missing or malformed file, an architecture, pooling or stage that is not
    /// implemented, and numbers out of bounds.
    pub fn read(folder: &ModelFolder, dtype: Dtype) -> Result<Self, ArchError> {
        let network = network_folder(folder)?;
        let config = NetworkConfig::read(&network)?;
        let sentence = SentencePlan::read(folder, config.width())?;
        let (settings, max_tokens) = tokenizer_settings(&network, config.positions())?;
        // Such a network knows no other texts than full ones.
        let max_tokens = config.filled().map_or(max_tokens, |(length, _)| length);
        Ok(Self { config, sentence, settings, precision: dtype.precision(), network, max_tokens })
    }

    /// The shape of the network.
    pub fn config(&self) -> &NetworkConfig {
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
    /// [`InvalidRequest`] for a text of more than [`MAX_TEXT_BYTES`]; for tokens that the model does not have, for none,
    /// and for more than it reads; for a prompt that the model does not have (it lists those it has), or before tokens;
    /// and for a number of dimensions that is 0 or more than there are.
    pub fn validate(&self, request: &EmbedRequest) -> Result<(), InvalidRequest> {
        match &request.input {
            EmbedInput::Text(text) if text.len() > MAX_TEXT_BYTES => {
                let bytes = text.len();
                let reason = format!("it has {bytes} bytes, and no text may have more than {MAX_TEXT_BYTES}");
                return Err(InvalidRequest::new("text", reason));
            }
            EmbedInput::Text(_) => {}
            EmbedInput::Tokens(_) if request.prompt_name.is_some() => {
                let reason = "prompts go before texts, and tokens are used as they are";
                return Err(InvalidRequest::new("prompt_name", reason));
            }
            EmbedInput::Tokens(ids) => self.check_tokens(ids)?,
        }
        self.sentence.recipe.validate(request)
    }

    fn check_tokens(&self, ids: &[u32]) -> Result<(), InvalidRequest> {
        let (known, most) = (self.config.vocab_size(), self.max_tokens);
        let wrong = |reason| Err(InvalidRequest::new("input", reason));
        if let Some(id) = ids.iter().find(|id| **id as usize >= known) {
            return wrong(format!("there is no token {id}: the model has {known}"));
        }
        if ids.is_empty() || ids.len() > most {
            return wrong(format!("it has {} tokens, which is not in 1..={most}", ids.len()));
        }
        Ok(())
    }

    /// [`estimated_cost`], which no text exceeds by being longer than the model reads; where texts are filled up,
    /// they all cost the same.
    pub fn cost(&self, request: &EmbedRequest) -> u64 {
        match self.config.filled() {
            Some((length, _)) => length as u64,
            None => estimated_cost(request).min(self.max_tokens as u64),
        }
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
        let files = self.weight_files()?;
        let others = files.tensors().filter(|tensor| !self.config.is_own(&tensor.name));
        let others = f32s(others.map(|tensor| tensor.elements() as u64).sum());
        let all = ByteSize::new(files.predicted_bytes(DType::F32).bytes().saturating_sub(others.bytes()));
        // What a configuration claims beyond what its files hold is not there to be saved.
        let saved = self.config.linear_numbers().saturating_mul(4 - self.precision.bytes() as u64);
        let weights = ByteSize::new(all.bytes().saturating_sub(saved.min(all.bytes() / 2)));
        let tables = f32s(self.config.table_numbers(self.max_tokens));
        let shared = weights.saturating_add(self.sentence.bytes()?).saturating_add(tables);
        let batch = PASS_TOKENS.saturating_mul(threads.get());
        let pass = self.config.pass_numbers(batch, self.max_tokens, threads);
        Ok(Footprint { weights: shared, per_worker: f32s(pass) })
    }
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
/// As [`EmbeddingPlan::read`], and if the weight files' headers are unreadable.
pub fn footprint(folder: &ModelFolder, dtype: Dtype, threads: NonZeroUsize) -> Result<Footprint, ArchError> {
    EmbeddingPlan::read(folder, dtype)?.footprint(threads)
}

/// About how many tokens a text has: a quarter of its bytes, and the two special ones. Looks at nothing but
/// its length. Tokens are as many as they are.
pub fn estimated_cost(request: &EmbedRequest) -> u64 {
    match &request.input {
        EmbedInput::Text(text) => text.len() as u64 / 4 + 2,
        EmbedInput::Tokens(ids) => ids.len() as u64,
    }
}
