//! Changing what an engine serves while it serves.

use super::keys::Place;
use super::loaders::AnyLoader;
use super::{Capabilities, Engine, ModelOptions};
use crate::error::Error;
use crate::id::RegistryKey;
use crate::pool::{KeyConfig, PoolError};
use crate::weights::ModelFiles;

/// Makes a model known.
pub(crate) type Registration<'a> = Box<dyn FnOnce() + 'a>;

/// Does the same with the pool of whatever `capability` is.
macro_rules! with_pool {
    ($engine:expr, $capability:expr, $pool:ident => $work:expr) => {
        match $capability {
            Capabilities::TextEmbedding => {
                let $pool = $engine.text_embedding();
                $work
            }
            Capabilities::TextToText => {
                let $pool = $engine.text_to_text();
                $work
            }
            Capabilities::ImageEmbedding => {
                let $pool = $engine.image_embedding();
                $work
            }
            Capabilities::Vision => {
                let $pool = $engine.vision();
                $work
            }
            Capabilities::TextToImage => {
                let $pool = $engine.text_to_image();
                $work
            }
        }
    };
}

impl Engine {
    /// Reads what `files` say of one thing that the model can do, and holds its key in that pool. What is returned
    /// makes it known there, in place of what is there: what that has accepted it still answers. Dropped instead, it
    /// leaves everything as it was.
    ///
    /// # Errors
    ///
    /// For files that cannot be served so, and for a key that somebody else is registering.
    #[must_use = "the model is not known before it is called"]
    pub fn prepare(
        &self,
        key: &RegistryKey,
        files: &ModelFiles,
        capability: Capabilities,
        config: KeyConfig,
        options: ModelOptions,
    ) -> Result<Registration<'_>, Error> {
        let threads = options.threads.unwrap_or_else(|| self.threads_per_worker(&config));
        let loader = AnyLoader::new(files, capability, threads, options)?;
        Ok(self.entry(key, loader, config, Place::FreeOrTaken)?)
    }

    /// Changes the key's settings in one pool: [`Pool::configure`](crate::pool::Pool::configure).
    pub fn configure(&self, key: &str, capability: Capabilities, config: KeyConfig) -> Result<(), PoolError> {
        with_pool!(self, capability, pool => pool.configure(key, config))
    }

    /// Loads the key in one pool and waits for it: [`Pool::preload`](crate::pool::Pool::preload).
    pub fn preload(&self, key: &str, capability: Capabilities) -> Result<(), PoolError> {
        with_pool!(self, capability, pool => pool.preload(key))
    }
}
