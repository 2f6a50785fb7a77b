//! A circuit breaker: stop trying what keeps failing, and ask now and then whether it still does.

use std::time::Duration;

use crate::clock::Timestamp;

/// Owned by whoever counts the failures: the supervisor for a key's starts and panics, the worker for its
/// own requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Breaker {
    threshold: u32,
    cooldown: Duration,
    failures: u32,
    state: Circuit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Circuit {
    /// Work flows.
    Closed,
    /// Nothing is let through before `until`.
    Open { until: Timestamp },
    /// One probe is under way; its outcome decides.
    HalfOpen,
}

impl Breaker {
    /// Opens after `threshold` failures in a row; 0 means never.
    pub(crate) fn new(threshold: u32, cooldown: Duration) -> Self {
        Self { threshold, cooldown, failures: 0, state: Circuit::Closed }
    }

    /// It worked: failures before no longer count.
    pub(crate) fn succeed(&mut self) {
        self.failures = 0;
        self.state = Circuit::Closed;
    }

    /// It failed. Returns whether the circuit is open now.
    pub(crate) fn fail(&mut self, now: Timestamp) -> bool {
        // What was under way when it opened says nothing new.
        if matches!(self.state, Circuit::Open { .. }) {
            return true;
        }
        self.failures = self.failures.saturating_add(1);
        let beyond = self.failures.saturating_sub(self.threshold);
        if self.threshold == 0 || (self.failures < self.threshold && self.state != Circuit::HalfOpen) {
            return false;
        }
        let cooldown = self.cooldown.saturating_mul(1 << beyond.min(4));
        self.state = Circuit::Open { until: now.saturating_add(cooldown) };
        true
    }

    /// Lets one probe through if the circuit has rested long enough.
    pub(crate) fn try_probe(&mut self, now: Timestamp) -> bool {
        let rested = matches!(self.state, Circuit::Open { until } if until <= now);
        if rested {
            self.state = Circuit::HalfOpen;
        }
        rested
    }

    pub(crate) fn state(&self) -> Circuit {
        self.state
    }

    /// Failures in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOLDOWN: Duration = Duration::from_secs(10);

    #[test]
    fn only_failures_in_a_row_open_the_circuit() {
        let (mut breaker, now) = (Breaker::new(3, COOLDOWN), Timestamp::default());
        for _ in 0..10 {
            assert!(!breaker.fail(now));
            assert!(!breaker.fail(now));
            breaker.succeed();
        }
        assert!(!breaker.fail(now) && !breaker.fail(now) && breaker.fail(now));
    }

    #[test]
    fn a_probe_decides_and_each_failed_one_doubles_the_rest() {
        let mut breaker = Breaker::new(1, COOLDOWN);
        let mut now = Timestamp::default();
        assert!(breaker.fail(now));
        assert!(!breaker.try_probe(now), "it has not rested");
        for factor in [1, 2, 4, 8, 16, 16] {
            assert_eq!(breaker.state(), Circuit::Open { until: now.saturating_add(COOLDOWN * factor) });
            now = now.saturating_add(COOLDOWN * factor);
            assert!(breaker.try_probe(now));
            assert!(!breaker.try_probe(now), "one probe at a time");
            assert!(breaker.fail(now));
        }
        now = now.saturating_add(COOLDOWN * 16);
        assert!(breaker.try_probe(now));
        breaker.succeed();
        assert_eq!((breaker.state(), breaker.failures()), (Circuit::Closed, 0));
    }

    #[test]
    fn a_threshold_of_zero_never_opens() {
        let mut breaker = Breaker::new(0, COOLDOWN);
        assert!((0..1000).all(|_| !breaker.fail(Timestamp::default())));
    }
}
