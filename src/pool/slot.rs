//! Where a caller and the one who answers meet: the outcome of one job, its events on the way, and whether
//! the caller is still there.
//!
//! The answering side calls [`answer`](ReplySlot::answer) exactly once; it owns the only
//! [`Reply`](super::reply::Reply). The waiting side takes the outcome at most once; it owns the only
//! [`Ticket`](super::ticket::Ticket). Everything they share is under one lock, and `ended` is set under it
//! after the outcome is in place: whoever sees `ended` finds the outcome.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::spin::awake;
use crate::clock::Timestamp;
use crate::contain::contain;
use crate::sync::{AtomicBool, Condvar, Mutex, MutexGuard, Ordering};

pub(crate) struct ReplySlot<T, E> {
    /// Set once, under the lock, when the outcome is in place. Read without it to spin and to ask.
    ended: AtomicBool,
    /// Set once, by the waiting side, when it wants no answer any more.
    canceled: AtomicBool,
    cell: Mutex<Cell<T, E>>,
    changed: Condvar,
}

struct Cell<T, E> {
    outcome: Option<T>,
    /// The task that awaits the outcome or the next event.
    waker: Option<Waker>,
    /// Whether a thread sleeps on `changed`: a notification costs something only then.
    sleeping: bool,
    events: VecDeque<E>,
    reader: Reader,
}

/// What the waiting side does with events.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// Nobody has asked yet: events are kept, and the oldest goes when there are too many.
    Absent,
    /// Somebody reads; the last time was then. None may be lost.
    Reading(Timestamp),
    /// Nobody will: only the outcome counts.
    Gone,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    Kept,
    /// The reader has not kept up for longer than it may.
    TooSlow,
}

/// How many events may wait and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventLimits {
    pub(crate) capacity: usize,
    pub(crate) grace: Duration,
}

impl<T, E> Cell<T, E> {
    fn ignore_events(&mut self) {
        self.reader = Reader::Gone;
        self.events = VecDeque::new();
    }
}

impl<T, E> ReplySlot<T, E> {
    pub(crate) fn new() -> Self {
        let cell = Cell {
            outcome: None,
            waker: None,
            sleeping: false,
            events: VecDeque::new(),
            reader: Reader::Absent,
        };
        Self {
            ended: AtomicBool::new(false),
            canceled: AtomicBool::new(false),
            cell: Mutex::new(cell),
            changed: Condvar::default(),
        }
    }

    /// Puts the outcome in place and wakes the waiting side.
    pub(crate) fn answer(&self, outcome: T) {
        let mut cell = self.cell.lock();
        debug_assert!(!self.ended.load(Ordering::Relaxed), "a job is answered once");
        cell.outcome = Some(outcome);
        self.ended.store(true, Ordering::Release);
        self.wake(cell);
    }

    fn wake(&self, mut cell: MutexGuard<'_, Cell<T, E>>) {
        let waker = cell.waker.take();
        let sleeping = std::mem::take(&mut cell.sleeping);
        // Woken outside the lock: a woken thread or task asks for it first thing.
        drop(cell);
        if sleeping {
            self.changed.notify_all();
        }
        if let Some(waker) = waker {
            // The waiting side's code on the answering side's thread. If it panics, its own task suffers.
            if let Err(message) = contain(|| waker.wake()) {
                tracing::error!(%message, "a waker panicked");
            }
        }
    }

    /// Hands an event to the waiting side.
    pub(crate) fn push_event(&self, event: E, now: Timestamp, limits: EventLimits) -> Pushed {
        let mut cell = self.cell.lock();
        if self.is_ended() {
            return Pushed::Kept;
        }
        let full = cell.events.len() >= limits.capacity.max(1);
        match cell.reader {
            Reader::Gone => return Pushed::Kept,
            Reader::Absent if full => drop(cell.events.pop_front()),
            // Within the grace the buffer may grow to four times its size, so that one slow moment of the
            // reader neither loses an event nor stops the worker.
            Reader::Reading(last) if full => {
                if now.since(last) > limits.grace || cell.events.len() >= limits.capacity.max(1) * 4 {
                    return Pushed::TooSlow;
                }
            }
            Reader::Absent | Reader::Reading(_) => {}
        }
        cell.events.push_back(event);
        self.wake(cell);
        Pushed::Kept
    }

    /// The waiting side wants no answer any more.
    pub(crate) fn cancel(&self) {
        self.canceled.store(true, Ordering::Release);
    }

    pub(crate) fn is_canceled(&self) -> bool {
        self.canceled.load(Ordering::Acquire)
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// From now on only the outcome counts.
    pub(crate) fn ignore_events(&self) {
        self.cell.lock().ignore_events();
    }

    /// Waits for the outcome without sleeping, for a moment and then up to `patience`, and takes it. Most
    /// short jobs end in it.
    pub(crate) fn wait_briefly(&self, patience: Duration) -> Option<T> {
        awake(patience, || self.is_ended().then_some(()))?;
        self.cell.lock().outcome.take()
    }

    /// Waits for the outcome and takes it; `None` when `until` comes first. Events are no longer kept.
    pub(crate) fn wait(&self, until: Option<Instant>) -> Option<T> {
        let mut cell = self.cell.lock();
        cell.ignore_events();
        loop {
            if let Some(outcome) = cell.outcome.take() {
                return Some(outcome);
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return None;
            }
            cell = self.sleep(cell, until);
        }
    }

    /// Waits for the next event; `Ok(None)` once the job has ended and all events are read, `Err` when
    /// `until` comes first.
    pub(crate) fn next_event(
        &self,
        now: impl Fn() -> Timestamp,
        until: Option<Instant>,
    ) -> Result<Option<E>, ()> {
        let mut cell = self.cell.lock();
        loop {
            cell.reader = Reader::Reading(now());
            if let Some(event) = cell.events.pop_front() {
                return Ok(Some(event));
            }
            if self.is_ended() {
                return Ok(None);
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return Err(());
            }
            cell = self.sleep(cell, until);
        }
    }

    /// Wakes `waker` once the outcome is there; at once if it is.
    pub(crate) fn wake_when_ended(&self, waker: Waker) {
        let mut cell = self.cell.lock();
        if self.is_ended() {
            drop(cell);
            return waker.wake();
        }
        cell.waker = Some(waker);
    }

    /// The outcome for a task.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<T> {
        let mut cell = self.cell.lock();
        if let Some(outcome) = cell.outcome.take() {
            return Poll::Ready(outcome);
        }
        Self::register(&mut cell, context);
        Poll::Pending
    }

    /// The next event for a task; `None` once the job has ended and all events are read.
    pub(crate) fn poll_event(&self, now: Timestamp, context: &mut Context<'_>) -> Poll<Option<E>> {
        let mut cell = self.cell.lock();
        cell.reader = Reader::Reading(now);
        if let Some(event) = cell.events.pop_front() {
            return Poll::Ready(Some(event));
        }
        if self.is_ended() {
            return Poll::Ready(None);
        }
        Self::register(&mut cell, context);
        Poll::Pending
    }

    fn register(cell: &mut Cell<T, E>, context: &Context<'_>) {
        match &mut cell.waker {
            Some(waker) => waker.clone_from(context.waker()),
            None => cell.waker = Some(context.waker().clone()),
        }
    }

    fn sleep<'a>(
        &'a self,
        mut cell: MutexGuard<'a, Cell<T, E>>,
        until: Option<Instant>,
    ) -> MutexGuard<'a, Cell<T, E>> {
        cell.sleeping = true;
        match until {
            Some(until) => self.changed.wait_until(cell, until),
            None => self.changed.wait(cell),
        }
    }
}
