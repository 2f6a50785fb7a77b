//! What was measured, in numbers.

use std::time::Duration;

use serde::Serialize;

use super::round::Sample;
use crate::id::ByteSize;
use crate::memory::{MemoryProbe, SystemProbe};

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    pub(super) requests_per_second: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) tokens_per_second: f64,
    #[serde(flatten)]
    pub(super) pace: Option<Pace>,
    /// Of this process, where the model is in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) peak_rss_bytes: Option<ByteSize>,
}

/// How an answer comes, token by token.
#[derive(Debug, Serialize)]
#[allow(clippy::struct_field_names, reason = "what `--json` calls them, units included")]
pub(super) struct Pace {
    pub(super) first_token_p50_ms: f64,
    pub(super) first_token_p99_ms: f64,
    pub(super) between_tokens_p50_ms: f64,
    pub(super) between_tokens_p99_ms: f64,
}

impl Figures {
    /// Of `samples`, all of them answered within `took`; `here` if by this process.
    pub(super) fn of(samples: &[Sample], took: Duration, here: bool) -> Self {
        let waited = sorted(samples.iter().map(|sample| sample.waited));
        let seconds = took.as_secs_f64().max(f64::MIN_POSITIVE);
        let tokens: usize = samples.iter().map(|sample| sample.tokens).sum();
        Self {
            requests_per_second: samples.len() as f64 / seconds,
            p50_ms: milliseconds(quantile(&waited, 0.50)),
            p99_ms: milliseconds(quantile(&waited, 0.99)),
            tokens_per_second: tokens as f64 / seconds,
            pace: Pace::of(samples),
            peak_rss_bytes: here.then(peak_memory),
        }
    }
}

impl Pace {
    /// `None` where answers come whole.
    fn of(samples: &[Sample]) -> Option<Self> {
        let first = sorted(samples.iter().filter_map(|sample| sample.first));
        let between = sorted(samples.iter().flat_map(|sample| sample.between.iter().copied()));
        (!first.is_empty()).then(|| Self {
            first_token_p50_ms: milliseconds(quantile(&first, 0.50)),
            first_token_p99_ms: milliseconds(quantile(&first, 0.99)),
            between_tokens_p50_ms: milliseconds(quantile(&between, 0.50)),
            between_tokens_p99_ms: milliseconds(quantile(&between, 0.99)),
        })
    }
}

pub(super) fn sorted(durations: impl Iterator<Item = Duration>) -> Vec<Duration> {
    let mut durations: Vec<_> = durations.collect();
    durations.sort_unstable();
    durations
}

/// The smallest of `sorted` that the share `q` of them does not exceed; zero of none.
pub(in crate::cli) fn quantile(sorted: &[Duration], q: f64) -> Duration {
    let rank = (sorted.len() as f64 * q).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

pub(in crate::cli) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The most memory the process has occupied; where the system does not tell, what it occupies now.
fn peak_memory() -> ByteSize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    peak.map_or_else(|| SystemProbe::new().read().resident, ByteSize::kib)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_was_measured() {
        let sorted: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(quantile(&sorted, 0.50), Duration::from_millis(50));
        assert_eq!(quantile(&sorted, 0.99), Duration::from_millis(99));
        assert_eq!(quantile(&sorted, 1.0), Duration::from_millis(100));
        assert_eq!(quantile(&sorted[..1], 0.99), Duration::from_millis(1));
        assert_eq!(quantile(&[], 0.5), Duration::ZERO);
    }
}
