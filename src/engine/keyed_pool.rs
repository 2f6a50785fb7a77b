//! What can be done with a key in a pool, whatever the pool is of.

use std::time::Duration;

use crate::capability::Capability;
use crate::id::RegistryKey;
use crate::pool::{KeyConfig, KeyStatus, Pool, PoolConfig, PoolError, PoolStatus, ShutdownError, Unroutable};

/// A [`Pool`] of whichever capability: each method is the pool's of that name.
#[cfg_attr(not(feature = "server"), allow(dead_code, reason = "some of it the server alone asks for"))]
pub(crate) trait KeyedPool {
    fn config(&self) -> &PoolConfig;
    fn status(&self) -> PoolStatus;
    fn shutdown(&self, timeout: Duration) -> Result<(), ShutdownError>;
    fn is_shutting_down(&self) -> bool;
    fn keys(&self) -> Vec<RegistryKey>;
    fn unroutable(&self) -> Vec<(RegistryKey, Unroutable)>;
    fn has_key(&self, key: &str) -> bool;
    fn has_workers(&self, key: &str) -> bool;
    fn key_status(&self, key: &str) -> Result<KeyStatus, PoolError>;
    fn unregister(&self, key: &str) -> Result<(), PoolError>;
    fn configure(&self, key: &str, config: KeyConfig) -> Result<(), PoolError>;
    fn keep_alive(&self, key: &str, idle: Duration) -> Result<(), PoolError>;
    fn pin(&self, key: &str, pinned: bool) -> Result<(), PoolError>;
    fn resize(&self, key: &str, workers: usize) -> Result<(), PoolError>;
    fn preload(&self, key: &str) -> Result<(), PoolError>;
    fn unload(&self, key: &str) -> Result<(), PoolError>;
}

impl<C: Capability> KeyedPool for Pool<C> {
    fn config(&self) -> &PoolConfig {
        Self::config(self)
    }

    fn status(&self) -> PoolStatus {
        Self::status(self)
    }

    fn shutdown(&self, timeout: Duration) -> Result<(), ShutdownError> {
        Self::shutdown(self, timeout)
    }

    fn is_shutting_down(&self) -> bool {
        Self::is_shutting_down(self)
    }

    fn keys(&self) -> Vec<RegistryKey> {
        Self::keys(self)
    }

    fn unroutable(&self) -> Vec<(RegistryKey, Unroutable)> {
        Self::unroutable(self)
    }

    fn has_key(&self, key: &str) -> bool {
        Self::has_key(self, key)
    }

    fn has_workers(&self, key: &str) -> bool {
        Self::has_workers(self, key)
    }

    fn key_status(&self, key: &str) -> Result<KeyStatus, PoolError> {
        Self::key_status(self, key)
    }

    fn unregister(&self, key: &str) -> Result<(), PoolError> {
        Self::unregister(self, key)
    }

    fn configure(&self, key: &str, config: KeyConfig) -> Result<(), PoolError> {
        Self::configure(self, key, config)
    }

    fn keep_alive(&self, key: &str, idle: Duration) -> Result<(), PoolError> {
        Self::keep_alive(self, key, idle)
    }

    fn pin(&self, key: &str, pinned: bool) -> Result<(), PoolError> {
        Self::pin(self, key, pinned)
    }

    fn resize(&self, key: &str, workers: usize) -> Result<(), PoolError> {
        Self::resize(self, key, workers)
    }

    fn preload(&self, key: &str) -> Result<(), PoolError> {
        Self::preload(self, key)
    }

    fn unload(&self, key: &str) -> Result<(), PoolError> {
        Self::unload(self, key)
    }
}
