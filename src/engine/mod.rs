//! Five pools under one memory budget: where pools meet architectures.

mod builder;
mod cores;
mod facts;
mod keyed_pool;
mod keys;
mod loaders;
mod model;
mod upkeep;

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

pub use builder::EngineBuilder;
pub(crate) use cores::Cores;
pub use facts::ModelFacts;
use keyed_pool::KeyedPool;
use keys::Place;
pub use loaders::{DecoderLoader, DiffusionLoader, EmbeddingLoader, ImageLoader, VisionLoader};
pub use model::{Capabilities, ModelOptions};

use crate::capability::{
    DescribeRequest, DrawRequest, Drawing, EmbedImageRequest, EmbedRequest, Embedding, GenerateRequest,
    ImageEmbedding, ImageSource, ImageVector, TextCompletion, TextEmbedding, TextToImage, TextToText, Vision,
};
use crate::error::Error;
use crate::id::RegistryKey;
use crate::memory::{MemoryBudget, MemoryStatus};
use crate::pool::{KeyConfig, Pool, PoolConfig, PoolError, PoolStatus, ShutdownError};
use crate::weights::{ModelFiles, ModelFolder, ModelSource, WeightsError};

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
    /// The builder's, if it was told.
    threads_per_worker: Option<NonZeroUsize>,
    facts: RwLock<HashMap<RegistryKey, Vec<ModelFacts>>>,
}

impl Engine {
    /// An engine with the defaults.
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// The defaults, to be changed before the engine is built.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// How a capability's pool behaves by default: as [`PoolConfig::default`], but with one worker for a key
    /// at first. A worker shares its work out among its threads, and further workers on the same cores would
    /// only take turns with it: so when work piles up, text embedding gets as many workers as leave each four
    /// threads of its own, and the others stay with the one, which answers many requests at once.
    pub fn default_config(capability: Capabilities) -> PoolConfig {
        Cores::available().pool_of(capability)
    }

    /// Makes a model known under `key`, with the settings of [`key_config`](Self::key_config). `model` is a
    /// folder in Hugging Face layout, a GGUF file, or a hub id (`org/name[@revision]`), which is fetched
    /// unless it is cached. Reads the model's configuration; loads nothing before the first request.
    ///
    /// A model that can do two things, such as CLIP with its tokenizer, becomes known under `key` in both pools,
    /// and loads in each what that needs. What is returned is the first of them.
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
        let source: ModelSource = model.parse().map_err(WeightsError::from)?;
        let files = source.resolve()?;
        let config = |capability| self.key_config(capability);
        self.register(&key.into(), &files, config, options, Place::Free)
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
        self.add_files_with(key, ModelFiles::Folder(folder), config, options)
    }

    /// [`add_folder_with`](Self::add_folder_with) for a folder or a GGUF file.
    #[allow(clippy::needless_pass_by_value, reason = "whoever adds a model is done with them")]
    pub fn add_files_with(
        &self,
        key: impl Into<RegistryKey>,
        files: ModelFiles,
        config: KeyConfig,
        options: ModelOptions,
    ) -> Result<Capabilities, Error> {
        self.register(&key.into(), &files, |_| config, options, Place::Free)
    }

    /// The settings that a key gets where none are given: its pool's.
    pub fn key_config(&self, capability: Capabilities) -> KeyConfig {
        KeyConfig::of(self.pool_of(capability).config())
    }

    /// Continues a prompt or answers a conversation, and blocks for the whole answer. For its tokens one by
    /// one submit to [`text_to_text`](Self::text_to_text).
    pub fn generate(&self, key: impl AsRef<str>, request: GenerateRequest) -> Result<TextCompletion, Error> {
        Ok(self.text_to_text.submit_wait(key, request)?)
    }

    /// Answers a question about pictures, and blocks for the whole answer. For its tokens one by one submit to
    /// [`vision`](Self::vision).
    pub fn describe(&self, key: impl AsRef<str>, request: DescribeRequest) -> Result<TextCompletion, Error> {
        Ok(self.vision.submit_wait(key, request)?)
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
        self.embed_all_with(key, requests, |_| {})
    }

    /// As [`embed_all`](Self::embed_all), telling `progress` how many answers there are, each time there is
    /// one more.
    pub fn embed_all_with(
        &self,
        key: impl AsRef<str>,
        requests: impl IntoIterator<Item = EmbedRequest>,
        progress: impl FnMut(usize),
    ) -> Result<Vec<Embedding>, Error> {
        Ok(self.text_embedding.submit_all_with(key, requests, progress)?)
    }

    /// Embeds one picture and blocks for it.
    pub fn embed_image(&self, key: impl AsRef<str>, image: ImageSource) -> Result<ImageVector, Error> {
        Ok(self.image_embedding.submit_wait(key, EmbedImageRequest::new(image))?)
    }

    /// Embeds any number of pictures and blocks for all: spread over the workers, answered in order, however many
    /// there are. The first error is returned, and the rest is canceled.
    pub fn embed_all_images(
        &self,
        key: impl AsRef<str>,
        requests: impl IntoIterator<Item = EmbedImageRequest>,
    ) -> Result<Vec<ImageVector>, Error> {
        Ok(self.image_embedding.submit_all_with(key, requests, |_| {})?)
    }

    /// Draws what a text describes, and blocks for the pictures. For its steps one by one submit to
    /// [`text_to_image`](Self::text_to_image).
    pub fn draw(&self, key: impl AsRef<str>, request: DrawRequest) -> Result<Drawing, Error> {
        Ok(self.text_to_image.submit_wait(key, request)?)
    }

    /// The pool of text embedding.
    pub fn text_embedding(&self) -> &Pool<TextEmbedding> {
        &self.text_embedding
    }

    /// The pool of text generation.
    pub fn text_to_text(&self) -> &Pool<TextToText> {
        &self.text_to_text
    }

    /// The pool of image embedding.
    pub fn image_embedding(&self) -> &Pool<ImageEmbedding> {
        &self.image_embedding
    }

    /// The pool of vision.
    pub fn vision(&self) -> &Pool<Vision> {
        &self.vision
    }

    /// The pool of text-to-image.
    pub fn text_to_image(&self) -> &Pool<TextToImage> {
        &self.text_to_image
    }

    /// The memory that all pools share.
    pub fn budget(&self) -> &MemoryBudget {
        &self.budget
    }

    /// How many threads each worker of a key with these settings computes on: as many as the builder was
    /// told, else the cores divided by the most workers there may be. A model's own [`ModelOptions::threads`] go
    /// before.
    pub fn threads_per_worker(&self, config: &KeyConfig) -> NonZeroUsize {
        self.threads_per_worker.unwrap_or_else(|| Cores::available().threads_each(config.max_workers))
    }

    /// All pools and the memory, now.
    pub fn status(&self) -> EngineStatus {
        EngineStatus { memory: self.budget.status(), pools: self.pools().map(KeyedPool::status).collect() }
    }

    /// Stops all pools: see [`Pool::shutdown`]. Each may take `timeout`; the first failure is returned, after
    /// all have stopped.
    pub fn shutdown(&self, timeout: Duration) -> Result<(), ShutdownError> {
        let stopped: Vec<_> = self.pools().map(|pool| pool.shutdown(timeout)).collect();
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

impl<C: crate::capability::Capability> From<crate::pool::SubmitError<C>> for Error {
    fn from(refused: crate::pool::SubmitError<C>) -> Self {
        Self::Pool(PoolError::from(refused))
    }
}
