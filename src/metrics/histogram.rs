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
        add_up(&self.total_nanos, nanos);
    }

    /// Counts one duration, where the caller is the only thread that ever counts: cheaper, and wrong
    /// otherwise.
    #[inline]
    pub fn record_exclusively(&self, duration: Duration) {
        let nanos = crate::clock::nanos(duration);
        for (counter, amount) in [(&self.buckets[bucket(nanos)], 1), (&self.total_nanos, nanos)] {
            counter.store(counter.load(Ordering::Relaxed).saturating_add(amount), Ordering::Relaxed);
        }
    }

    /// Adds what another histogram has counted.
    pub fn absorb(&self, other: &Self) {
        for (mine, theirs) in self.buckets.iter().zip(&other.buckets) {
            mine.fetch_add(theirs.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        add_up(&self.total_nanos, other.total_nanos.load(Ordering::Relaxed));
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

/// Adds to a total, which stays where it cannot grow any more.
fn add_up(total: &AtomicU64, nanos: u64) {
    if total.fetch_add(nanos, Ordering::Relaxed).checked_add(nanos).is_none() {
        total.store(u64::MAX, Ordering::Relaxed);
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
    /// a factor of two up to 18 minutes, and beyond that no more than the sum. Zero when nothing was counted.
    pub fn quantile(&self, q: f64) -> Duration {
        let rank = (self.count as f64 * q.clamp(0.0, 1.0)).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if *count > 0 && seen >= rank {
                return if index == BOUNDS { self.total } else { Duration::from_micros(1 << index) };
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
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::test_runner::Config;

    use super::*;

    #[test]
    fn durations_fall_into_the_bucket_that_bounds_them() {
        for (nanos, expected) in
            [(0, 0), (1, 0), (1000, 0), (1001, 1), (2000, 1), (2001, 2), (u64::MAX, BOUNDS)]
        {
            assert_eq!(bucket(nanos), expected, "{nanos} ns");
        }
    }

    proptest::proptest! {
        #![proptest_config(Config { cases: 300, failure_persistence: None, ..Config::default() })]

        #[test]
        fn quantiles_agree_with_the_sorted_durations(
            durations in vec((any::<u64>(), 0u32..64).prop_map(|(n, shift)| n >> shift), 1..50),
            q in 0.0..=1.0f64,
        ) {
            let (shared, own) = (Histogram::new(), Histogram::new());
            for nanos in &durations {
                shared.record(Duration::from_nanos(*nanos));
                own.record_exclusively(Duration::from_nanos(*nanos));
            }
            let snapshot = shared.snapshot();
            prop_assert_eq!(&snapshot, &own.snapshot());
            prop_assert_eq!(snapshot.count, durations.len() as u64);
            let exact: u128 = durations.iter().map(|nanos| u128::from(*nanos)).sum();
            prop_assert_eq!(snapshot.total.as_nanos(), exact.min(u128::from(u64::MAX)));

            let mut sorted = durations.clone();
            sorted.sort_unstable();
            let rank = ((sorted.len() as f64 * q).ceil() as usize).max(1);
            let (bound, truth) = (snapshot.quantile(q), Duration::from_nanos(sorted[rank - 1]));
            prop_assert!(bound >= truth, "{bound:?} is no bound of {truth:?}");
            if truth <= Duration::from_micros(1 << (BOUNDS - 1)) {
                prop_assert!(bound <= (truth * 2).max(Duration::from_micros(1)) + Duration::from_micros(1));
            }
        }

        #[test]
        fn parts_add_up_to_the_whole(durations in vec(any::<u64>(), 0..40), split in 0usize..40) {
            let (left, right, whole) = (Histogram::new(), Histogram::new(), Histogram::new());
            for (index, nanos) in durations.iter().enumerate() {
                let part = if index < split { &left } else { &right };
                part.record(Duration::from_nanos(*nanos));
                whole.record(Duration::from_nanos(*nanos));
            }
            let merged = left.snapshot().merged(&right.snapshot());
            left.absorb(&right);
            prop_assert_eq!(left.snapshot(), whole.snapshot());
            prop_assert_eq!((merged.count, merged.buckets), (whole.snapshot().count, whole.snapshot().buckets));
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
