//! What a model folder's small files say, before any weight is read.

use candle_core::DType;
use serde::Deserialize;

use super::bert::FEED_FORWARD_ROWS;
use super::config::EncoderConfig;
use super::pass::PASS_TOKENS;
use crate::ByteSize;
use crate::arch::{ArchError, Architecture, read_required};
use crate::capability::{EmbedRequest, InvalidRequest};
use crate::kernels::scratch_numbers;
use crate::memory::Footprint;
use crate::text::{ModuleEntry, Pooling, PoolingConfig, PromptConfig, SentenceRecipe, TokenizerSettings};
use crate::weights::ModelFolder;

/// Everything but tokenizer and weights: cheap to read, enough to check requests and to predict memory.
#[derive(Clone, Debug)]
pub struct EncoderPlan {
    pub(crate) config: EncoderConfig,
    pub(crate) recipe: SentenceRecipe,
    pub(crate) settings: TokenizerSettings,
    max_tokens: usize,
}

/// `sentence_bert_config.json`.
#[derive(Debug, Default, Deserialize)]
struct SentenceBertConfig {
    max_seq_length: Option<usize>,
    #[serde(default)]
    do_lower_case: bool,
}

impl EncoderPlan {
    /// Reads and checks the folder's configuration files.
    ///
    /// # Errors
    ///
    /// [`ArchError`] for a missing or malformed file, an architecture, pooling or stage that is not
    /// implemented, and numbers out of bounds.
    pub fn read(folder: &ModelFolder) -> Result<Self, ArchError> {
        let Architecture::Bert = Architecture::of(folder)?;
        let config: EncoderConfig = read_required(folder, "config.json")?;
        config.validate()?;
        let recipe = read_recipe(folder, config.hidden_size)?;
        let sentence: SentenceBertConfig = folder.read_json("sentence_bert_config.json")?.unwrap_or_default();
        let mut settings: TokenizerSettings = folder.read_json("tokenizer_config.json")?.unwrap_or_default();
        settings.lower_case_first = sentence.do_lower_case;
        if settings.cuts_left() {
            let supported = vec!["right"];
            return Err(ArchError::Unsupported {
                what: "truncation_side",
                found: "left".to_owned(),
                supported,
            });
        }
        let most = config.max_position_embeddings;
        let max_tokens = sentence.max_seq_length.or(settings.max_tokens()).unwrap_or(most).min(most);
        Ok(Self { config, recipe, settings, max_tokens })
    }

    /// The shape of the network.
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// How many numbers an embedding has, unless a request asks for fewer.
    pub fn dimensions(&self) -> usize {
        self.recipe.pooling.dimensions(self.config.hidden_size)
    }

    /// How many tokens of a text the model reads, special ones included: `max_seq_length` of
    /// `sentence_bert_config.json`, else `model_max_length` of `tokenizer_config.json`, and never more than
    /// the network has positions.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// The names of the model's own prompts.
    pub fn prompt_names(&self) -> impl Iterator<Item = &str> {
        self.recipe.prompts().map(|(name, _)| name)
    }

    /// Refuses a request that this model could not serve, without tokenizing it.
    ///
    /// # Errors
    ///
    /// [`InvalidRequest`] for a prompt that the model does not have (it lists those it has) and for a number
    /// of dimensions that is 0 or more than there are.
    pub fn validate(&self, request: &EmbedRequest) -> Result<(), InvalidRequest> {
        self.recipe.validate(request, self.config.hidden_size)
    }

    /// [`estimated_cost`], which no text exceeds by being longer than the model reads.
    pub fn cost(&self, request: &EmbedRequest) -> u64 {
        estimated_cost(request).min(self.max_tokens as u64)
    }

    /// What loading takes: see [`footprint`].
    ///
    /// # Errors
    ///
    /// [`ArchError::Weights`] if there are no weight files or their headers are unreadable.
    pub fn footprint(&self, folder: &ModelFolder) -> Result<Footprint, ArchError> {
        let weights = folder.weight_files()?.predicted_bytes(DType::F32);
        Ok(Footprint { weights, per_worker: f32s(self.step_numbers()) })
    }

    /// How many numbers the largest step holds at once.
    fn step_numbers(&self) -> u64 {
        let c = &self.config;
        let tokens = PASS_TOKENS.max(self.max_tokens);
        // Either attention, with input, query, key, value and output; or the feed-forward part of one block,
        // with input, output so far and the block's own.
        let attention = numbers(tokens, 6 * c.hidden_size).saturating_add(scratch_numbers(
            c.num_attention_heads,
            c.head_size(),
            self.max_tokens,
        ) as u64);
        let rows = tokens.min(FEED_FORWARD_ROWS);
        let feed_forward = numbers(tokens, 3 * c.hidden_size)
            .saturating_add(numbers(rows, c.intermediate_size + c.hidden_size));
        attention.max(feed_forward)
    }
}

fn numbers(rows: usize, width: usize) -> u64 {
    (rows as u64).saturating_mul(width as u64)
}

fn f32s(numbers: u64) -> ByteSize {
    ByteSize::new(numbers).saturating_mul(4)
}

fn read_recipe(folder: &ModelFolder, width: usize) -> Result<SentenceRecipe, ArchError> {
    let modules: Option<Vec<ModuleEntry>> = folder.read_json("modules.json")?;
    let pooling_path = modules.as_deref().and_then(SentenceRecipe::pooling_path);
    let pooling = match pooling_path {
        Some(path) => read_pooling(folder, path, width)?,
        None => None,
    };
    let prompts: PromptConfig = folder.read_json("config_sentence_transformers.json")?.unwrap_or_default();
    Ok(SentenceRecipe::new(modules.as_deref(), pooling, prompts)?)
}

fn read_pooling(folder: &ModelFolder, path: &str, width: usize) -> Result<Option<Pooling>, ArchError> {
    // The path comes from a file: it may name a folder in this one and nothing else.
    if path.contains(['/', '\\']) || path.starts_with('.') {
        return Err(ArchError::Unsupported {
            what: "pooling folder",
            found: path.to_owned(),
            supported: vec!["1_Pooling"],
        });
    }
    let name = if path.is_empty() { "config.json".to_owned() } else { format!("{path}/config.json") };
    let config: Option<PoolingConfig> = folder.read_json(&name)?;
    let missing =
        || ArchError::MissingFile { name: "1_Pooling/config.json", folder: folder.label().to_owned() };
    let pooling = Pooling::from_config(&config.ok_or_else(missing)?)?;
    match pooling.stated_width() {
        Some(stated) if stated != width => Err(ArchError::BadConfig {
            field: "hidden_size",
            found: width.to_string(),
            expected: format!("the pooling is for token vectors of {stated} numbers"),
        }),
        _ => Ok(Some(pooling)),
    }
}

/// What a model folder takes when loaded, from its headers and configuration alone.
///
/// `weights` is all tensors as f32. `per_worker` is what one step holds at most; between steps a worker holds next to nothing.
///
/// # Errors
///
/// As [`EncoderPlan::read`], and if the weight files' headers are unreadable.
pub fn footprint(folder: &ModelFolder) -> Result<Footprint, ArchError> {
    EncoderPlan::read(folder)?.footprint(folder)
}

/// About how many tokens a text has: a quarter of its bytes, and the two special ones. Looks at nothing but
/// its length.
pub fn estimated_cost(request: &EmbedRequest) -> u64 {
    request.text.len() as u64 / 4 + 2
}
