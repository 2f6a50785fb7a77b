//! One accepted request on its way through the pool.

use std::time::Duration;

use super::error::PoolError;
use super::lane::Lane;
use super::queue::{Order, Waiting};
use super::reply::Reply;
use crate::capability::{Capability, JobContext, Slot};
use crate::clock::Timestamp;
use crate::contain::contain;
use crate::id::{JobId, SessionId};

/// A request together with the duty to answer it. It moves from hand to hand, so it holds only what changes
/// with an attempt; what stays the same is in [`JobShared`](super::reply::JobShared).
pub(crate) struct Job<C: Capability> {
    pub(crate) request: C::Request,
    pub(crate) reply: Reply<C>,
    pub(crate) attempt: u32,
}

impl<C: Capability> Job<C> {
    /// As charged to workers.
    pub(crate) fn cost(&self) -> u64 {
        self.reply.job().cost
    }

    pub(crate) fn session(&self) -> Option<&SessionId> {
        self.reply.job().session.as_ref()
    }

    /// Whether nobody waits for it any more.
    pub(crate) fn is_unwanted(&self, now: Timestamp) -> bool {
        self.reply.is_canceled() || self.deadline() <= now
    }

    /// Ends it with an error before a worker took it in. The request's destructor is foreign code.
    pub(crate) fn end(self, error: PoolError) {
        let Self { request, reply, .. } = self;
        reply.end(Err(error), None);
        discard(request);
    }

    /// Ends it as canceled or timed out, as the case may be.
    pub(crate) fn end_unwanted(self, now: Timestamp) {
        let Self { request, reply, .. } = self;
        reply.end_unwanted(now);
        discard(request);
    }

    pub(crate) fn context(&self) -> JobContext {
        JobContext {
            id: self.reply.job().id.clone(),
            attempt: self.attempt,
            deadline: self.deadline(),
            session: self.session().cloned(),
            cancel: self.reply.cancel_token(),
        }
    }

    /// The request for another attempt, kept only if there may be one.
    pub(crate) fn spare(&self) -> Option<C::Request> {
        (self.attempt < self.reply.job().retry.attempts).then(|| self.request.clone())
    }
}

fn discard<R>(request: R) {
    if let Err(message) = contain(|| drop(request)) {
        tracing::error!(%message, "a request panicked when it was dropped");
    }
}

impl<C: Capability> Waiting for Job<C> {
    fn order(&self) -> Order {
        self.reply.job().order
    }

    fn deadline(&self) -> Timestamp {
        self.reply.job().deadline
    }

    fn submitted(&self) -> Timestamp {
        self.reply.job().submitted
    }
}

/// A job inside a model.
pub(crate) struct Running<C: Capability> {
    /// `None` once the supervisor has answered it: the worker then only tells the model to forget it.
    pub(crate) reply: Option<Reply<C>>,
    pub(crate) started: Timestamp,
    pub(crate) cost: u64,
    pub(crate) attempt: u32,
    /// The request, if another attempt is possible. Given up with the first event.
    pub(crate) spare: Option<C::Request>,
    /// When the model last reported an event of it.
    pub(crate) reported: Option<Timestamp>,
}

impl<C: Capability> Running<C> {
    /// Whether nobody waits for it any more.
    pub(crate) fn is_unwanted(&self, now: Timestamp) -> bool {
        self.reply.as_ref().is_none_or(|reply| reply.is_canceled() || reply.job().deadline <= now)
    }

    /// The job again for its next attempt, and how long to wait before it; or the reply, if there is none.
    pub(crate) fn again(self) -> Result<(Job<C>, Duration), Option<Reply<C>>> {
        match (self.reply, self.spare) {
            (Some(reply), Some(request)) => {
                let delay = reply.job().retry.delay;
                Ok((Job { request, reply, attempt: self.attempt + 1 }, delay))
            }
            (reply, _) => Err(reply),
        }
    }
}

/// Ends a job that its model failed, or lines it up for another attempt.
pub(crate) fn end_or_retry<C: Capability>(
    lane: &Lane<C>,
    running: Running<C>,
    error: impl FnOnce(JobId) -> PoolError,
) {
    let Some(reply) = &running.reply else { return };
    let error = error(reply.job().id.clone());
    let run = Some((running.started, lane.pool.clock.now().since(running.started)));
    let unwanted = running.is_unwanted(lane.pool.clock.now());
    if error.is_retryable() && !unwanted {
        match running.again() {
            Ok((job, delay)) => lane.retry(job, delay),
            Err(reply) => reply.into_iter().for_each(|reply| reply.end(Err(error.clone()), run)),
        }
    } else if let Some(reply) = running.reply {
        reply.end(Err(error), run);
    }
}

/// What a model holds, by slot.
pub(crate) struct Admitted<C: Capability> {
    slots: Vec<Option<Running<C>>>,
    free: Vec<u32>,
}

impl<C: Capability> Default for Admitted<C> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<C: Capability> Admitted<C> {
    pub(crate) fn insert(&mut self, running: Running<C>) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        self.slots[slot as usize] = Some(running);
        Slot(slot)
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut Running<C>> {
        self.slots.get_mut(slot.0 as usize)?.as_mut()
    }

    pub(crate) fn remove(&mut self, slot: Slot) -> Option<Running<C>> {
        let running = self.slots.get_mut(slot.0 as usize)?.take()?;
        self.free.push(slot.0);
        Some(running)
    }

    /// The slots that `wanted` picks.
    pub(crate) fn find(&self, wanted: impl Fn(&Running<C>) -> bool) -> Vec<Slot> {
        let filled = self.slots.iter().enumerate();
        filled
            .filter(|(_, slot)| slot.as_ref().is_some_and(&wanted))
            .map(|(index, _)| Slot(index as u32))
            .collect()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Running<C>> {
        self.slots.iter_mut().flatten()
    }

    /// Takes out everything.
    pub(crate) fn take_all(&mut self) -> Vec<Running<C>> {
        self.free.clear();
        self.slots.drain(..).flatten().collect()
    }
}
