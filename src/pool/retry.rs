//! When to try again: of requests, and of workers that failed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How often a failed request is tried and how long between.
///
/// Only errors that may pass are tried again, and never after the first event has reached the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Attempts in all, the first included.
    pub attempts: u32,
    /// The pause before each further attempt.
    pub delay: Duration,
}

impl Retry {
    /// One attempt.
    pub const NEVER: Self = Self { attempts: 1, delay: Duration::ZERO };

    /// `attempts` in all, `delay` apart.
    pub const fn new(attempts: u32, delay: Duration) -> Self {
        Self { attempts, delay }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self::NEVER
    }
}

/// Capped exponential backoff with jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    pub(crate) base: Duration,
    pub(crate) cap: Duration,
}

impl Backoff {
    /// For restarting workers: at once after a first failure, then from 100 ms up to 30 s.
    pub(crate) const RESTART: Self = Self { base: Duration::from_millis(100), cap: Duration::from_secs(30) };

    /// The pause after `failures` in a row. `jitter` is drawn from 0..1 and takes away up to half, so that
    /// what failed together does not come back together.
    pub(crate) fn pause(self, failures: u32, jitter: f64) -> Duration {
        let Some(doublings) = failures.checked_sub(2) else { return Duration::ZERO };
        let full = self.base.saturating_mul(1 << doublings.min(20)).min(self.cap);
        full.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap_and_jitter_takes_at_most_half() {
        let pauses: Vec<_> = (0..14).map(|failures| Backoff::RESTART.pause(failures, 0.0)).collect();
        assert_eq!(pauses[..5], [0, 0, 100, 200, 400].map(Duration::from_millis));
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(pauses[13], Duration::from_secs(30));
        assert_eq!(Backoff::RESTART.pause(u32::MAX, 1.0), Duration::from_secs(15));
    }
}
