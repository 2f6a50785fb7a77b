//! Durations in buckets whose bounds double.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// 1 microsecond x 2^n for n in 0..BOUNDS, then everything longer: up to about 17 minutes.
const BOUNDS: usize = 31;

/// Counts durations in buckets: up to 1 us, 2 us, 4 us and so on, doubling, up to 18 minutes and beyond.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS + 1],
    total_nanos: AtomicU64,
}

impl Histogram {
    /// An empty histogram.
    pub const fn new() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BOUNDS + 1], total_nanos: AtomicU64::new(0) }
    }

    /// Counts one duration.
    #[inline]
    pub fn record(&self, duration: Duration) {
        let nanos = crate::clock::nanos(duration);
        self.buckets[bucket(nanos)].fetch_add(1, Ordering::Relaxed);
        self.total_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Counts one duration, where the caller is the only thread that ever counts: cheaper, and wrong
    /// otherwise.
    #[inline]
    pub fn record_exclusively(&self, duration: Duration) {
        let nanos = crate::clock::nanos(duration);
        for (counter, amount) in [(&self.buckets[bucket(nanos)], 1), (&self.total_nanos, nanos)] {
            counter.store(counter.load(Ordering::Relaxed) + amount, Ordering::Relaxed);
        }
    }

    /// Adds what another histogram has counted.
    pub fn absorb(&self, other: &Self) {
        for (mine, theirs) in self.buckets.iter().zip(&other.buckets) {
            mine.fetch_add(theirs.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.total_nanos.fetch_add(other.total_nanos.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// The counts so far.
    pub fn snapshot(&self) -> HistogramSnapshot {
        let mut buckets: Vec<u64> =
            self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        while buckets.last() == Some(&0) {
            buckets.pop();
        }
        HistogramSnapshot {
            count: buckets.iter().sum(),
            total: Duration::from_nanos(self.total_nanos.load(Ordering::Relaxed)),
            buckets,
        }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

/// The first bucket whose upper bound is not below `nanos`.
#[inline]
fn bucket(nanos: u64) -> usize {
    let micros = nanos.div_ceil(1000);
    (micros.max(1).next_power_of_two().trailing_zeros() as usize).min(BOUNDS)
}

/// A [`Histogram`] at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistogramSnapshot {
    /// How many durations were counted.
    pub count: u64,
    /// Their sum.
    pub total: Duration,
    /// How many were at most 1 us, then at most 2 us, 4 us and so on; empty buckets at the end are left out.
    pub buckets: Vec<u64>,
}

impl HistogramSnapshot {
    /// The mean, or zero when nothing was counted.
    pub fn mean(&self) -> Duration {
        if self.count == 0 { Duration::ZERO } else { self.total.div_f64(self.count as f64) }
    }

    /// An upper bound of the duration that the share `q` (0..=1) of all durations did not exceed: exact to
    /// a factor of two. Zero when nothing was counted.
    pub fn quantile(&self, q: f64) -> Duration {
        let rank = (self.count as f64 * q.clamp(0.0, 1.0)).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if *count > 0 && seen >= rank {
                return Duration::from_micros(1 << index);
            }
        }
        Duration::ZERO
    }

    /// The counts of both together.
    #[must_use]
    pub fn merged(mut self, other: &Self) -> Self {
        if self.buckets.len() < other.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(mine, theirs)| *mine += theirs);
        self.count += other.count;
        self.total = self.total.saturating_add(other.total);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_the_bucket_that_bounds_them() {
        for (nanos, expected) in
            [(0, 0), (1, 0), (1000, 0), (1001, 1), (2000, 1), (2001, 2), (u64::MAX, BOUNDS)]
        {
            assert_eq!(bucket(nanos), expected, "{nanos} ns");
        }
    }

    #[test]
    fn quantiles_bound_what_was_recorded() {
        let histogram = Histogram::new();
        assert_eq!(histogram.snapshot().quantile(0.5), Duration::ZERO);
        for micros in [3, 3, 3, 900] {
            histogram.record(Duration::from_micros(micros));
        }
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.quantile(0.5), Duration::from_micros(4));
        assert_eq!(snapshot.quantile(1.0), Duration::from_micros(1024));
        assert_eq!(snapshot.count, 4);
        assert_eq!(snapshot.mean(), Duration::from_nanos(227_250));
        assert_eq!(snapshot.clone().merged(&snapshot).count, 8);
    }
}
