//! The answering side of a job.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::PoolError;
use super::lane::Lane;
use super::queue::Order;
use super::retry::Retry;
use super::slot::{Pushed, ReplySlot};
use super::stats::Served;
use crate::capability::{CancelToken, Cancelable, Capability};
use crate::clock::Timestamp;
use crate::contain::{contain, describe};
use crate::id::{JobId, RegistryKey, SessionId};

/// How a job ended: what its caller gets.
pub(crate) type Outcome<C> = Result<<C as Capability>::Output, PoolError>;

/// What both sides of a job know.
pub(crate) struct JobShared<C: Capability> {
    /// Errors are boxed here: they are rare and large, and the slot travels between cores with every job.
    pub(crate) slot: ReplySlot<Result<C::Output, Box<PoolError>>, C::Event>,
    pub(crate) lane: Arc<Lane<C>>,
    pub(crate) id: JobId,
    pub(crate) submitted: Timestamp,
    pub(crate) deadline: Timestamp,
    pub(crate) order: Order,
    /// As charged to workers.
    pub(crate) cost: u64,
    pub(crate) retry: Retry,
    pub(crate) session: Option<SessionId>,
}

impl<C: Capability> JobShared<C> {
    pub(crate) fn timeout(&self) -> PoolError {
        let waited = self.lane.pool.clock.now().since(self.submitted);
        PoolError::Timeout { key: self.lane.key.clone(), job: self.id.clone(), waited }
    }

    /// Hands on what the model reported.
    pub(crate) fn event(&self, event: C::Event, now: Timestamp) -> Pushed {
        self.slot.push_event(event, now, self.lane.pool.config.event_limits())
    }

    pub(crate) fn canceled(&self) -> PoolError {
        PoolError::Canceled { key: self.lane.key.clone(), job: self.id.clone() }
    }
}

impl<C: Capability> Cancelable for JobShared<C> {
    fn is_canceled(&self) -> bool {
        self.slot.is_canceled()
    }
}

/// What a completion callback is told.
#[derive(Debug)]
#[non_exhaustive]
pub struct Completion<'a, C: Capability> {
    /// Which job it was.
    pub id: &'a JobId,
    /// Which key it was for.
    pub key: &'a RegistryKey,
    /// How it ended.
    pub result: Result<&'a C::Output, &'a PoolError>,
    /// When it was submitted, on the pool's clock.
    pub submitted_at: Timestamp,
    /// When the last attempt began, if one did.
    pub started_at: Option<Timestamp>,
    /// How long the last attempt took; zero if none began.
    pub ran: Duration,
}

/// How a job ended, without its answer: what [`Pool::results`](super::Pool::results) delivers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobResult {
    /// Which job it was.
    pub job_id: JobId,
    /// Which key it was for.
    pub key: RegistryKey,
    /// Whether it ended with its answer.
    pub success: bool,
    /// The error otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// From submission to the start of the last attempt; to the end, if none started.
    pub queued: Duration,
    /// How long the last attempt took; zero if none started.
    pub duration: Duration,
}

impl JobResult {
    fn new<C: Capability>(
        job: &JobShared<C>,
        outcome: &Outcome<C>,
        run: Option<(Timestamp, Duration)>,
    ) -> Self {
        let started = run.map_or_else(|| job.lane.pool.clock.now(), |(started, _)| started);
        Self {
            job_id: job.id.clone(),
            key: job.lane.key.clone(),
            success: outcome.is_ok(),
            error: outcome.as_ref().err().map(describe),
            queued: started.since(job.submitted),
            duration: run.map_or(Duration::ZERO, |(_, ran)| ran),
        }
    }
}

/// Called once, by the thread that ends the job.
pub(crate) type Callback<C> = Box<dyn FnOnce(&Completion<'_, C>) + Send>;

/// The duty to answer one job. Answering consumes it; dropping it unanswered answers `WorkerLost`.
pub(crate) struct Reply<C: Capability> {
    shared: Option<Arc<JobShared<C>>>,
    callback: Option<Callback<C>>,
}

impl<C: Capability> Reply<C> {
    pub(crate) fn new(shared: Arc<JobShared<C>>, callback: Option<Callback<C>>) -> Self {
        Self { shared: Some(shared), callback }
    }

    /// Takes back a duty that was never accepted: nobody is told anything.
    pub(crate) fn forget(mut self) {
        self.shared = None;
    }

    pub(crate) fn job(&self) -> &Arc<JobShared<C>> {
        self.shared.as_ref().expect("a reply keeps its job until it is consumed")
    }

    pub(crate) fn is_canceled(&self) -> bool {
        self.job().slot.is_canceled()
    }

    pub(crate) fn cancel_token(&self) -> CancelToken {
        CancelToken::from_shared(self.job().clone())
    }

    /// Ends the job. `run` says when its last attempt began and how long it took.
    pub(crate) fn end(mut self, outcome: Outcome<C>, run: Option<(Timestamp, Duration)>) {
        if let Some(job) = &self.shared {
            job.lane.count(job, &outcome, run);
        }
        self.settle(outcome, run);
    }

    /// Ends a job that its worker has served, on that worker's thread, counting it in the worker's own
    /// counts.
    pub(crate) fn end_served(
        mut self,
        output: C::Output,
        started: Timestamp,
        ran: Duration,
        served: &Served,
    ) {
        if let Some(job) = &self.shared {
            let tokens = C::tokens(&output);
            served.completed.increment_exclusively();
            served.prompt_tokens.add_exclusively(tokens.prompt);
            served.completion_tokens.add_exclusively(tokens.completion);
            served.queue_time.record_exclusively(started.since(job.submitted));
            served.run_time.record_exclusively(ran);
        }
        self.settle(Ok(output), Some((started, ran)));
    }

    /// Ends the job as canceled or timed out, as the case may be.
    pub(crate) fn end_unwanted(self, now: Timestamp) {
        let job = self.job();
        let error =
            if job.deadline <= now && !job.slot.is_canceled() { job.timeout() } else { job.canceled() };
        // For work that is still running and asks its token.
        job.slot.cancel();
        self.end(Err(error), None);
    }

    /// Tells everyone. The job has been counted before: whoever has the answer finds it in the statistics.
    fn settle(&mut self, outcome: Outcome<C>, run: Option<(Timestamp, Duration)>) {
        let Some(job) = self.shared.take() else { return };
        if let Some(callback) = self.callback.take() {
            let completion = Completion {
                id: &job.id,
                key: &job.lane.key,
                result: outcome.as_ref(),
                submitted_at: job.submitted,
                started_at: run.map(|(started, _)| started),
                ran: run.map_or(Duration::ZERO, |(_, ran)| ran),
            };
            let pool = &job.lane.pool;
            // Whatever thread it runs on: while it runs, that thread cannot wait for this job to end.
            pool.enroll_thread();
            let called = contain(|| callback(&completion));
            pool.dismiss_thread();
            if let Err(message) = called {
                tracing::error!(job = %job.id, %message, "a completion callback panicked");
            }
        }
        let results = &job.lane.pool.results;
        if results.has_listeners() {
            let missed = results.send(&JobResult::new(&job, &outcome, run));
            if missed > 0 {
                tracing::debug!(key = %job.lane.key, job = %job.id, missed, "a full results channel dropped a result");
            }
        }
        job.slot.answer(outcome.map_err(Box::new));
        job.lane.pool.gate.leave();
    }
}

impl<C: Capability> Drop for Reply<C> {
    fn drop(&mut self) {
        if let Some(job) = &self.shared {
            let error = Err(PoolError::WorkerLost { key: job.lane.key.clone(), job: job.id.clone() });
            job.lane.count(job, &error, None);
            self.settle(error, None);
        }
    }
}

impl<C: Capability> fmt::Debug for Reply<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({:?})", self.shared.as_ref().map(|job| &job.id))
    }
}
