//! Which models an engine knows, under which keys, in which of its pools.

use std::collections::BTreeSet;

use super::keyed_pool::KeyedPool;
use super::loaders::AnyLoader;
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

/// Makes a model known.
pub(crate) type Registration<'a> = Box<dyn FnOnce() + 'a>;

impl Engine {
    /// Every key that some pool knows, in the order of their names.
    pub fn keys(&self) -> Vec<RegistryKey> {
        let all = self.pools().flat_map(KeyedPool::keys);
        all.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// What the model under a key can do; nothing if there is none.
    pub fn capabilities(&self, key: impl AsRef<str>) -> Vec<Capabilities> {
        self.pools_with(key.as_ref()).collect()
    }

    /// What was read of the model under a key when it was added, for each thing that it can do. Nothing where the
    /// engine added none, or where the key was taken off its pool by hand; where another model was put in its place there
    /// by hand, still what was read of the one that was added.
    pub fn facts(&self, key: impl AsRef<str>) -> Vec<ModelFacts> {
        let key = key.as_ref();
        let known = self.facts.read();
        let facts = known.get(key).into_iter().flatten();
        facts.filter(|facts| self.pool_of(facts.capability).has_key(key)).cloned().collect()
    }

    /// The most tokens that the model under a key takes: see [`ModelFacts::context_length`].
    pub fn context_length(&self, key: impl AsRef<str>) -> Option<usize> {
        self.facts(key).iter().find_map(|facts| facts.context_length)
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
        // All keys are held before the first model is known: it is under all of them or under none.
        let entries = std::iter::once(capability)
            .chain(besides)
            .map(|capability| self.prepared(key, files, capability, config(capability), options, place));
        let entries = entries.collect::<Result<Vec<_>, Error>>()?;
        entries.into_iter().for_each(|register| register());
        let does = |other: &Capabilities| *other == capability || Some(*other) == besides;
        for former in self.pools_with(key.as_str()).filter(|other| place != Place::Free && !does(other)) {
            // Whoever has taken it off meanwhile did the same.
            let _ = self.unregister(key.as_str(), former);
        }
        Ok(capability)
    }

    /// Reads what `files` say of one thing that the model can do, and holds the key in that pool. What is returned
    /// registers it there.
    pub(super) fn prepared(
        &self,
        key: &RegistryKey,
        files: &ModelFiles,
        capability: Capabilities,
        config: KeyConfig,
        options: ModelOptions,
        place: Place,
    ) -> Result<Registration<'_>, Error> {
        let threads = options.threads.unwrap_or_else(|| self.threads_per_worker(&config));
        let loader = AnyLoader::new(files, capability, threads, options)?;
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

    /// The pool of a capability, as far as that does not matter.
    pub(crate) fn pool_of(&self, capability: Capabilities) -> &dyn KeyedPool {
        match capability {
            Capabilities::TextEmbedding => &self.text_embedding,
            Capabilities::TextToText => &self.text_to_text,
            Capabilities::ImageEmbedding => &self.image_embedding,
            Capabilities::TextToImage => &self.text_to_image,
            Capabilities::Vision => &self.vision,
        }
    }

    /// All pools.
    pub(crate) fn pools(&self) -> impl Iterator<Item = &dyn KeyedPool> {
        Capabilities::ALL.into_iter().map(|capability| self.pool_of(capability))
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
