//! Workers come and go.

use std::sync::Arc;
use std::time::Duration;

use super::watch::{Watch, WorkerThread};
use super::{Exit, Supervisor};
use crate::capability::Capability;
use crate::clock::Timestamp;
use crate::contain::{contain, describe};
use crate::id::WorkerId;
use crate::memory::{Footprint, OverBudget, Reservation};
use crate::pool::breaker::Circuit;
use crate::pool::error::{PoolError, SpawnError};
use crate::pool::events::{EvictReason, SpawnReason, What};
use crate::pool::handle::{Seat, WorkerHandle};
use crate::pool::load::SharedLoad;
use crate::pool::retry::Backoff;
use crate::pool::scale::{self, Decision};
use crate::pool::state::WorkerState;
use crate::pool::thread;

/// Why a worker was not started.
enum Refusal {
    Memory(OverBudget),
    Spawn(SpawnError),
}

/// How soon a key with waiting work is looked at again, at the earliest and at the latest.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

impl<C: Capability> Supervisor<C> {
    /// Brings the number of workers to what it should be, and hands out what a rate limit allows.
    pub(super) fn scale(&mut self, watch: &mut Watch<C>) {
        let now = self.shared.clock.now();
        watch.due = Timestamp::NEVER;
        if self.is_stopping() {
            let error = PoolError::ShuttingDown { key: watch.lane.key.clone() };
            watch.answer_preloads(&Err(error));
            return;
        }
        watch.keep_limit();
        Self::hand_out_limited(watch);
        self.restart_due(watch, now);
        self.time_out_starts(watch, now);
        if watch.count(&[WorkerState::Ready, WorkerState::Busy]) > 0 {
            watch.answer_preloads(&Ok(()));
        }
        let demand = watch.demand(now);
        if demand.queued == 0 && !demand.wanted {
            // Nobody waits for memory any more; whoever comes next has not waited yet.
            watch.short_of_memory = None;
        }
        let bounds = watch.bounds();
        let goes = scale::next_idle(&demand, &bounds);
        watch.idle_due = goes.map_or(Timestamp::NEVER, |after| now.saturating_add(after));
        match scale::decide(&demand, &bounds) {
            Decision::Hold => {}
            Decision::Spawn { count, reason } => {
                if Self::may_start(watch, now) {
                    self.spawn(watch, count, reason);
                }
            }
            Decision::Drain { count, reason } => Self::drain(watch, count, reason),
        }
        if demand.queued > 0 && watch.alive() < bounds.max {
            watch.due_by(now.saturating_add(watch.spawn_time.clamp(LOOK_AGAIN.0, LOOK_AGAIN.1)));
        }
        watch.restarts.clone().into_iter().for_each(|at| watch.due_by(at));
    }

    /// Whether the key's circuits let a worker start. An open circuit fails what waits.
    fn may_start(watch: &mut Watch<C>, now: Timestamp) -> bool {
        let mut rests = Duration::ZERO;
        for breaker in [&mut watch.starts, &mut watch.crashes] {
            if let Circuit::Open { until } = breaker.state()
                && !breaker.try_probe(now)
            {
                rests = rests.max(until.since(now));
            }
        }
        if rests.is_zero() {
            return true;
        }
        let failures = watch.starts.failures().max(watch.crashes.failures());
        let error = PoolError::CircuitOpen { key: watch.lane.key.clone(), failures, retry_after: rests };
        watch.answer_preloads(&Err(error.clone()));
        if watch.alive() == 0 {
            watch.lane.fail_queue(&error);
        }
        false
    }

    fn spawn(&mut self, watch: &mut Watch<C>, count: usize, reason: SpawnReason) {
        let mut load: Option<Arc<SharedLoad>> = None;
        for _ in 0..count {
            // Those that start together share one load, also when it fails before the last has started.
            if load.as_ref().is_some_and(|load| !load.is_usable()) {
                return;
            }
            match self.start_one(watch, reason, load.as_ref()) {
                Ok(shared) => {
                    watch.short_of_memory = None;
                    load = Some(shared);
                }
                Err(Refusal::Memory(over)) => {
                    self.emit_refusal(watch, &over);
                    // With fewer workers than wished for the key still serves; with none it does not.
                    if watch.alive() == 0 {
                        self.seek_memory(watch, over);
                    }
                    return;
                }
                Err(Refusal::Spawn(error)) => return self.start_failed(watch, None, error),
            }
        }
    }

    fn emit_refusal(&self, watch: &Watch<C>, over: &OverBudget) {
        if watch.short_of_memory.as_ref().is_none_or(|(_, known)| known != over) {
            let OverBudget { need, free, limit, .. } = *over;
            self.shared.emit(&watch.lane.key, What::SpawnRefused { need, free, limit });
        }
    }

    /// Reserves what a worker needs and starts its thread.
    fn start_one(
        &mut self,
        watch: &mut Watch<C>,
        reason: SpawnReason,
        shared: Option<&Arc<SharedLoad>>,
    ) -> Result<Arc<SharedLoad>, Refusal> {
        let (load, reservation) = self.reserve(watch, shared)?;
        let lane = watch.lane.clone();
        let id = self.shared.next_worker();
        let name = format!("{}-{}", C::NAME, id.0);
        let handle = WorkerHandle::new(id, name, self.shared.clock.clone());
        let reserved = reservation.bytes();
        let seat = Arc::new(Seat::new(handle, reservation));
        *lane.load.lock() = Arc::downgrade(&load);
        *lane.account.lock() = Arc::downgrade(load.account());
        lane.enlist(seat.clone());
        match thread::start(lane.clone(), seat.clone(), load.clone()) {
            Ok(join) => watch.threads.push(WorkerThread { seat, join }),
            Err(error) => {
                lane.dismiss(id);
                return Err(Refusal::Spawn(SpawnError::Thread(error.to_string().into())));
            }
        }
        lane.counters.spawned.increment();
        self.shared.emit(&lane.key, What::Spawned { worker: id, reason, reserved });
        let timeout = self.shared.clock.now().saturating_add(self.shared.config.start_timeout);
        self.shared.look_by(timeout);
        Ok(load)
    }

    /// The worker's own memory, and the weights': shared with its siblings, or a new load's.
    fn reserve(
        &mut self,
        watch: &mut Watch<C>,
        shared: Option<&Arc<SharedLoad>>,
    ) -> Result<(Arc<SharedLoad>, Reservation), Refusal> {
        let (budget, lane) = (&self.shared.budget, &watch.lane);
        budget.refresh();
        let label = |what: &str| format!("{}/{} {what}", C::NAME, lane.key);
        if let Some(load) = shared.cloned().or_else(|| watch.usable_load()) {
            let reservation =
                budget.try_reserve(label("worker"), watch.footprint.per_worker).map_err(Refusal::Memory)?;
            return Ok((load, reservation));
        }
        let predicted = contain(|| lane.loader.footprint())
            .map_err(|message| Refusal::Spawn(SpawnError::Panicked(message)))?
            .map_err(|error| Refusal::Spawn(SpawnError::Load(error)))?;
        let weights = watch.learnt.map_or(predicted.weights, |learnt| learnt.max(predicted.weights));
        watch.footprint = Footprint { weights, ..predicted };
        // In one decision: of two that want the last bytes, neither may end up with half of what it needs.
        let need = watch.footprint.with_workers(1);
        let mut weights = budget.try_reserve(label("weights"), need).map_err(Refusal::Memory)?;
        let reservation = weights.split(label("worker"), predicted.per_worker);
        Ok((Arc::new(SharedLoad::new(weights)), reservation))
    }

    /// A worker serves: whoever waited for it may go on.
    pub(super) fn ready(&mut self, watch: &mut Watch<C>, worker: WorkerId) {
        watch.starts.succeed();
        watch.kept = None;
        if let Some(thread) = watch.threads.iter().find(|thread| thread.seat.handle.worker_id() == worker) {
            let handle = &thread.seat.handle;
            let took = handle.ready_at().map_or(Duration::ZERO, |ready| ready.since(handle.spawned_at()));
            watch.spawn_time = took;
            self.shared.emit(&watch.lane.key, What::Ready { worker, took });
        }
        watch.answer_preloads(&Ok(()));
        self.scale(watch);
    }

    /// A worker's thread ends: it is joined, and what comes of it is decided by why it ended.
    pub(super) fn exited(
        &mut self,
        watch: &mut Watch<C>,
        worker: WorkerId,
        exit: Exit,
        weights: Option<Arc<SharedLoad>>,
    ) {
        let lane = watch.lane.clone();
        let same = |seat: &Seat<C>| seat.handle.worker_id() == worker;
        lane.dismiss(worker);
        if let Some(index) = watch.threads.iter().position(|thread| same(&thread.seat)) {
            let thread = watch.threads.swap_remove(index);
            // It has nothing left to do but return.
            let _ = thread.join.join();
            thread.seat.handle.cell().stop();
            // Whoever charged it last may have sent after its own rescue.
            lane.rescue(&thread.seat);
        }
        self.shared.emit(&lane.key, What::Stopped { worker });
        let unloading = watch.is_unloading(worker);
        match exit {
            Exit::Drained => {}
            Exit::FailedToStart(error) => self.start_failed(watch, Some(worker), error),
            Exit::Crashed(message) if !unloading => self.crashed(watch, worker, &message, weights),
            Exit::Crashed(message) | Exit::CrashedLeaving(message) => {
                drop(weights);
                let message = message.to_string();
                self.shared.emit(&lane.key, What::CrashedLeaving { worker, message });
            }
        }
        watch.answer_unloads();
        if lane.queued() > 0
            || !watch.preloads.is_empty()
            || !watch.restarts.is_empty()
            || watch.bounds().min > 0
        {
            self.scale(watch);
        }
    }

    /// A worker could not start. What waits fails with it, unless others serve.
    fn start_failed(&mut self, watch: &mut Watch<C>, worker: Option<WorkerId>, error: SpawnError) {
        let lane = watch.lane.clone();
        if let SpawnError::TooLarge(over) = &error {
            // Now it is known how large it is: once more, with that much reserved beforehand. All workers of
            // one load bring the same lesson, which is learnt once.
            if watch.learnt.is_none_or(|learnt| over.need <= learnt) {
                watch.learnt = watch.learnt.max(Some(over.need));
                return;
            }
        }
        self.shared.emit(&lane.key, What::SpawnFailed { worker, error: describe(&error) });
        let now = self.shared.clock.now();
        let open = watch.starts.fail(now);
        // What waited hears why before it is told that the circuit is open.
        if watch.alive() == 0 {
            let error = PoolError::SpawnFailed { key: lane.key.clone(), source: error };
            lane.fail_queue(&error);
            watch.answer_preloads(&Err(error));
        }
        if open {
            self.open_circuit(watch, now);
        }
        if watch.bounds().min > 0 && watch.restarts.is_empty() {
            let pause = Backoff::RESTART.pause(watch.starts.failures() + 1, self.rng.f64());
            watch.restarts.push(now.saturating_add(pause));
            watch.due_by(now.saturating_add(pause));
        }
    }

    /// A worker's model panicked: it is replaced, the sooner the rarer that happens.
    fn crashed(
        &mut self,
        watch: &mut Watch<C>,
        worker: WorkerId,
        message: &str,
        weights: Option<Arc<SharedLoad>>,
    ) {
        let (lane, now) = (watch.lane.clone(), self.shared.clock.now());
        let completed = lane.served().completed.get();
        if completed > watch.completed_at_crash {
            watch.crashes.succeed();
        }
        watch.completed_at_crash = completed;
        let open = watch.crashes.fail(now);
        let restart_in = Backoff::RESTART.pause(watch.crashes.failures(), self.rng.f64());
        self.shared.emit(&lane.key, What::Crashed { worker, message: message.to_owned(), restart_in });
        if open {
            self.open_circuit(watch, now);
        } else if !self.is_stopping() {
            watch.kept = weights;
            watch.restarts.push(now.saturating_add(restart_in));
        }
    }

    fn open_circuit(&mut self, watch: &mut Watch<C>, now: Timestamp) {
        let failures = watch.starts.failures().max(watch.crashes.failures());
        let until =
            [watch.starts.state(), watch.crashes.state()].into_iter().filter_map(|circuit| match circuit {
                Circuit::Open { until } => Some(until),
                Circuit::Closed | Circuit::HalfOpen => None,
            });
        let Some(until) = until.max() else { return };
        let rests = until.since(now);
        watch.restarts.clear();
        watch.kept = None;
        watch.lane.open_circuit(until, failures);
        self.shared.emit(&watch.lane.key, What::CircuitOpened { worker: None, failures, rests });
        let error = PoolError::CircuitOpen { key: watch.lane.key.clone(), failures, retry_after: rests };
        if watch.alive() == 0 {
            watch.lane.fail_queue(&error);
        }
    }

    fn restart_due(&mut self, watch: &mut Watch<C>, now: Timestamp) {
        let due = watch.restarts.iter().filter(|at| **at <= now).count();
        watch.restarts.retain(|at| *at > now);
        for _ in 0..due {
            watch.lane.counters.restarted.increment();
            self.spawn(watch, 1, SpawnReason::Restart);
        }
    }

    /// Gives up on workers that have been starting for too long. Their threads cannot be stopped; should one
    /// come back, it finds that it failed and ends.
    fn time_out_starts(&mut self, watch: &mut Watch<C>, now: Timestamp) {
        let limit = self.shared.config.start_timeout;
        let late = |thread: &&WorkerThread<C>| {
            let handle = &thread.seat.handle;
            handle.state() == WorkerState::Loading
                && now.since(handle.spawned_at()) >= limit
                && handle.cell().fail()
        };
        let late: Vec<WorkerId> =
            watch.threads.iter().filter(late).map(|thread| thread.seat.handle.worker_id()).collect();
        if !late.is_empty() && watch.usable_load().is_some_and(|load| load.is_loading()) {
            // It hangs, and whoever joined it would hang with it.
            *watch.lane.load.lock() = std::sync::Weak::new();
        }
        for worker in late {
            watch.lane.set_aside(worker);
            self.start_failed(watch, Some(worker), SpawnError::TimedOut(limit));
        }
    }

    /// Lets `count` workers go: the idle first, then those that started last.
    fn drain(watch: &mut Watch<C>, count: usize, reason: EvictReason) {
        let serving = |thread: &&WorkerThread<C>| thread.seat.handle.cell().serves();
        let mut leaving: Vec<_> =
            watch.threads.iter().filter(serving).map(|thread| thread.seat.clone()).collect();
        leaving.sort_by_key(|seat| {
            (std::cmp::Reverse(seat.handle.idle()), std::cmp::Reverse(seat.handle.worker_id()))
        });
        // What idled may have been handed a job since the snapshot: then it stays.
        let tell = if reason == EvictReason::Idle { Seat::try_evict } else { Seat::drain };
        for seat in leaving.into_iter().take(count) {
            watch.lane.let_go(&seat, reason, tell);
        }
    }
}
