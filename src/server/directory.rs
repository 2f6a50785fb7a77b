//! Where the models that are served come from: what a listing says of them beside what they can do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::RwLock;
use serde::Serialize;

use crate::id::{ByteSize, RegistryKey};

/// Facts about served models, by key.
#[derive(Debug, Default)]
pub struct Directory(RwLock<BTreeMap<RegistryKey, Arc<Listing>>>);

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
        self.0.write().insert(key.into(), Arc::new(listing));
    }

    /// Forgets `key`.
    pub fn remove(&self, key: &str) {
        self.0.write().remove(key);
    }

    /// Where `key` comes from, if anybody has said so.
    pub fn get(&self, key: &str) -> Option<Arc<Listing>> {
        self.0.read().get(key).cloned()
    }
}
