//! The waiting side of a job.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, ready};
use std::time::{Duration, Instant};

use futures_core::Stream;

use super::error::PoolError;
use super::reply::{JobShared, Outcome};
use crate::capability::Capability;
use crate::id::JobId;

/// An accepted request: the right to its answer.
///
/// One ticket serves every style. [`wait`](Self::wait) blocks; `.await` does not, on any async runtime or
/// none; [`events`](Self::events) are an `Iterator` and a `Stream` of what is reported on the way. Nothing
/// here needs a runtime, and nothing panics for being called inside one.
///
/// Dropping a ticket cancels the request: it leaves the queue at once, or its model stops at the next step.
/// [`detach`](Self::detach) lets it run on.
#[must_use = "dropping a ticket cancels its request; use `detach` to let it run on"]
pub struct Ticket<C: Capability> {
    job: Arc<JobShared<C>>,
    claim: Claim,
}

/// What dropping a ticket does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// The answer is wanted: dropping cancels.
    Held,
    /// The answer was taken, or is not wanted: dropping does nothing.
    Settled,
}

impl<C: Capability> Ticket<C> {
    pub(crate) fn new(job: Arc<JobShared<C>>) -> Self {
        Self { job, claim: Claim::Held }
    }

    /// Which job it stands for.
    pub fn id(&self) -> &JobId {
        &self.job.id
    }

    /// Whether the answer is there: [`wait`](Self::wait) would not block.
    pub fn is_ready(&self) -> bool {
        self.job.slot.is_ended()
    }

    /// Blocks until the answer is there or the request's deadline has passed. Events are not kept.
    pub fn wait(self) -> Result<C::Output, PoolError> {
        match self.wait_until(None) {
            Ok(outcome) => outcome,
            // The maintenance thread answers overdue jobs; that it did not means that it is gone.
            Err(ticket) => Err(ticket.job.timeout()),
        }
    }

    /// Blocks for at most `timeout`; gives the ticket back when that is not enough.
    pub fn wait_timeout(self, timeout: Duration) -> Result<Result<C::Output, PoolError>, Self> {
        self.wait_until(Instant::now().checked_add(timeout))
    }

    fn wait_until(mut self, until: Option<Instant>) -> Result<Outcome<C>, Self> {
        let slot = &self.job.slot;
        let soon = slot.wait_briefly(self.job.lane.patience());
        match soon.or_else(|| slot.wait(earlier(until, self.last_resort()))) {
            Some(outcome) => {
                self.claim = Claim::Settled;
                Ok(outcome.map_err(|error| *error))
            }
            None => Err(self),
        }
    }

    /// When to stop waiting even if the maintenance thread never says so: a second after the deadline. On a
    /// clock that a test owns there is no such moment.
    fn last_resort(&self) -> Option<Instant> {
        let job = &self.job;
        let clock = &job.lane.pool.clock;
        if clock.is_manual() {
            return None;
        }
        Instant::now().checked_add(job.deadline.since(clock.now()))?.checked_add(Duration::from_secs(1))
    }

    /// Calls `tell` once the answer is there; at once if it is. Takes the place of any earlier waker.
    pub(crate) fn when_ready(&self, tell: impl Fn() + Send + Sync + 'static) {
        struct Tell<F>(F);
        impl<F: Fn() + Send + Sync> Wake for Tell<F> {
            fn wake(self: Arc<Self>) {
                (self.0)();
            }
        }
        self.job.slot.ignore_events();
        self.job.slot.wake_when_ended(Arc::new(Tell(tell)).into());
    }

    /// The events of this request as they come; ends when the request does. The answer is still to be
    /// waited for.
    pub fn events(&mut self) -> Events<'_, C> {
        Events { ticket: self }
    }

    /// Blocks for the next event; `None` when there will be no more.
    pub fn next_event(&mut self) -> Option<C::Event> {
        let job = &self.job;
        let clock = &job.lane.pool.clock;
        job.slot.next_event(|| clock.now(), self.last_resort()).ok().flatten()
    }

    /// Cancels the request. Dropping the ticket does the same.
    pub fn cancel(self) {}

    /// Lets the request run on without anyone waiting for it. Its callback, if any, still hears of its end.
    pub fn detach(mut self) {
        self.job.slot.ignore_events();
        self.claim = Claim::Settled;
    }
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Resolves to the answer. Resolves to [`PoolError::RecvError`] when polled again after that.
impl<C: Capability> Future for Ticket<C> {
    type Output = Result<C::Output, PoolError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.claim == Claim::Settled {
            let (key, job) = (self.job.lane.key.clone(), self.job.id.clone());
            return Poll::Ready(Err(PoolError::RecvError { key, job }));
        }
        let outcome = ready!(self.job.slot.poll(context));
        self.claim = Claim::Settled;
        Poll::Ready(outcome.map_err(|error| *error))
    }
}

impl<C: Capability> Drop for Ticket<C> {
    fn drop(&mut self) {
        if self.claim == Claim::Held && !self.job.slot.is_ended() {
            self.job.slot.cancel();
            self.job.lane.remove_canceled(&self.job);
        }
    }
}

impl<C: Capability> fmt::Debug for Ticket<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { job, .. } = self;
        write!(f, "Ticket({} of {}, ready: {})", job.id, job.lane.key, job.slot.is_ended())
    }
}

/// The events of one request, from [`Ticket::events`].
pub struct Events<'a, C: Capability> {
    ticket: &'a mut Ticket<C>,
}

impl<C: Capability> Iterator for Events<'_, C> {
    type Item = C::Event;

    fn next(&mut self) -> Option<C::Event> {
        self.ticket.next_event()
    }
}

impl<C: Capability> Stream for Events<'_, C> {
    type Item = C::Event;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<C::Event>> {
        let job = &self.ticket.job;
        job.slot.poll_event(job.lane.pool.clock.now(), context)
    }
}

impl<C: Capability> fmt::Debug for Events<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Events({:?})", self.ticket)
    }
}
