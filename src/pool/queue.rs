//! The jobs of a lane that no worker has room for yet.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::{Timestamp, nanos};

/// A job's place in the queue: smaller goes first.
///
/// A job of priority `p` is ranked as if it had been submitted `p` ageing steps before it was. Everything in
/// the queue ages at the same rate, so the order of two jobs never changes while they wait and needs no
/// re-sorting; and a job of the lowest priority is passed only by jobs submitted within a bounded time after
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Order {
    rank: i128,
    /// Breaks ties in the order of submission.
    number: u64,
}

impl Order {
    pub(crate) fn new(submitted: Timestamp, priority: i32, ageing_step: Duration, number: u64) -> Self {
        let head_start = i128::from(priority) * i128::from(nanos(ageing_step));
        Self { rank: i128::from(submitted.0) - head_start, number }
    }

    pub(crate) fn number(self) -> u64 {
        self.number
    }
}

/// Why a job was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Full,
    Closed,
}

/// What the queue asks of a job.
pub(crate) trait Waiting {
    fn order(&self) -> Order;
    fn deadline(&self) -> Timestamp;
    fn submitted(&self) -> Timestamp;
}

/// A bounded queue by priority, first in first out within one, with ageing.
#[derive(Debug)]
pub(crate) struct Queue<J> {
    ready: BTreeMap<Order, J>,
    /// Jobs that wait for their next attempt.
    delayed: BTreeMap<(Timestamp, u64), J>,
    capacity: usize,
    closed: bool,
}

impl<J: Waiting> Queue<J> {
    /// A queue for `capacity` jobs; 0 means any number.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { ready: BTreeMap::new(), delayed: BTreeMap::new(), capacity, closed: false }
    }

    /// Appends a new job, or hands it back.
    pub(crate) fn push(&mut self, job: J) -> Result<(), (J, Refused)> {
        if self.closed {
            return Err((job, Refused::Closed));
        }
        if self.capacity != 0 && self.len() >= self.capacity {
            return Err((job, Refused::Full));
        }
        self.put_back(job);
        Ok(())
    }

    /// Takes in a job that was accepted before: capacity does not apply.
    pub(crate) fn put_back(&mut self, job: J) {
        self.ready.insert(job.order(), job);
    }

    /// Keeps an accepted job aside until `at`.
    pub(crate) fn delay(&mut self, job: J, at: Timestamp) {
        self.delayed.insert((at, job.order().number()), job);
    }

    /// Moves the delayed jobs whose time has come into the queue.
    pub(crate) fn wake_delayed(&mut self, now: Timestamp) {
        while let Some(entry) = self.delayed.first_entry().filter(|entry| entry.key().0 <= now) {
            let job = entry.remove();
            self.put_back(job);
        }
    }

    pub(crate) fn peek(&self) -> Option<&J> {
        self.ready.first_key_value().map(|(_, job)| job)
    }

    pub(crate) fn pop(&mut self) -> Option<J> {
        self.ready.pop_first().map(|(_, job)| job)
    }

    /// Takes out the job with this order, wherever it waits.
    pub(crate) fn remove(&mut self, order: Order) -> Option<J> {
        if let Some(job) = self.ready.remove(&order) {
            return Some(job);
        }
        let key = *self.delayed.iter().find(|(_, job)| job.order() == order)?.0;
        self.delayed.remove(&key)
    }

    /// Takes out every job whose deadline has come.
    pub(crate) fn take_overdue(&mut self, now: Timestamp) -> Vec<J> {
        let ready = self.ready.extract_if(.., |_, job| job.deadline() <= now).map(|(_, job)| job);
        let delayed = self.delayed.extract_if(.., |_, job| job.deadline() <= now).map(|(_, job)| job);
        ready.chain(delayed).collect()
    }

    /// Takes out everything.
    pub(crate) fn take_all(&mut self) -> Vec<J> {
        let ready = std::mem::take(&mut self.ready).into_values();
        ready.chain(std::mem::take(&mut self.delayed).into_values()).collect()
    }

    /// Holds `capacity` jobs from now on; 0 means any number. What waits stays, even if it is more.
    pub(crate) fn hold(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    /// Refuses everything from now on; what waits stays.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    /// The next moment at which something here is due: a deadline or a delayed attempt.
    pub(crate) fn next_due(&self) -> Timestamp {
        let deadlines = self.ready.values().chain(self.delayed.values()).map(Waiting::deadline);
        let wakes = self.delayed.first_key_value().map(|((at, _), _)| *at);
        deadlines.chain(wakes).min().unwrap_or(Timestamp::NEVER)
    }

    /// When the job that waits longest was submitted.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.ready.values().map(Waiting::submitted).min()
    }

    /// Jobs that wait, for a worker or for their next attempt.
    pub(crate) fn len(&self) -> usize {
        self.ready.len() + self.delayed.len()
    }

    /// Jobs that a worker could take now.
    pub(crate) fn ready(&self) -> usize {
        self.ready.len()
    }
}
