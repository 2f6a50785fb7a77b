//! Telling a pool which models there are.

use std::sync::Arc;

use super::key_config::KeyConfig;
use super::lane::Lane;
use super::shared::PoolPhase;
use super::{Loader, NoWorkers, Pool, PoolError};
use crate::capability::Capability;
use crate::id::RegistryKey;

/// A model was not registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The key is taken.
    #[error("{0} is registered already: choose another key")]
    Taken(RegistryKey),
    /// The pool takes nothing new.
    #[error("the pool is shutting down")]
    ShuttingDown,
}

/// A key that nobody else can register as long as this is there.
#[must_use]
pub(crate) struct Vacancy<'a, C: Capability> {
    pool: &'a Pool<C>,
    key: RegistryKey,
}

impl<C: Capability> Pool<C> {
    /// Makes a model known under a key. Nothing is loaded before the first request or [`Pool::preload`].
    pub fn register(&self, key: impl Into<RegistryKey>, loader: impl Loader<C>) -> Result<(), RegisterError> {
        self.register_with(key, loader, KeyConfig::of(self.config()))
    }

    /// Makes a model known under a key, with settings of its own.
    pub fn register_with(
        &self,
        key: impl Into<RegistryKey>,
        loader: impl Loader<C>,
        config: KeyConfig,
    ) -> Result<(), RegisterError> {
        self.hold(key.into())?.fill(loader, config);
        Ok(())
    }

    /// Makes a model known under a key in place of the one that is there, if one is: with no moment in between at which
    /// the key is unknown. What the old one has accepted it still answers; then it goes, as by
    /// [`unregister`](Self::unregister).
    pub fn replace(
        &self,
        key: impl Into<RegistryKey>,
        loader: impl Loader<C>,
        config: KeyConfig,
    ) -> Result<(), RegisterError> {
        self.take_over(key.into())?.fill(loader, config);
        Ok(())
    }

    /// Takes a key off: it is unknown from now on, and can be registered again at once. Does not wait: what was accepted
    /// is still answered, then its workers go, and with them their memory.
    pub fn unregister(&self, key: impl AsRef<str>) -> Result<(), PoolError> {
        let key = key.as_ref();
        let unregistered = || PoolError::NoWorkers { key: key.into(), reason: NoWorkers::Unregistered };
        self.owner.lanes.take(key).ok_or_else(unregistered)?.retire();
        Ok(())
    }

    /// Keeps a key free for a model: for whoever registers it in several pools or in none.
    ///
    /// # Errors
    ///
    /// As [`register`](Self::register).
    pub(crate) fn hold(&self, key: RegistryKey) -> Result<Vacancy<'_, C>, RegisterError> {
        let vacancy = self.take_over(key)?;
        // A key is among the lanes before it is no longer held: there is no moment at which it is in neither.
        if self.owner.lanes.contains(&vacancy.key) {
            return Err(RegisterError::Taken(vacancy.key.clone()));
        }
        Ok(vacancy)
    }

    /// Keeps a key for whoever registers it in place of what is there.
    ///
    /// # Errors
    ///
    /// [`RegisterError::Taken`] when somebody else is about to register it.
    pub(crate) fn take_over(&self, key: RegistryKey) -> Result<Vacancy<'_, C>, RegisterError> {
        let mut held = self.owner.held.lock();
        if self.owner.shared.phase() != PoolPhase::Running {
            return Err(RegisterError::ShuttingDown);
        }
        if !held.insert(key.clone()) {
            return Err(RegisterError::Taken(key));
        }
        Ok(Vacancy { pool: self, key })
    }
}

impl<C: Capability> Vacancy<'_, C> {
    /// Makes a model known under the key, and no longer the one that was. In a pool that has been shut down since,
    /// nobody can reach it.
    pub(crate) fn fill(self, loader: impl Loader<C>, config: KeyConfig) {
        let owner = &self.pool.owner;
        let lane = Lane::new(self.key.clone(), Box::new(loader), owner.shared.clone(), config);
        if let Some(before) = owner.lanes.put(Arc::new(lane)) {
            before.retire();
        }
    }
}

impl<C: Capability> Drop for Vacancy<'_, C> {
    fn drop(&mut self) {
        self.pool.owner.held.lock().remove(&self.key);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::capability::{TaskRunner, Tasks};
    use crate::pool::{BuildWith, PoolConfig};

    #[test]
    fn a_key_that_is_held_is_taken_until_it_is_let_go() {
        let pool: Pool<Tasks> = Pool::new(PoolConfig::default()).unwrap();
        let vacancy = pool.hold("a".into()).unwrap();
        assert_eq!(pool.register_tasks("a"), Err(RegisterError::Taken("a".into())));
        assert!(pool.keys().is_empty() && pool.register_tasks("b").is_ok());
        drop(vacancy);
        let config = KeyConfig::of(pool.config());
        pool.hold("a".into()).unwrap().fill(BuildWith::new(TaskRunner::default), config);
        assert_eq!(pool.register_tasks("a"), Err(RegisterError::Taken("a".into())));
        assert_eq!(pool.keys().len(), 2);
    }

    #[test]
    fn of_many_who_register_a_key_at_once_one_does() {
        let pool: Pool<Tasks> = Pool::new(PoolConfig::default()).unwrap();
        for round in 0..50 {
            let key = RegistryKey::from(round.to_string());
            let registered = std::thread::scope(|scope| {
                let callers = [0; 4].map(|_| scope.spawn(|| pool.register_tasks(key.clone()).is_ok()));
                callers.into_iter().map(|caller| caller.join().unwrap()).filter(|it| *it).count()
            });
            assert_eq!(registered, 1);
        }
    }
}
