//! What the supervisor alone knows of one key.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::capability::Capability;
use crate::clock::Timestamp;
use crate::id::{ByteSize, WorkerId};
use crate::memory::{Footprint, OverBudget};
use crate::pool::breaker::Breaker;
use crate::pool::error::PoolError;
use crate::pool::handle::Seat;
use crate::pool::lane::Lane;
use crate::pool::load::SharedLoad;
use crate::pool::rate_limit::{Limiter, RateLimit};
use crate::pool::scale::{Bounds, Demand};
use crate::pool::state::WorkerState;

pub(super) struct Watch<C: Capability> {
    pub(super) lane: Arc<Lane<C>>,
    pub(super) threads: Vec<WorkerThread<C>>,
    /// The number of workers asked for by hand.
    pub(super) target: Option<usize>,
    /// Callers that wait for a worker.
    pub(super) preloads: Vec<Sender<Result<(), PoolError>>>,
    unloads: Vec<(Vec<WorkerId>, Sender<()>)>,
    /// The weights, held from a crash until the replacement has them.
    pub(super) kept: Option<Arc<SharedLoad>>,
    pub(super) footprint: Footprint,
    /// What the weights were seen to take, if that was more than predicted.
    pub(super) learnt: Option<ByteSize>,
    /// When crashed workers are to be replaced.
    pub(super) restarts: Vec<Timestamp>,
    /// Counts failed starts.
    pub(super) starts: Breaker,
    /// Counts crashes without a completed request between them.
    pub(super) crashes: Breaker,
    pub(super) completed_at_crash: u64,
    pub(super) limiter: Option<Limiter>,
    /// What `limiter` was made for.
    limit: Option<RateLimit>,
    /// Since when the key waits for memory that others hold, and the refusal.
    pub(super) short_of_memory: Option<(Timestamp, OverBudget)>,
    /// How long the last worker took to start.
    pub(super) spawn_time: Duration,
    /// When to look at this key again without being told.
    pub(super) due: Timestamp,
    /// When an idle worker may have to go.
    pub(super) idle_due: Timestamp,
}

pub(super) struct WorkerThread<C: Capability> {
    pub(super) seat: Arc<Seat<C>>,
    pub(super) join: JoinHandle<()>,
}

impl<C: Capability> Watch<C> {
    pub(super) fn new(lane: Arc<Lane<C>>) -> Self {
        let config = &lane.pool.config;
        let breaker = Breaker::new(config.circuit_threshold, config.circuit_cooldown);
        Self {
            limiter: None,
            limit: None,
            threads: Vec::new(),
            target: None,
            preloads: Vec::new(),
            unloads: Vec::new(),
            kept: None,
            footprint: Footprint::default(),
            learnt: None,
            restarts: Vec::new(),
            starts: breaker,
            crashes: breaker,
            completed_at_crash: 0,
            short_of_memory: None,
            spawn_time: Duration::ZERO,
            due: Timestamp::NEVER,
            idle_due: Timestamp::NEVER,
            lane,
        }
    }

    /// Threads that have not been joined.
    pub(super) fn threads(&self) -> usize {
        self.threads.len()
    }

    pub(super) fn count(&self, states: &[WorkerState]) -> usize {
        self.threads.iter().filter(|thread| states.contains(&thread.seat.handle.state())).count()
    }

    /// Workers that serve or will.
    pub(super) fn alive(&self) -> usize {
        let alive = [WorkerState::Loading, WorkerState::Ready, WorkerState::Busy];
        self.states().iter().filter(|(state, _)| alive.contains(state)).count() + self.restarts.len()
    }

    /// Every worker and its state. Each is asked once: asked twice, one that turns from starting to serving in
    /// between would be counted in neither place, and replaced without having gone.
    ///
    /// One that failed and has not been heard of yet counts as loading. What follows is decided when it is,
    /// which is soon: until then the key is as well off as it was.
    fn states(&self) -> Vec<(WorkerState, &WorkerThread<C>)> {
        let strays = self.lane.strays.lock();
        let stray = |seat: &Arc<Seat<C>>| strays.iter().any(|other| Arc::ptr_eq(seat, other));
        let state = |thread: &WorkerThread<C>| match thread.seat.handle.state() {
            WorkerState::Failed if !stray(&thread.seat) => WorkerState::Loading,
            state => state,
        };
        self.threads.iter().map(|thread| (state(thread), thread)).collect()
    }

    pub(super) fn is_due(&self, now: Timestamp, memory_freed: bool) -> bool {
        self.next_look() <= now || (memory_freed && self.short_of_memory.is_some())
    }

    /// When to look at this key again without being told, for whichever reason.
    pub(super) fn next_look(&self) -> Timestamp {
        self.due.min(self.idle_due)
    }

    /// Makes the limiter that the key's settings ask for, if there is another.
    pub(super) fn keep_limit(&mut self) {
        let limit = self.lane.settings.rate_limit();
        if self.limit != limit {
            self.limit = limit;
            self.limiter = limit.map(|limit| Limiter::new(limit, &self.lane.pool.clock));
        }
    }

    pub(super) fn due_by(&mut self, at: Timestamp) {
        self.due = self.due.min(at);
    }

    /// Weights that a further worker can share.
    pub(super) fn usable_load(&self) -> Option<Arc<SharedLoad>> {
        self.lane.load.lock().upgrade().filter(|load| load.is_usable())
    }

    /// Forgets what was going to happen to the key: restarts and kept weights.
    pub(super) fn abandon_plans(&mut self) {
        self.restarts.clear();
        self.kept = None;
    }

    pub(super) fn wait_for_unload(&mut self, done: Sender<()>) {
        let workers = self.threads.iter().map(|thread| thread.seat.handle.worker_id()).collect();
        self.unloads.push((workers, done));
        self.answer_unloads();
    }

    /// Whether somebody waits for this worker to be gone.
    pub(super) fn is_unloading(&self, worker: WorkerId) -> bool {
        self.unloads.iter().any(|(workers, _)| workers.contains(&worker))
    }

    pub(super) fn answer_unloads(&mut self) {
        let alive: Vec<WorkerId> = self.threads.iter().map(|thread| thread.seat.handle.worker_id()).collect();
        self.unloads.retain(|(workers, done)| {
            let waiting = workers.iter().any(|worker| alive.contains(worker));
            if !waiting {
                let _ = done.send(());
            }
            waiting
        });
    }

    pub(super) fn answer_preloads(&mut self, result: &Result<(), PoolError>) {
        self.preloads.drain(..).for_each(|done| drop(done.send(result.clone())));
    }

    /// A key that was taken off keeps no worker for later.
    pub(super) fn bounds(&self) -> Bounds {
        let bounds = self.lane.settings.bounds();
        if self.lane.is_retired() { Bounds { min: 0, ..bounds } } else { bounds }
    }

    pub(super) fn demand(&self, now: Timestamp) -> Demand {
        let states = self.states();
        let count =
            |wanted: &[WorkerState]| states.iter().filter(|(state, _)| wanted.contains(state)).count();
        let serving = count(&[WorkerState::Ready, WorkerState::Busy]);
        let idle = states.iter().filter(|(state, _)| *state == WorkerState::Ready);
        let retired = self.lane.is_retired();
        let (queued, oldest) = self.lane.with_queue(|queue| (queue.ready(), queue.oldest()));
        Demand {
            starting: count(&[WorkerState::Loading]) + self.restarts.len(),
            serving,
            idle: idle.map(|(_, thread)| now.since(thread.seat.handle.last_used())).collect(),
            queued,
            oldest_wait: oldest.map_or(Duration::ZERO, |since| now.since(since)),
            expected_wait: self.expected_wait(queued, serving),
            spawn_time: self.spawn_time,
            target: self.target.filter(|_| !retired),
            wanted: !self.preloads.is_empty() && !retired,
            pinned: self.lane.settings.is_pinned() && !retired,
        }
    }

    /// How long `queued` jobs take `workers` workers at the mean run time so far.
    fn expected_wait(&self, queued: usize, workers: usize) -> Duration {
        let mean = self.lane.served().run_time.snapshot().mean();
        mean.saturating_mul(u32::try_from(queued).unwrap_or(u32::MAX))
            / u32::try_from(workers.max(1)).unwrap_or(u32::MAX)
    }

    /// Nothing would be lost by forgetting what is known: no threads, no plans, no memory of failures.
    pub(super) fn is_forgettable(&self) -> bool {
        !self.lane.is_retired()
            && self.threads.is_empty()
            && self.restarts.is_empty()
            && self.preloads.is_empty()
            && self.limiter.is_none()
            && self.target.is_none()
            && self.learnt.is_none()
            && self.short_of_memory.is_none()
            && self.starts.failures() + self.crashes.failures() == 0
            && self.lane.queued() == 0
    }
}
