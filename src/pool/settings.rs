//! The settings of a key in use: read with every job, and changed by hand at any moment.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::config::WhenBusy;
use super::key_config::KeyConfig;
use super::rate_limit::RateLimit;
use super::scale::Bounds;
use crate::clock::nanos;

/// A [`KeyConfig`] whose fields are read one by one without a lock. Who reads while it is changed finds some fields
/// old and some new, each of them valid.
#[derive(Debug)]
pub(crate) struct Settings {
    initial_workers: AtomicUsize,
    min_workers: AtomicUsize,
    max_workers: AtomicUsize,
    queue_capacity: AtomicUsize,
    rejects_when_busy: AtomicBool,
    rate_limit: Mutex<Option<RateLimit>>,
    /// Whether `rate_limit` is there. Sequentially consistent: who changes it tells the supervisor afterwards, and a
    /// worker that made room before it saw the change has made it before the supervisor looks.
    is_limited: AtomicBool,
    is_pinned: AtomicBool,
    /// In nanoseconds; the highest number means without end. So is the next.
    keep_alive: AtomicU64,
    request_timeout: AtomicU64,
}

impl Settings {
    pub(crate) fn new(config: KeyConfig) -> Self {
        let settings = Self {
            initial_workers: AtomicUsize::default(),
            min_workers: AtomicUsize::default(),
            max_workers: AtomicUsize::default(),
            queue_capacity: AtomicUsize::default(),
            rejects_when_busy: AtomicBool::default(),
            rate_limit: Mutex::default(),
            is_limited: AtomicBool::default(),
            is_pinned: AtomicBool::default(),
            keep_alive: AtomicU64::default(),
            request_timeout: AtomicU64::default(),
        };
        settings.set(config);
        settings
    }

    /// Changes all of them.
    pub(crate) fn set(&self, config: KeyConfig) {
        let KeyConfig {
            initial_workers,
            min_workers,
            max_workers,
            queue_capacity,
            when_busy,
            rate_limit,
            pinned,
            keep_alive,
            request_timeout,
        } = config;
        self.initial_workers.store(initial_workers, Ordering::Release);
        self.min_workers.store(min_workers, Ordering::Release);
        self.max_workers.store(max_workers, Ordering::Release);
        self.queue_capacity.store(queue_capacity, Ordering::Release);
        self.rejects_when_busy.store(when_busy == WhenBusy::Reject, Ordering::Release);
        self.request_timeout.store(nanos(request_timeout), Ordering::Release);
        self.pin(pinned);
        self.keep_alive_for(keep_alive);
        let mut limit = self.rate_limit.lock();
        *limit = rate_limit;
        self.is_limited.store(rate_limit.is_some(), Ordering::SeqCst);
    }

    /// All of them now.
    pub(crate) fn get(&self) -> KeyConfig {
        let Bounds { initial, min, max, cooldown } = self.bounds();
        KeyConfig {
            initial_workers: initial,
            min_workers: min,
            max_workers: max,
            queue_capacity: self.queue_capacity(),
            when_busy: if self.rejects_when_busy() { WhenBusy::Reject } else { WhenBusy::Queue },
            rate_limit: self.rate_limit(),
            pinned: self.is_pinned(),
            keep_alive: cooldown,
            request_timeout: self.request_timeout(),
        }
    }

    /// How many workers there may be, and for how long.
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            initial: self.initial_workers.load(Ordering::Acquire),
            min: self.min_workers.load(Ordering::Acquire),
            max: self.max_workers(),
            cooldown: duration(&self.keep_alive),
        }
    }

    pub(crate) fn max_workers(&self) -> usize {
        self.max_workers.load(Ordering::Acquire)
    }

    pub(crate) fn queue_capacity(&self) -> usize {
        self.queue_capacity.load(Ordering::Acquire)
    }

    pub(crate) fn rejects_when_busy(&self) -> bool {
        self.rejects_when_busy.load(Ordering::Acquire)
    }

    pub(crate) fn rate_limit(&self) -> Option<RateLimit> {
        *self.rate_limit.lock()
    }

    /// Whether there is a rate limit.
    #[inline]
    pub(crate) fn is_limited(&self) -> bool {
        self.is_limited.load(Ordering::SeqCst)
    }

    pub(crate) fn is_pinned(&self) -> bool {
        self.is_pinned.load(Ordering::Acquire)
    }

    pub(crate) fn pin(&self, pinned: bool) {
        self.is_pinned.store(pinned, Ordering::Release);
    }

    pub(crate) fn keep_alive_for(&self, idle: Duration) {
        self.keep_alive.store(nanos(idle), Ordering::Release);
    }

    #[inline]
    pub(crate) fn request_timeout(&self) -> Duration {
        duration(&self.request_timeout)
    }
}

#[inline]
fn duration(nanos: &AtomicU64) -> Duration {
    match nanos.load(Ordering::Acquire) {
        u64::MAX => Duration::MAX,
        nanos => Duration::from_nanos(nanos),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::pool::PoolConfig;

    #[test]
    fn what_is_set_is_what_is_read() {
        let mut config = KeyConfig::of(&PoolConfig::default());
        let settings = Settings::new(config);
        assert_eq!(settings.get(), config);
        config = config.workers(7).pinned().rate_limit(RateLimit::per_second(3.0).burst(2));
        config = config.keep_alive(Duration::MAX).request_timeout(Duration::from_nanos(1)).queue_capacity(0);
        config.when_busy = WhenBusy::Reject;
        settings.set(config);
        assert_eq!(settings.get(), config);
        assert!(settings.is_limited() && settings.is_pinned() && settings.rejects_when_busy());
        config.rate_limit = None;
        settings.set(config);
        assert!(!settings.is_limited());
    }
}
