//! Changing what an engine serves while it serves.

use super::keys::{Place, Registration};
use super::{Capabilities, Engine, ModelOptions};
use crate::error::Error;
use crate::id::RegistryKey;
use crate::pool::{KeyConfig, PoolError};
use crate::weights::ModelFiles;

impl Engine {
    /// Reads what `files` say of one thing that the model can do, and holds its key in that pool. What is returned
    /// makes it known there, in place of what is there: what that has accepted it still answers. Dropped instead, it
    /// leaves everything as it was.
    ///
    /// # Errors
    ///
    /// For files that cannot be served so, for a key that somebody else is registering, and once the pool is shutting down.
    #[must_use = "the model is not known before it is called"]
    pub fn prepare(
        &self,
        key: &RegistryKey,
        files: &ModelFiles,
        capability: Capabilities,
        config: KeyConfig,
        options: ModelOptions,
    ) -> Result<Registration<'_>, Error> {
        self.prepared(key, files, capability, config, options, Place::FreeOrTaken)
    }

    /// Changes the key's settings in one pool: [`Pool::configure`](crate::pool::Pool::configure).
    pub fn configure(&self, key: &str, capability: Capabilities, config: KeyConfig) -> Result<(), PoolError> {
        self.pool_of(capability).configure(key, config)
    }

    /// Loads the key in one pool and waits for it: [`Pool::preload`](crate::pool::Pool::preload).
    pub fn preload(&self, key: &str, capability: Capabilities) -> Result<(), PoolError> {
        self.pool_of(capability).preload(key)
    }
}
