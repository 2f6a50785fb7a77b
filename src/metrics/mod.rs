//! What is counted, and nothing else: the counters and histograms that pools keep.
//!
//! Counting never allocates, locks or fails, and costs a few nanoseconds. Reading takes a snapshot whose
//! figures were each true at some moment during the call.

mod histogram;

pub use histogram::{Histogram, HistogramSnapshot};

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    #[inline]
    pub fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds one, where the caller is the only thread that ever adds: cheaper, and wrong otherwise.
    #[inline]
    pub fn increment_exclusively(&self) {
        self.0.store(self.0.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Adds `n`, where the caller is the only thread that ever adds.
    #[inline]
    pub fn add_exclusively(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Adds what another counter has counted.
    pub fn absorb(&self, other: &Self) {
        self.0.fetch_add(other.get(), Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
