//! What a model folder's small files say, before any weight is read.

use std::num::NonZeroUsize;
use std::sync::Arc;

use serde::Deserialize;

use super::config::DecoderConfig;
use super::forms::Forms;
use super::network::KvCache;
use super::scheduler::Limits;
use crate::ByteSize;
use crate::arch::answer::check_answer;
use crate::arch::{ArchError, read_required};
use crate::capability::{Capacity, GenerateRequest, InvalidRequest, Prompt};
use crate::kernels::{BLOCK_TOKENS, Dtype, KvFormat};
use crate::memory::Footprint;
use crate::text::{ChatConfig, PromptTokenizer};
use crate::weights::gguf::Quantization;
use crate::weights::{GgufFile, ModelFiles, ModelFolder};

/// Tokens that a worker's cache holds unless it is told otherwise: enough for sixteen conversations of some
/// hundred tokens, or one of eight thousand.
const CACHE_TOKENS: usize = 8192;

/// Texts that a worker has under way at once: with more, each step reads so many caches that all of them slow
/// down.
const TEXTS: usize = 32;

/// Tokens of new prompts in a step beside running texts: about as much work as there is in one running text,
/// whose step is mostly waiting for the weights.
pub(super) const READ_BESIDE: usize = 6;

/// Tokens in a step that only reads: as many as are worth it, since canceling acts between steps.
pub(super) const READ_ALONE: usize = 512;

/// Everything but tokenizer and weights: cheap to read and to clone, enough to check requests and to predict memory.
#[derive(Clone, Debug)]
pub struct DecoderPlan {
    pub(crate) config: DecoderConfig,
    pub(super) chat: ChatConfig,
    /// What a file of its own says, if there is one.
    pub(super) template: Option<String>,
    /// What forms answers may be asked for in, shared with all workers.
    pub(super) forms: Arc<Forms>,
    pub(super) options: DecoderOptions,
    cache_tokens: usize,
}

/// How a decoder is to be loaded.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct DecoderOptions {
    /// What weights are kept in. With [`Dtype::Auto`] those that are quantised in a GGUF file stay as they are.
    pub dtype: Dtype,
    /// What weights that the files hold as numbers are quantised to while they load. Default: nothing.
    pub quantize: Option<Quantization>,
    /// How many tokens, of all texts under way and of what is kept of earlier ones, a worker's cache holds.
    /// Default: 8192, or what the model reads if that is less.
    pub cache_tokens: Option<usize>,
    /// What it keeps of them. Default: f16 where most weights have 4 to 6 bits (`Q4_K`, `Q5_K`, `Q6_K`) and so are
    /// rounded far more coarsely, f32 otherwise.
    pub kv_format: Option<KvFormat>,
}

/// One id or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Ids {
    One(u32),
    Many(Vec<u32>),
}

/// `chat_template.json`, in which older processors of texts with pictures keep it.
#[derive(Debug, Deserialize)]
struct TemplateFile {
    chat_template: String,
}

/// `generation_config.json`, and the same entry of `config.json`.
#[derive(Debug, Default, Deserialize)]
struct Endings {
    #[serde(default)]
    eos_token_id: Option<Ids>,
    /// Of a model that also sees: that of its language half.
    #[serde(default)]
    text_config: Option<Box<Endings>>,
}

impl Endings {
    fn ids(self) -> Option<Vec<u32>> {
        let inside = self.text_config.and_then(|text| text.eos_token_id);
        self.eos_token_id.or(inside).map(|ids| match ids {
            Ids::One(id) => vec![id],
            Ids::Many(ids) => ids,
        })
    }
}

impl DecoderPlan {
    /// Reads and checks what a folder's configuration files or a GGUF file's metadata say.
    ///
    /// # Errors
    ///
    /// [`ArchError`] for a missing or malformed file, an architecture that is not implemented, and numbers out
    /// of bounds.
    pub fn of(files: &ModelFiles, options: DecoderOptions) -> Result<Self, ArchError> {
        match files {
            ModelFiles::Folder(folder) => Self::read(folder, options),
            ModelFiles::Gguf(file) => Self::from_gguf(file, options),
        }
    }

    fn read(folder: &ModelFolder, options: DecoderOptions) -> Result<Self, ArchError> {
        let config = DecoderConfig::read(folder)?.that_writes()?;
        let generation: Endings = folder.read_json("generation_config.json")?.unwrap_or_default();
        let network: Endings = read_required(folder, "config.json")?;
        let chat = folder.read_json("tokenizer_config.json")?.unwrap_or_default();
        let template = match folder.read_text("chat_template.jinja")? {
            None => folder.read_json::<TemplateFile>("chat_template.json")?.map(|file| file.chat_template),
            text => text,
        };
        let ends = generation.ids().or(network.ids()).unwrap_or_default();
        let forms = Forms::new(ModelFiles::Folder(folder.clone()), ends, &chat, config.vocab_size);
        Ok(Self::new(config, chat, template, forms, options))
    }

    fn from_gguf(file: &GgufFile, options: DecoderOptions) -> Result<Self, ArchError> {
        let config = DecoderConfig::from_gguf(file)?;
        let read = file.tokenizer()?;
        let written = |id: Option<u32>| id.and_then(|id| read.tokenizer.id_to_token(id));
        let (bos, eos) = (written(read.special.bos), written(read.special.eos));
        let chat = read.chat_template.map(|template| ChatConfig::from_text(template, bos, eos));
        let ends = read.special.ends.iter().copied().collect();
        let chat = chat.unwrap_or_default();
        let forms = Forms::new(ModelFiles::Gguf(file.clone()), ends, &chat, config.vocab_size);
        Ok(Self::new(config, chat, None, forms, options))
    }

    fn new(
        config: DecoderConfig,
        chat: ChatConfig,
        template: Option<String>,
        forms: Forms,
        options: DecoderOptions,
    ) -> Self {
        let wanted = options.cache_tokens.unwrap_or(CACHE_TOKENS.min(config.context));
        // A cache of less than two blocks could not hold a prompt and its answer.
        let cache_tokens = wanted.max(2 * BLOCK_TOKENS).next_multiple_of(BLOCK_TOKENS);
        Self { config, chat, template, forms: Arc::new(forms), options, cache_tokens }
    }

    /// How many tokens prompt and answer can have together: what the model reads, or what the cache holds if
    /// that is less.
    pub fn max_tokens(&self) -> usize {
        self.config.context.min(self.cache_tokens)
    }

    /// Refuses a request that this model could not serve, without tokenizing it. Compiles the form that it asks
    /// for and keeps it for the worker; the first time, that reads the tokenizer.
    ///
    /// # Errors
    ///
    /// [`InvalidRequest`] for numbers out of range, tokens that the model does not have, an answer longer than
    /// it can give, and a form that is not understood or too large.
    pub fn validate(&self, request: &GenerateRequest) -> Result<(), InvalidRequest> {
        self.check(request)?;
        self.forms.compiled(&request.response_format).map(drop)
    }

    /// All of [`validate`](Self::validate) but the form.
    pub(crate) fn check(&self, request: &GenerateRequest) -> Result<(), InvalidRequest> {
        request.validate()?;
        check_answer(request, self.config.vocab_size, self.max_tokens())?;
        match &request.prompt {
            Prompt::Tokens(ids) => self.check_tokens(ids, request.least_tokens()),
            Prompt::Raw(_) | Prompt::Chat(_) => Ok(()),
        }
    }

    /// Refuses tokens that the model does not have, and more than leave room for an answer of `answer` tokens.
    fn check_tokens(&self, ids: &[u32], answer: usize) -> Result<(), InvalidRequest> {
        let (known, most) = (self.config.vocab_size, self.max_tokens());
        let wrong = |reason| Err(InvalidRequest::new("prompt", reason));
        if let Some(id) = ids.iter().find(|id| **id as usize >= known) {
            return wrong(format!("there is no token {id}: the model has {known}"));
        }
        if ids.len() + answer > most {
            let has = ids.len();
            return wrong(format!(
                "it has {has} tokens, which leaves no room for {answer} more: together {most} fit"
            ));
        }
        Ok(())
    }

    /// What a request weighs: about the tokens of its prompt, a quarter of its bytes, and those of its answers.
    pub fn cost(&self, request: &GenerateRequest) -> u64 {
        let answers = request.usual_tokens().saturating_mul(request.n);
        (request.prompt.bytes() / 4).saturating_add(answers).min(self.cache_tokens) as u64
    }

    /// How many texts, and how many tokens by [`cost`](Self::cost), a worker takes at once.
    pub(crate) fn capacity(&self) -> Capacity {
        Capacity { jobs: TEXTS as u32, cost: self.cache_tokens as u64 }
    }

    /// What a worker's scheduler may hand out.
    pub(super) fn limits(&self) -> Limits {
        Limits {
            blocks: self.cache_tokens / BLOCK_TOKENS,
            context: self.config.context,
            texts: TEXTS,
            read_alone: READ_ALONE,
            read_beside: READ_BESIDE,
            past: self.config.past(),
            stretch: self.config.stretches_over(),
        }
    }

    /// What loading takes: all tensors as they are kept; and for each worker of so many threads its cache and its
    /// largest step.
    ///
    /// # Errors
    ///
    /// [`ArchError::Weights`] if there are no weight files or their headers are unreadable.
    pub fn footprint(&self, threads: NonZeroUsize) -> Result<Footprint, ArchError> {
        self.footprint_of(threads, |_| true, 0)
    }

    /// The same of the tensors that `own` knows by their names, where up to so many tokens must be read in one step.
    pub(crate) fn footprint_of(
        &self,
        threads: NonZeroUsize,
        own: impl Fn(&str) -> bool,
        read: usize,
    ) -> Result<Footprint, ArchError> {
        let weights = self.weights_bytes(own)?;
        let cache = KvCache::bytes(&self.config, self.cache_tokens / BLOCK_TOKENS, self.kv_format());
        // Of one text as much as a step may read alone but for a token, and then what is read at once of the next.
        let read = READ_ALONE.saturating_add(read);
        let step = self.config.step_numbers(read, TEXTS, self.max_tokens(), threads).saturating_mul(4);
        Ok(Footprint { weights, per_worker: ByteSize::new(cache.saturating_add(step)) })
    }

    /// The same network with tokens that must not be made from a message beside those that end an answer.
    pub(crate) fn with_controls(self, controls: Vec<u32>, texts: Vec<String>) -> Self {
        let forms =
            Forms::new(self.forms.files.clone(), self.forms.ends.clone(), &self.chat, self.config.vocab_size);
        Self { forms: Arc::new(forms.with_controls(controls, texts)), ..self }
    }

    /// The token that begins texts, as it is written.
    pub(crate) fn begins_with(&self) -> Option<&str> {
        self.chat.bos_token()
    }

    /// The model's tokenizer, read anew.
    pub(crate) fn read_tokenizer(&self) -> Result<PromptTokenizer, ArchError> {
        self.forms.read_tokenizer()
    }

    /// How many tokens, of all texts, a worker's cache holds.
    pub(crate) fn cache_tokens(&self) -> usize {
        self.cache_tokens
    }
}
