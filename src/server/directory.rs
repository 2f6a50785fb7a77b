//! Where the models that are served come from: what a listing says of them beside what they can do.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::RwLock;
use serde::Serialize;

use crate::id::{ByteSize, RegistryKey};
use crate::weights::{Hub, HubConfig, ModelSource};

/// Facts about served models, by key, and where more of them can be fetched.
#[derive(Debug, Default)]
pub struct Directory {
    served: RwLock<BTreeMap<RegistryKey, Arc<Listing>>>,
    offered: RwLock<BTreeMap<String, Offer>>,
    hub: OnceLock<Hub>,
}

/// A model that can be asked for by a short name, and served then.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Offer {
    /// What the name stands for.
    pub source: ModelSource,
    /// What may be done with it, where a manifest says so.
    pub license: Option<String>,
    /// What it is, in a sentence, where a manifest says so.
    pub description: Option<String>,
}

impl From<ModelSource> for Offer {
    fn from(source: ModelSource) -> Self {
        Self { source, license: None, description: None }
    }
}

/// Where one model comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Listing {
    /// What it was named by: a catalog's name, or an id on the hub. Not a path.
    pub source: String,
    /// When it became known, in seconds since 1970.
    pub added: u64,
    /// The bytes of its files.
    pub size: ByteSize,
    /// What may be done with it, where a manifest says so.
    pub license: Option<String>,
    /// What it is, in a sentence, where a manifest says so.
    pub description: Option<String>,
}

impl Listing {
    /// A model that becomes known now.
    pub fn new(source: impl Into<String>, size: ByteSize) -> Self {
        let added = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self { source: source.into(), added, size, license: None, description: None }
    }
}

impl Directory {
    /// Says where `key` comes from, in place of what was said before.
    pub fn put(&self, key: impl Into<RegistryKey>, listing: Listing) {
        self.served.write().insert(key.into(), Arc::new(listing));
    }

    /// Forgets `key`.
    pub fn remove(&self, key: &str) {
        self.served.write().remove(key);
    }

    /// Where `key` comes from, if anybody has said so.
    pub fn get(&self, key: &str) -> Option<Arc<Listing>> {
        self.served.read().get(key).cloned()
    }

    /// Lets these be asked for by their names, and no others.
    pub fn offer(&self, offers: impl IntoIterator<Item = (String, Offer)>) {
        *self.offered.write() = offers.into_iter().collect();
    }

    /// What can be asked for by `name`, if anything.
    pub fn offered(&self, name: &str) -> Option<Offer> {
        self.offered.read().get(name).cloned()
    }

    /// Has models fetched from this hub. Default, and from the first fetch on: as the environment says.
    pub fn fetch_from(&self, hub: HubConfig) {
        let _ = self.hub.set(Hub::new(hub));
    }

    /// Where models are fetched from.
    pub(super) fn hub(&self) -> &Hub {
        self.hub.get_or_init(|| Hub::new(HubConfig::from_env()))
    }
}
