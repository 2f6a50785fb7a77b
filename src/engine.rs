//! Five pools under one memory budget: where pools meet architectures.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::arch::{EncoderPlan, EncoderWeights, TextEmbedder};
use crate::capability::{
    EmbedRequest, Embedding, ImageEmbedding, InvalidRequest, TextEmbedding, TextToImage, TextToText, Vision,
};
use crate::clock::Clock;
use crate::error::Error;
use crate::id::RegistryKey;
use crate::kernels::{Dtype, threads};
use crate::memory::{Footprint, MemoryBudget, MemoryStatus};
use crate::pool::{KeyConfig, LoadError, Loader, Pool, PoolConfig, PoolError, PoolStatus, ShutdownError};
use crate::weights::ModelFolder;

/// One pool per capability, one memory budget for all of them.
///
/// An engine owns everything it starts: dropping it finishes what is under way, for at most
/// [`PoolConfig::shutdown_timeout`] per pool, and joins every thread.
///
/// ```no_run
/// use millpond::Engine;
///
/// let engine = Engine::new()?;
/// engine.add("minilm", "sentence-transformers/all-MiniLM-L6-v2")?;
/// let embedding = engine.embed("minilm", "Where is the nearest station?")?;
/// assert_eq!(embedding.values.len(), 384);
/// # Ok::<(), millpond::Error>(())
/// ```
pub struct Engine {
    text_embedding: Pool<TextEmbedding>,
    text_to_text: Pool<TextToText>,
    image_embedding: Pool<ImageEmbedding>,
    vision: Pool<Vision>,
    text_to_image: Pool<TextToImage>,
    budget: MemoryBudget,
    threads_per_worker: NonZeroUsize,
}

/// Makes an [`Engine`].
#[derive(Debug)]
pub struct EngineBuilder {
    config: PoolConfig,
    budget: Option<MemoryBudget>,
    clock: Clock,
    threads_per_worker: Option<NonZeroUsize>,
}

impl EngineBuilder {
    /// How the pools behave. Default: [`Engine::default_config`].
    #[must_use]
    pub fn config(mut self, config: PoolConfig) -> Self {
        self.config = config;
        self
    }

    /// The memory that all pools share. Default: [`MemoryBudget::system`].
    #[must_use]
    pub fn budget(mut self, budget: MemoryBudget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// The pools' clock. Default: the system's.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// How many threads each worker computes on. Default: the cores divided by the workers a key may have,
    /// at least 1.
    #[must_use]
    pub fn threads_per_worker(mut self, threads: NonZeroUsize) -> Self {
        self.threads_per_worker = Some(threads);
        self
    }

    /// Starts the pools. Nothing is loaded yet.
    pub fn build(self) -> Result<Engine, Error> {
        if let Err(unconfigured) = threads::check() {
            tracing::warn!("{unconfigured}");
        }
        let budget = self.budget.unwrap_or_else(MemoryBudget::system);
        let (config, clock) = (self.config, self.clock);
        let share = cores().get() / config.max_workers.max(1);
        let threads_per_worker =
            self.threads_per_worker.or(NonZeroUsize::new(share)).unwrap_or(NonZeroUsize::MIN);
        macro_rules! pool {
            () => {
                Pool::builder().config(config.clone()).budget(budget.clone()).clock(clock.clone()).build()?
            };
        }
        Ok(Engine {
            text_embedding: pool!(),
            text_to_text: pool!(),
            image_embedding: pool!(),
            vision: pool!(),
            text_to_image: pool!(),
            budget,
            threads_per_worker,
        })
    }
}

fn cores() -> NonZeroUsize {
    available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

impl Engine {
    /// An engine with the defaults.
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// The defaults, to be changed before the engine is built.
    pub fn builder() -> EngineBuilder {
        let config = Self::default_config();
        EngineBuilder { config, budget: None, clock: Clock::system(), threads_per_worker: None }
    }

    /// [`PoolConfig::default`], with no more workers for a key than there are cores: models compute, and
    /// more workers than cores only take turns.
    pub fn default_config() -> PoolConfig {
        let mut config = PoolConfig::default();
        config.max_workers = config.max_workers.min(cores().get());
        config.initial_workers = config.initial_workers.min(config.max_workers);
        config
    }

    /// Makes a model known under `key`, with the pool's settings. `model` is a folder in Hugging Face layout
    /// or a hub id (`org/name[@revision]`), which is fetched unless it is cached. Reads the model's
    /// configuration; loads nothing before the first request.
    pub fn add(&self, key: impl Into<RegistryKey>, model: &str) -> Result<Capabilities, Error> {
        self.add_with(key, model, ModelOptions::default())
    }

    /// [`add`](Self::add), with a say in how the model computes.
    pub fn add_with(
        &self,
        key: impl Into<RegistryKey>,
        model: &str,
        options: ModelOptions,
    ) -> Result<Capabilities, Error> {
        let source: crate::weights::ModelSource =
            model.parse().map_err(crate::weights::WeightsError::from)?;
        let config = KeyConfig::of(self.text_embedding.config());
        self.add_folder_with(key, source.resolve()?.folder()?, config, options)
    }

    /// Makes the model in `folder` known under `key`, in the pool of the capability that its architecture
    /// has.
    pub fn add_folder(
        &self,
        key: impl Into<RegistryKey>,
        folder: ModelFolder,
        config: KeyConfig,
    ) -> Result<Capabilities, Error> {
        self.add_folder_with(key, folder, config, ModelOptions::default())
    }

    /// [`add_folder`](Self::add_folder), with a say in how the model computes.
    pub fn add_folder_with(
        &self,
        key: impl Into<RegistryKey>,
        folder: ModelFolder,
        config: KeyConfig,
        options: ModelOptions,
    ) -> Result<Capabilities, Error> {
        let loader = EncoderLoader::new(folder, self.threads_per_worker, options.dtype)?;
        self.text_embedding.register_with(key, loader, config)?;
        Ok(Capabilities::TextEmbedding)
    }

    /// Embeds one text and blocks for it.
    pub fn embed(&self, key: impl AsRef<str>, text: impl Into<String>) -> Result<Embedding, Error> {
        Ok(self.text_embedding.submit_wait(key, EmbedRequest::new(text))?)
    }

    /// Embeds any number of texts and blocks for all: spread over the workers, answered in order, however
    /// many there are. The first error is returned, and the rest is canceled.
    pub fn embed_all(
        &self,
        key: impl AsRef<str>,
        requests: impl IntoIterator<Item = EmbedRequest>,
    ) -> Result<Vec<Embedding>, Error> {
        Ok(self.text_embedding.submit_all(key, requests)?)
    }

    /// The pool of text embedding.
    pub fn text_embedding(&self) -> &Pool<TextEmbedding> {
        &self.text_embedding
    }

    /// The pool of text generation. millpond has no architecture for it yet: register loaders of your own.
    pub fn text_to_text(&self) -> &Pool<TextToText> {
        &self.text_to_text
    }

    /// The pool of image embedding. millpond has no architecture for it yet: register loaders of your own.
    pub fn image_embedding(&self) -> &Pool<ImageEmbedding> {
        &self.image_embedding
    }

    /// The pool of vision. millpond has no architecture for it yet: register loaders of your own.
    pub fn vision(&self) -> &Pool<Vision> {
        &self.vision
    }

    /// The pool of text-to-image. millpond has no architecture for it yet: register loaders of your own.
    pub fn text_to_image(&self) -> &Pool<TextToImage> {
        &self.text_to_image
    }

    /// The memory that all pools share.
    pub fn budget(&self) -> &MemoryBudget {
        &self.budget
    }

    /// How many threads each worker computes on.
    pub fn threads_per_worker(&self) -> NonZeroUsize {
        self.threads_per_worker
    }

    /// All pools and the memory, now.
    pub fn status(&self) -> EngineStatus {
        EngineStatus {
            memory: self.budget.status(),
            pools: vec![
                self.text_embedding.status(),
                self.text_to_text.status(),
                self.image_embedding.status(),
                self.vision.status(),
                self.text_to_image.status(),
            ],
        }
    }

    /// Stops all pools: see [`Pool::shutdown`]. Each may take `timeout`; the first failure is returned, after
    /// all have stopped.
    pub fn shutdown(&self, timeout: Duration) -> Result<(), ShutdownError> {
        let stopped = [
            self.text_embedding.shutdown(timeout),
            self.text_to_text.shutdown(timeout),
            self.image_embedding.shutdown(timeout),
            self.vision.shutdown(timeout),
            self.text_to_image.shutdown(timeout),
        ];
        stopped.into_iter().collect()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("budget", &self.budget).finish_non_exhaustive()
    }
}

/// An engine at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EngineStatus {
    /// The budget, and who holds what.
    pub memory: MemoryStatus,
    /// The pools, one per capability.
    pub pools: Vec<PoolStatus>,
}

/// What a model can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Capabilities {
    /// It embeds texts.
    TextEmbedding,
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TextEmbedding => <TextEmbedding as crate::capability::Capability>::NAME,
        })
    }
}

/// How a model computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelOptions {
    /// What its weights are kept and multiplied in. Default: [`Dtype::Auto`].
    pub dtype: Dtype,
}

impl ModelOptions {
    /// Sets [`dtype`](Self::dtype).
    #[must_use]
    pub fn dtype(mut self, dtype: Dtype) -> Self {
        self.dtype = dtype;
        self
    }
}

/// Loads encoders for the text-embedding pool.
#[derive(Debug)]
pub struct EncoderLoader {
    folder: ModelFolder,
    plan: Arc<EncoderPlan>,
    threads: NonZeroUsize,
    dtype: Dtype,
}

impl EncoderLoader {
    /// Reads the folder's configuration. Each worker will compute on `threads` threads, in `dtype`.
    pub fn new(folder: ModelFolder, threads: NonZeroUsize, dtype: Dtype) -> Result<Self, Error> {
        let plan = Arc::new(EncoderPlan::read(&folder, dtype)?);
        Ok(Self { folder, plan, threads, dtype })
    }
}

impl Loader<TextEmbedding> for EncoderLoader {
    type Weights = EncoderWeights;
    type Model = TextEmbedder;

    fn footprint(&self) -> Result<Footprint, LoadError> {
        self.plan.footprint().map_err(LoadError::invalid)
    }

    fn load(&self) -> Result<EncoderWeights, LoadError> {
        EncoderWeights::load(&self.folder, self.dtype).map_err(LoadError::invalid)
    }

    fn build(&self, weights: &Arc<EncoderWeights>) -> Result<TextEmbedder, LoadError> {
        Ok(TextEmbedder::new(weights.clone(), self.threads))
    }

    fn validate(&self, request: &EmbedRequest) -> Result<(), InvalidRequest> {
        self.plan.validate(request)
    }

    fn cost(&self, request: &EmbedRequest) -> u64 {
        self.plan.cost(request)
    }
}

impl From<crate::pool::SubmitError<TextEmbedding>> for Error {
    fn from(refused: crate::pool::SubmitError<TextEmbedding>) -> Self {
        Self::Pool(PoolError::from(refused))
    }
}
