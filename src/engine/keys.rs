//! Which models an engine knows, under which keys, in which of its pools.

use std::collections::BTreeSet;

use super::loaders::AnyLoader;
use super::upkeep::Registration;
use super::{Capabilities, Engine, ModelFacts, ModelOptions};
use crate::capability::Capability;
use crate::error::Error;
use crate::id::RegistryKey;
use crate::pool::{KeyConfig, Loader, NoWorkers, Pool, PoolError, RegisterError};
use crate::weights::ModelFiles;

/// Whether a key must be free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Free,
    FreeOrTaken,
}

/// What can be done with a key in a pool of whichever capability.
trait KeyedPool {
    fn keys(&self) -> Vec<RegistryKey>;
    fn has_key(&self, key: &str) -> bool;
    fn unregister(&self, key: &str) -> Result<(), PoolError>;
}

impl<C: Capability> KeyedPool for Pool<C> {
    fn keys(&self) -> Vec<RegistryKey> {
        Pool::keys(self)
    }

    fn has_key(&self, key: &str) -> bool {
        Pool::has_key(self, key)
    }

    fn unregister(&self, key: &str) -> Result<(), PoolError> {
        Pool::unregister(self, key)
    }
}

impl Engine {
    /// Every key that some pool knows, in the order of their names.
    pub fn keys(&self) -> Vec<RegistryKey> {
        let all = Capabilities::ALL.into_iter().flat_map(|capability| self.pool_of(capability).keys());
        all.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// What the model under a key can do; nothing if there is none.
    pub fn capabilities(&self, key: impl AsRef<str>) -> Vec<Capabilities> {
        self.pools_with(key.as_ref()).collect()
    }

    /// What was read of the model under a key when it was added, for each thing that it can do. Nothing of a model that
    /// was registered in a pool by hand.
    pub fn facts(&self, key: impl AsRef<str>) -> Vec<ModelFacts> {
        self.facts.read().get(key.as_ref()).cloned().unwrap_or_default()
    }

    /// The most tokens that the model under a key takes: see [`ModelFacts::context_length`].
    pub fn context_length(&self, key: impl AsRef<str>) -> Option<usize> {
        let facts = self.facts.read();
        facts.get(key.as_ref())?.iter().find_map(|facts| facts.context_length)
    }

    /// Takes a key off, in all pools that know it. What was accepted is still answered; then its workers go, and with
    /// them their memory. Does not wait for that.
    ///
    /// # Errors
    ///
    /// [`PoolError::NoWorkers`] if no pool knows it.
    pub fn remove(&self, key: impl AsRef<str>) -> Result<(), Error> {
        let key = key.as_ref();
        let taken = self.pools_with(key).filter(|capability| self.unregister(key, *capability).is_ok());
        if taken.count() == 0 {
            let reason = NoWorkers::Unregistered;
            return Err(PoolError::NoWorkers { key: key.into(), reason }.into());
        }
        Ok(())
    }

    /// [`add_files_with`](Self::add_files_with) in place of the model that is under the key, if one is. There is no
    /// moment in between at which the key is unknown, and what the old model has accepted it still answers; what the new
    /// one cannot do is taken off.
    #[allow(clippy::needless_pass_by_value, reason = "whoever adds a model is done with them")]
    pub fn replace_files_with(
        &self,
        key: impl Into<RegistryKey>,
        files: ModelFiles,
        config: KeyConfig,
        options: ModelOptions,
    ) -> Result<Capabilities, Error> {
        self.register(&key.into(), &files, |_| config, options, Place::FreeOrTaken)
    }

    /// Under everything that the model can do; all of its configuration is read before anything is registered.
    pub(super) fn register(
        &self,
        key: &RegistryKey,
        files: &ModelFiles,
        config: impl Fn(Capabilities) -> KeyConfig,
        options: ModelOptions,
        place: Place,
    ) -> Result<Capabilities, Error> {
        let (capability, besides) = Capabilities::all(files)?;
        let loaders = std::iter::once(capability).chain(besides).map(|capability| {
            let config = config(capability);
            let threads = options.threads.unwrap_or_else(|| self.threads_per_worker(&config));
            Ok((AnyLoader::new(files, capability, threads, options)?, config))
        });
        let loaders = loaders.collect::<Result<Vec<_>, Error>>()?;
        let entries = loaders.into_iter().map(|(loader, config)| self.entry(key, loader, config, place));
        // All keys are held before the first model is known: it is under all of them or under none.
        let entries = entries.collect::<Result<Vec<_>, RegisterError>>()?;
        entries.into_iter().for_each(|register| register());
        let does = |other: &Capabilities| *other == capability || Some(*other) == besides;
        for former in self.pools_with(key.as_str()).filter(|other| place != Place::Free && !does(other)) {
            // Whoever has taken it off meanwhile did the same.
            let _ = self.unregister(key.as_str(), former);
        }
        Ok(capability)
    }

    /// Holds the key in the pool that the loader is for. What is returned registers it there.
    pub(super) fn entry(
        &self,
        key: &RegistryKey,
        loader: AnyLoader,
        config: KeyConfig,
        place: Place,
    ) -> Result<Registration<'_>, RegisterError> {
        let facts = loader.facts();
        let register = match loader {
            AnyLoader::TextEmbedding(loader) => entry(&self.text_embedding, key, loader, config, place),
            AnyLoader::TextToText(loader) => entry(&self.text_to_text, key, loader, config, place),
            AnyLoader::ImageEmbedding(loader) => entry(&self.image_embedding, key, loader, config, place),
            AnyLoader::TextToImage(loader) => entry(&self.text_to_image, key, loader, config, place),
            AnyLoader::Vision(loader) => entry(&self.vision, key, loader, config, place),
        }?;
        let key = key.clone();
        Ok(Box::new(move || {
            // Locked for both: of two who change one key at once, the facts are the last one's too.
            let mut known = self.facts.write();
            register();
            let known = known.entry(key).or_default();
            known.retain(|former| former.capability != facts.capability);
            known.push(facts);
        }))
    }

    /// Takes the key off in one pool: [`Pool::unregister`].
    pub(crate) fn unregister(&self, key: &str, capability: Capabilities) -> Result<(), PoolError> {
        let mut known = self.facts.write();
        self.pool_of(capability).unregister(key)?;
        if let Some(facts) = known.get_mut(key) {
            facts.retain(|facts| facts.capability != capability);
        }
        known.retain(|_, facts| !facts.is_empty());
        Ok(())
    }

    fn pool_of(&self, capability: Capabilities) -> &dyn KeyedPool {
        match capability {
            Capabilities::TextEmbedding => &self.text_embedding,
            Capabilities::TextToText => &self.text_to_text,
            Capabilities::ImageEmbedding => &self.image_embedding,
            Capabilities::TextToImage => &self.text_to_image,
            Capabilities::Vision => &self.vision,
        }
    }

    fn pools_with(&self, key: &str) -> impl Iterator<Item = Capabilities> {
        Capabilities::ALL.into_iter().filter(move |capability| self.pool_of(*capability).has_key(key))
    }
}

fn entry<'a, C: Capability>(
    pool: &'a Pool<C>,
    key: &RegistryKey,
    loader: impl Loader<C>,
    config: KeyConfig,
    place: Place,
) -> Result<Registration<'a>, RegisterError> {
    let vacancy = match place {
        Place::Free => pool.hold(key.clone())?,
        Place::FreeOrTaken => pool.take_over(key.clone())?,
    };
    Ok(Box::new(move || vacancy.fill(loader, config)))
}
