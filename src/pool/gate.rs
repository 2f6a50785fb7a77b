//! How many requests are under way, and waiting until none is.

use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicU64, Condvar, Mutex, Ordering};

/// Counts requests in and out. The two counts live on cache lines of their own, because callers write one
/// and workers the other.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    entered: CachePadded<AtomicU64>,
    ended: CachePadded<AtomicU64>,
    turned_away: CachePadded<AtomicU64>,
    /// Threads in [`Gate::wait_empty`]: while there are none, leaving costs one addition.
    waiting: CachePadded<AtomicU64>,
    lock: Mutex<()>,
    empty: Condvar,
}

impl Gate {
    /// Counts a request in. Returns its number, from 1.
    #[inline]
    pub(crate) fn enter(&self) -> u64 {
        self.entered.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// A request that entered was not accepted after all.
    pub(crate) fn turn_away(&self) {
        self.turned_away.fetch_add(1, Ordering::SeqCst);
        self.tell_waiting();
    }

    #[inline]
    pub(crate) fn leave(&self) {
        self.ended.fetch_add(1, Ordering::SeqCst);
        self.tell_waiting();
    }

    /// Sequential consistency decides the race with `wait_empty`: either this sees the waiter, or the waiter
    /// sees the count.
    #[inline]
    fn tell_waiting(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 && self.under_way() == 0 {
            let _order = self.lock.lock();
            self.empty.notify_all();
        }
    }

    pub(crate) fn accepted(&self) -> u64 {
        let turned_away = self.turned_away.load(Ordering::SeqCst);
        self.entered.load(Ordering::SeqCst).saturating_sub(turned_away)
    }

    pub(crate) fn under_way(&self) -> u64 {
        // `ended` first: a request that ends between the two reads is then counted as under way.
        let ended = self.ended.load(Ordering::SeqCst);
        self.accepted().saturating_sub(ended)
    }

    /// Waits until nothing is under way, for at most `timeout`. Returns whether that came true.
    pub(crate) fn wait_empty(&self, timeout: Duration) -> bool {
        let until = Instant::now().checked_add(timeout);
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut order = self.lock.lock();
        let empty = loop {
            if self.under_way() == 0 {
                break true;
            }
            order = match until {
                None => self.empty.wait(order),
                Some(until) if Instant::now() >= until => break false,
                Some(until) => self.empty.wait_until(order, until),
            };
        };
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        empty
    }
}
