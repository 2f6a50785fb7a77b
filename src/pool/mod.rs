#![doc = include_str!("README.md")]

mod background;
mod batch;
mod breaker;
mod broadcast;
mod builder;
mod config;
mod control;
mod dispatch;
mod error;
mod events;
mod evict;
mod gate;
mod group;
mod handle;
mod job;
mod key_config;
mod lane;
mod lanes;
mod load;
mod loader;
mod moves;
mod options;
#[cfg(all(test, loom))]
mod proofs;
#[cfg(all(test, not(loom)))]
mod properties;
mod queue;
mod rate_limit;
mod registration;
mod reply;
mod report;
mod retry;
mod roster;
mod scale;
mod session;
mod settings;
mod shared;
mod shutdown;
mod slot;
mod spin;
mod state;
mod stats;
mod supervisor;
mod thread;
mod ticket;
mod worker;

pub use builder::PoolBuilder;
pub use config::{ConfigError, PoolConfig, QueueOrder, WhenBusy};
pub use error::{NoWorkers, PoolError, SpawnError, SubmitError};
pub use events::{EvictReason, PoolEvent, SpawnReason, What};
pub use group::Group;
pub use handle::WorkerHandle;
pub use key_config::KeyConfig;
pub use loader::{BuildWith, LoadError, Loader};
pub use options::SubmitOptions;
pub use rate_limit::{RateLimit, RateLimiterStatus};
pub use registration::RegisterError;
pub use reply::{Completion, JobResult};
pub use retry::Retry;
pub use session::SessionStore;
pub use shutdown::ShutdownError;
pub use state::WorkerState;
pub use stats::{KeyStatus, PoolKind, PoolMetrics, PoolStatus, Unroutable, WorkerStatus};
pub use ticket::{Events, Ticket};

use std::fmt;
use std::sync::Arc;

use self::job::Job;
use self::lane::{Lane, Route};
use self::queue::Order;
use self::reply::{JobShared, Reply};
use self::shared::PoolPhase;
use self::shutdown::Owner;
use self::slot::ReplySlot;
use self::state::weighed;
use crate::capability::Capability;
use crate::id::JobId;

/// A pool of workers for one capability: any number of models, each under its registry key.
///
/// Clones are the same pool. When the last is dropped, the pool finishes what it has, for at most
/// [`PoolConfig::shutdown_timeout`], and joins its threads.
pub struct Pool<C: Capability> {
    owner: Arc<Owner<C>>,
}

impl<C: Capability> Pool<C> {
    /// Submits a request under the pool's defaults.
    ///
    /// Never blocks: the request goes to the least busy worker that has room, or waits in the key's queue
    /// (which may start workers), or comes back in the error.
    pub fn submit(&self, key: impl AsRef<str>, request: C::Request) -> Result<Ticket<C>, SubmitError<C>> {
        self.submit_with(key, request, SubmitOptions::new())
    }

    /// Submits a request with options of its own.
    pub fn submit_with(
        &self,
        key: impl AsRef<str>,
        request: C::Request,
        options: SubmitOptions<C>,
    ) -> Result<Ticket<C>, SubmitError<C>> {
        let route = options.worker.map_or(Route::Anywhere, Route::To);
        self.enter(key.as_ref(), request, options, route)
    }

    /// Submits a request only if a worker can take it this moment: it neither waits in a queue nor makes a
    /// model load.
    pub fn try_submit(&self, key: impl AsRef<str>, request: C::Request) -> Result<Ticket<C>, SubmitError<C>> {
        self.enter(key.as_ref(), request, SubmitOptions::new(), Route::NowOrNever)
    }

    /// Submits a request and blocks for its answer.
    pub fn submit_wait(&self, key: impl AsRef<str>, request: C::Request) -> Result<C::Output, PoolError> {
        self.submit(key, request)?.wait()
    }

    /// Submits many requests; the results are in their order, and one that is refused stops no other.
    pub fn submit_batch(
        &self,
        key: impl AsRef<str>,
        requests: impl IntoIterator<Item = C::Request>,
    ) -> Vec<Result<Ticket<C>, SubmitError<C>>> {
        self.submit_batch_with(key, requests, |_| SubmitOptions::new())
    }

    /// Submits many requests, each with the options that `options` makes for its index.
    pub fn submit_batch_with(
        &self,
        key: impl AsRef<str>,
        requests: impl IntoIterator<Item = C::Request>,
        options: impl Fn(usize) -> SubmitOptions<C>,
    ) -> Vec<Result<Ticket<C>, SubmitError<C>>> {
        let key = key.as_ref();
        let requests = requests.into_iter().enumerate();
        requests.map(|(index, request)| self.submit_with(key, request, options(index))).collect()
    }

    /// A group of requests whose first error wins.
    pub fn group(&self) -> Group<C> {
        Group::new(self.clone())
    }

    fn enter(
        &self,
        key: &str,
        request: C::Request,
        options: SubmitOptions<C>,
        route: Route,
    ) -> Result<Ticket<C>, SubmitError<C>> {
        let Some(lane) = self.owner.lanes.get(key) else {
            let error = PoolError::NoWorkers { key: key.into(), reason: NoWorkers::Unregistered };
            return Err(SubmitError { error, request });
        };
        if lane.pool.phase() != PoolPhase::Running {
            let error = PoolError::ShuttingDown { key: lane.key.clone() };
            return Err(refuse(&lane, error, request));
        }
        if let Err(source) = lane.loader.validate(&request) {
            let error = PoolError::InvalidRequest { key: lane.key.clone(), source };
            return Err(refuse(&lane, error, request));
        }
        if lane.is_retired() && self.owner.lanes.get(key).is_some_and(|present| present.id != lane.id) {
            // The key was registered anew meanwhile: the request is for what is there now.
            return self.enter(key, request, options, route);
        }
        let (job, shared) = new_job(lane, request, options);
        let lane = &shared.lane;
        if let Err((job, error)) = lane.accept(job, route) {
            job.reply.forget();
            lane.pool.gate.turn_away();
            return Err(refuse(lane, error, job.request));
        }
        lane.pool.look_by(shared.deadline);
        Ok(Ticket::new(shared))
    }
}

/// Counts a request in and makes a job of it.
fn new_job<C: Capability>(
    lane: Arc<Lane<C>>,
    request: C::Request,
    options: SubmitOptions<C>,
) -> (Job<C>, Arc<JobShared<C>>) {
    let SubmitOptions { id, priority, timeout, retry, session, worker: _, callback } = options;
    let config = &lane.pool.config;
    let cost = weighed(lane.loader.cost(&request));
    let submitted = lane.pool.clock.now();
    let deadline = submitted.saturating_add(timeout.unwrap_or_else(|| lane.settings.request_timeout()));
    let number = lane.pool.gate.enter();
    let order = Order::new(submitted, priority, config.ageing_step(), number);
    let retry = retry.unwrap_or(config.retry);
    let id = JobId { number, name: id };
    let slot = ReplySlot::new();
    let shared = Arc::new(JobShared { slot, lane, id, submitted, deadline, order, cost, retry, session });
    let reply = Reply::new(shared.clone(), callback);
    (Job { request, reply, attempt: 1 }, shared)
}

fn refuse<C: Capability>(lane: &Lane<C>, error: PoolError, request: C::Request) -> SubmitError<C> {
    lane.counters.rejected.increment();
    lane.pool.events.rejected(lane.pool.clock.now(), &lane.key, error.code());
    SubmitError { error, request }
}

impl<C: Capability> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Self { owner: self.owner.clone() }
    }
}

impl<C: Capability> fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("capability", &C::NAME)
            .field("keys", &self.owner.lanes.len())
            .finish_non_exhaustive()
    }
}
