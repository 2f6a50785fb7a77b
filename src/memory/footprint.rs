//! What a model is expected to take.

use serde::{Deserialize, Serialize};

use crate::id::ByteSize;

/// The predicted memory of one registry key, before anything is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footprint {
    /// Weights as loaded (converted, repacked copies included): once per key, shared by its workers.
    pub weights: ByteSize,
    /// What each worker needs for itself: caches, activations of the largest batch, tables.
    pub per_worker: ByteSize,
}

impl Footprint {
    /// What a key with `workers` workers takes.
    pub fn with_workers(&self, workers: u64) -> ByteSize {
        if workers == 0 {
            ByteSize::ZERO
        } else {
            self.weights.saturating_add(self.per_worker.saturating_mul(workers))
        }
    }
}
