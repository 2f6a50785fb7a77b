//! How one registry key differs from its pool.

use std::time::Duration;

use super::config::{PoolConfig, WhenBusy};
use super::rate_limit::RateLimit;

/// The settings of one key: the pool's, unless changed here.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct KeyConfig {
    /// How many workers it starts with.
    pub initial_workers: usize,
    /// How many it keeps when idle.
    pub min_workers: usize,
    /// How many it may have.
    pub max_workers: usize,
    /// How many requests may wait; 0 means any number.
    pub queue_capacity: usize,
    /// What happens to a request that no worker has room for.
    pub when_busy: WhenBusy,
    /// How many requests may start in a given time.
    pub rate_limit: Option<RateLimit>,
    /// Whether it is exempt from eviction.
    pub pinned: bool,
    /// How long a worker may be idle before it is let go; [`Duration::MAX`] for ever. Default: the pool's
    /// [`cooldown_idle`](PoolConfig::cooldown_idle).
    pub keep_alive: Duration,
    /// How long a request may take, queueing included, when it does not say itself.
    pub request_timeout: Duration,
}

impl KeyConfig {
    /// The pool's settings.
    pub fn of(pool: &PoolConfig) -> Self {
        Self {
            initial_workers: pool.initial_workers,
            min_workers: pool.min_workers,
            max_workers: pool.max_workers,
            queue_capacity: pool.queue_capacity,
            when_busy: pool.when_busy,
            rate_limit: pool.rate_limit,
            pinned: false,
            keep_alive: pool.cooldown_idle,
            request_timeout: pool.request_timeout,
        }
    }

    /// Exactly `n` workers, always.
    #[must_use]
    pub fn workers(mut self, n: usize) -> Self {
        (self.initial_workers, self.min_workers, self.max_workers) = (n, n, n);
        self
    }

    /// Room for `n` waiting requests; 0 means any number.
    #[must_use]
    pub fn queue_capacity(mut self, n: usize) -> Self {
        self.queue_capacity = n;
        self
    }

    /// How long a worker may be idle; [`Duration::MAX`] for ever.
    #[must_use]
    pub fn keep_alive(mut self, idle: Duration) -> Self {
        self.keep_alive = idle;
        self
    }

    /// How long a request may take.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Limits how many requests may start in a given time.
    #[must_use]
    pub fn rate_limit(mut self, limit: RateLimit) -> Self {
        self.rate_limit = Some(limit);
        self
    }

    /// Exempts the key from eviction.
    #[must_use]
    pub fn pinned(mut self) -> Self {
        self.pinned = true;
        self
    }
}
