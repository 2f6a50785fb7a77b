//! What a pool says about itself.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;

use super::Pool;
use super::config::PoolConfig;
use super::error::PoolError;
use super::events::PoolEvent;
use super::handle::{Seat, WorkerHandle};
use super::lane::Lane;
use super::reply::JobResult;
use super::session::SessionStore;
use super::shared::PoolPhase;
use super::state::WorkerState;
use super::stats::{KeyStatus, PoolKind, PoolMetrics, PoolStatus, Unroutable, WorkerStatus};
use crate::capability::Capability;
use crate::clock::Clock;
use crate::id::{ByteSize, RegistryKey, WorkerId};
use crate::memory::MemoryBudget;

impl<C: Capability> Pool<C> {
    /// How it was configured.
    pub fn config(&self) -> &PoolConfig {
        &self.owner.shared.config
    }

    /// Its clock.
    pub fn clock(&self) -> &Clock {
        &self.owner.shared.clock
    }

    /// The memory it shares.
    pub fn budget(&self) -> &MemoryBudget {
        &self.owner.shared.budget
    }

    /// Its sessions.
    pub fn sessions(&self) -> &SessionStore {
        &self.owner.shared.sessions
    }

    /// The registered keys, in no order.
    pub fn keys(&self) -> Vec<RegistryKey> {
        self.owner.lanes.keys()
    }

    /// Whether something is registered under this key.
    pub fn has_key(&self, key: impl AsRef<str>) -> bool {
        self.owner.lanes.get(key.as_ref()).is_some()
    }

    /// Whether some worker serves this key.
    pub fn has_workers(&self, key: impl AsRef<str>) -> bool {
        let serves = |lane: Arc<Lane<C>>| lane.roster.read().iter().any(|seat| seat.handle.cell().serves());
        self.lane(key.as_ref()).is_ok_and(serves)
    }

    /// A key's workers, in the order in which they were spawned.
    pub fn workers(&self, key: impl AsRef<str>) -> Result<Vec<WorkerHandle>, PoolError> {
        let lane = self.lane(key.as_ref())?;
        let roster = lane.roster.read();
        Ok(roster.iter().map(|seat| seat.handle.clone()).collect())
    }

    /// The worker of this number, of whichever key. Takes the same time however many there are.
    pub fn worker(&self, id: WorkerId) -> Option<WorkerHandle> {
        self.owner.shared.workers.get(&id).map(|handle| handle.clone())
    }

    /// What happens from now on, with reasons. The channel holds `capacity` events; what finds it full is
    /// lost to this subscriber.
    pub fn events(&self, capacity: usize) -> Receiver<PoolEvent> {
        self.owner.shared.events.subscribers.subscribe(capacity)
    }

    /// How requests end from now on. The channel holds `capacity` results; a worker never waits for it: what
    /// finds it full is lost to this subscriber.
    pub fn results(&self, capacity: usize) -> Receiver<JobResult> {
        self.owner.shared.results.subscribe(capacity)
    }

    /// The memory reserved for this pool's keys.
    pub fn reserved_memory(&self) -> ByteSize {
        self.owner.lanes.all().iter().map(|lane| memory_of(lane)).sum()
    }

    /// The totals since the pool was made.
    pub fn metrics(&self) -> PoolMetrics {
        PoolMetrics { total_requests: self.owner.shared.gate.accepted(), ..self.owner.lanes.totals() }
    }

    /// One key now.
    pub fn key_status(&self, key: impl AsRef<str>) -> Result<KeyStatus, PoolError> {
        Ok(status_of(&*self.lane(key.as_ref())?))
    }

    /// The keys that are refused or of which no worker answers, in the order of their names, and why. A key without
    /// workers is none of them: its next request loads it. So may the next request of one whose workers all died or hang,
    /// where there is memory for another. Takes less than a [`status`](Self::status): it reads circuits and states alone.
    pub fn unroutable(&self) -> Vec<(RegistryKey, Unroutable)> {
        let why = |lane: Arc<Lane<C>>| Some((lane.key.clone(), unroutable(&lane)?));
        let mut keys: Vec<_> = self.owner.lanes.present().into_iter().filter_map(why).collect();
        keys.sort_by(|(a, _), (b, _)| a.cmp(b));
        keys
    }

    /// The pool now: its totals, and every key in the order of their names.
    pub fn status(&self) -> PoolStatus {
        let shared = &self.owner.shared;
        let [present, leaving] = self.owner.lanes.present_and_leaving();
        let mut keys: Vec<KeyStatus> = present.iter().map(|lane| status_of(lane)).collect();
        keys.sort_by(|a, b| a.key.cmp(&b.key));
        let busy =
            |lane: &&Arc<Lane<C>>| lane.with_queue(|queue| queue.len()) > 0 || !lane.seats().is_empty();
        let leaving: Vec<KeyStatus> = leaving.iter().filter(busy).map(|lane| status_of(lane)).collect();
        let both = || keys.iter().chain(&leaving);
        PoolStatus {
            name: C::NAME.to_owned(),
            kind: kind_of(shared.config.rate_limit.is_some()),
            running: shared.phase() == PoolPhase::Running,
            workers: both().map(|key| key.ready).sum(),
            in_flight: both().map(|key| key.in_flight).sum(),
            queue_depth: both().map(|key| key.queue_used).sum(),
            rate_limiter: shared.config.rate_limit.map(Into::into),
            memory: both().map(|key| key.memory).sum(),
            totals: self.metrics(),
            keys,
            leaving,
        }
    }
}

fn kind_of(limited: bool) -> PoolKind {
    if limited { PoolKind::RateLimited } else { PoolKind::Workers }
}

fn unroutable<C: Capability>(lane: &Lane<C>) -> Option<Unroutable> {
    if lane.circuit_open_for().is_some() {
        return Some(Unroutable::CircuitOpen);
    }
    let seats = lane.seats();
    let dead = !seats.is_empty() && seats.iter().all(|seat| seat.handle.state() == WorkerState::Failed);
    dead.then_some(Unroutable::NoWorkerAnswers)
}

fn memory_of<C: Capability>(lane: &Lane<C>) -> ByteSize {
    let workers: ByteSize = lane.seats().iter().map(|seat| seat.reserved()).sum();
    workers.saturating_add(lane.weights_bytes())
}

/// Not one that hangs: what it still holds is answered at its deadline.
fn serves(worker: &WorkerStatus) -> bool {
    worker.state != WorkerState::Failed
}

fn status_of<C: Capability>(lane: &Lane<C>) -> KeyStatus {
    let workers: Vec<WorkerStatus> = lane.seats().iter().map(|seat| status_of_worker(seat)).collect();
    let (counters, served) = (&lane.counters, lane.served());
    let timed_out = counters.timed_out.get();
    KeyStatus {
        key: lane.key.clone(),
        kind: kind_of(lane.settings.is_limited()),
        ready: workers
            .iter()
            .filter(|worker| matches!(worker.state, WorkerState::Ready | WorkerState::Busy))
            .count(),
        in_flight: workers.iter().filter(|worker| serves(worker)).map(|worker| worker.pending).sum(),
        workers,
        queue_size: lane.settings.queue_capacity(),
        queue_used: lane.with_queue(|queue| queue.len()),
        completed: served.completed.get(),
        failed: counters.failed.get() + timed_out,
        timed_out,
        canceled: counters.canceled.get(),
        retried: counters.retried.get(),
        spawned: counters.spawned.get(),
        evicted: counters.evicted.get(),
        restarted: counters.restarted.get(),
        prompt_tokens: served.prompt_tokens.get(),
        completion_tokens: served.completion_tokens.get(),
        rejected: counters.rejected.get(),
        pinned: lane.settings.is_pinned(),
        keep_alive: Some(lane.settings.bounds().cooldown).filter(|idle| *idle != Duration::MAX),
        circuit_open_for: lane.circuit_open_for(),
        rate_limiter: lane.settings.rate_limit().map(Into::into),
        memory: memory_of(lane),
        queue_time: served.queue_time.snapshot(),
        run_time: served.run_time.snapshot(),
        first_event_time: served.first_event.snapshot(),
        between_events_time: served.between_events.snapshot(),
        load_time: counters.load_time.snapshot(),
    }
}

fn status_of_worker<C: Capability>(seat: &Seat<C>) -> WorkerStatus {
    let handle = &seat.handle;
    WorkerStatus {
        id: handle.worker_id(),
        name: handle.name().to_owned(),
        state: handle.state(),
        pending: handle.pending_requests(),
        idle: handle.idle(),
        memory: seat.reserved(),
    }
}
