//! The maintenance thread: the one that spawns, joins, restarts and evicts workers.
//!
//! It alone changes rosters, owns the rate limiters and the circuit breakers of keys, and knows the threads.
//! Everybody else tells it things; what it does about them, it decides from a snapshot through the pure
//! functions of [`scale`](super::scale) and [`evict`](super::evict). It never runs a model, so nothing it
//! does takes long.

mod memory;
mod retire;
mod spawning;
mod sweep;
mod watch;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, after, bounded, never, select};

use self::watch::Watch;
use super::error::{PoolError, SpawnError};
use super::events::{EvictReason, What};
use super::handle::Seat;
use super::lanes::{LaneId, Lanes};
use super::load::SharedLoad;
use super::shared::Shared;
use crate::capability::Capability;
use crate::clock::Timestamp;
use crate::contain::contain;
use crate::id::{RegistryKey, WorkerId};

pub(crate) use self::memory::Holdings;

/// What the supervisor is told.
pub(crate) enum Command {
    /// Something may be overdue: look.
    Look,
    /// Work waits in a lane's queue, or its settings have changed.
    Demand(LaneId),
    /// A lane's key was taken off.
    Retire(LaneId),
    /// A worker serves.
    Ready { lane: LaneId, worker: WorkerId },
    /// A worker's thread is about to end.
    Exited { lane: LaneId, worker: WorkerId, exit: Exit, weights: Option<Arc<SharedLoad>> },
    /// Load a key; answered when a worker serves or none can.
    Preload { lane: LaneId, done: Sender<Result<(), PoolError>> },
    /// Let all of a key's workers go; answered when they and their memory are gone.
    Unload { lane: LaneId, done: Sender<()> },
    /// Keep so many workers; answered when that is decided, not when it is done.
    Resize { lane: LaneId, workers: usize, done: Sender<()> },
    /// Do what the time makes due; answered when done. For tests and for operators who will not wait.
    Maintain { done: Sender<()> },
    /// Let every worker go and end. Threads that have not ended by `until` are left behind.
    Stop { until: Instant },
}

/// Why a worker ended.
#[derive(Debug)]
pub(crate) enum Exit {
    /// It was told to.
    Drained,
    /// It never served.
    FailedToStart(SpawnError),
    /// Its model panicked.
    Crashed(Arc<str>),
    /// It was told to go, and its model panicked on the way.
    CrashedLeaving(Arc<str>),
}

/// How often memory is looked at while something is loaded.
const MEMORY_INTERVAL: Duration = Duration::from_secs(1);

pub(crate) struct Supervisor<C: Capability> {
    shared: Arc<Shared>,
    lanes: Arc<Lanes<C>>,
    inbox: Receiver<Command>,
    /// Rings when anyone gives memory back.
    freed: Receiver<()>,
    /// What only the supervisor knows of a lane, from its first demand on.
    watches: HashMap<LaneId, Watch<C>>,
    rng: fastrand::Rng,
    next_maintenance: Timestamp,
    next_health: Timestamp,
    next_memory: Timestamp,
    stop_until: Option<Instant>,
    maintained: Vec<Sender<()>>,
}

impl<C: Capability> Supervisor<C> {
    pub(crate) fn new(shared: Arc<Shared>, lanes: Arc<Lanes<C>>, inbox: Receiver<Command>) -> Self {
        let (ring, freed) = bounded(1);
        shared.budget.on_release(ring);
        let now = shared.clock.now();
        Self {
            next_maintenance: now.saturating_add(shared.config.maintenance_interval),
            next_health: now.saturating_add(shared.config.health_interval),
            next_memory: now.saturating_add(MEMORY_INTERVAL),
            shared,
            lanes,
            inbox,
            freed,
            watches: HashMap::new(),
            rng: fastrand::Rng::new(),
            stop_until: None,
            maintained: Vec::new(),
        }
    }

    /// Attends to everything until told to stop and nothing is left to attend to. Returns how many threads
    /// had to be left behind.
    pub(crate) fn run(mut self) -> usize {
        self.shared.enroll_thread();
        loop {
            self.contained(Self::turn);
            let Some(until) = self.stop_until else { continue };
            let threads = self.watches.values().map(Watch::threads).sum();
            if threads == 0 || Instant::now() >= until {
                return threads;
            }
        }
    }

    /// Waits until something is to be done, and does it.
    /// The one who watches over panics may panic too, and must go on: the pool depends on it.
    fn contained(&mut self, act: impl FnOnce(&mut Self)) {
        if let Err(message) = contain(|| act(self)) {
            let message = message.to_string();
            self.shared.emit(&RegistryKey::from(""), What::SupervisorPanicked { message });
        }
    }

    fn turn(&mut self) {
        let timer = self.shared.clock.timer(self.next_due());
        let stop = self
            .stop_until
            .map_or_else(never, |until| after(until.saturating_duration_since(Instant::now())));
        let mut commands = Vec::new();
        let mut freed = false;
        select! {
            recv(self.inbox) -> command => commands.extend(command),
            recv(self.freed) -> _ => freed = true,
            recv(timer.rings) -> _ => {}
            recv(stop) -> _ => {}
        }
        commands.extend(self.inbox.try_iter().take(256));
        // Each by itself: one that panics must not take the others along.
        for command in commands {
            self.contained(|this| this.obey(command));
        }
        self.attend(freed);
        self.see_off_retired();
        for done in self.maintained.drain(..) {
            let _ = done.send(());
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Look => {}
            Command::Demand(lane) => self.with_watch(lane, |this, watch| {
                watch.lane.demand_heard();
                watch.lane.flush_unless_limited();
                this.scale(watch);
            }),
            Command::Retire(lane) => self.with_watch(lane, Self::scale),
            Command::Ready { lane, worker } => {
                self.with_watch(lane, |this, watch| this.ready(watch, worker));
            }
            Command::Exited { lane, worker, exit, weights } => {
                self.with_watch(lane, |this, watch| this.exited(watch, worker, exit, weights));
            }
            Command::Preload { lane, done } => self.with_watch(lane, |this, watch| {
                watch.preloads.push(done);
                this.scale(watch);
            }),
            Command::Unload { lane, done } => {
                self.with_watch(lane, |_, watch| Self::unload(watch, done));
            }
            Command::Resize { lane, workers, done } => self.with_watch(lane, |this, watch| {
                watch.target = Some(workers);
                this.scale(watch);
                let _ = done.send(());
            }),
            Command::Maintain { done } => {
                self.next_maintenance = Timestamp::default();
                self.next_health = Timestamp::default();
                self.next_memory = Timestamp::default();
                self.maintained.push(done);
            }
            Command::Stop { until } => {
                self.stop_until = Some(until);
                for watch in self.watches.values_mut() {
                    watch.abandon_plans();
                    watch.lane.roster.read().iter().for_each(|seat| _ = seat.drain());
                }
            }
        }
    }

    /// Does what the time or freed memory makes due.
    fn attend(&mut self, memory_freed: bool) {
        let now = self.shared.clock.now();
        if self.shared.alarm() <= now {
            self.contained(|this| this.sweep_overdue(now));
        }
        let due = |(id, watch): (&LaneId, &Watch<C>)| watch.is_due(now, memory_freed).then_some(*id);
        for id in self.watches.iter().filter_map(due).collect::<Vec<_>>() {
            self.contained(|this| this.with_watch(id, Supervisor::scale));
        }
        if self.next_memory <= now {
            self.next_memory = now.saturating_add(MEMORY_INTERVAL);
            self.shared.budget.refresh();
            self.contained(Self::fit_shrunken_budget);
        }
        if self.next_health <= now {
            self.next_health = now.saturating_add(self.shared.config.health_interval);
            self.contained(|this| this.check_health(now));
        }
        if self.next_maintenance <= now {
            self.next_maintenance = now.saturating_add(self.shared.config.maintenance_interval);
            self.contained(|this| this.shared.sessions.forget_expired());
            for id in self.watches.keys().copied().collect::<Vec<_>>() {
                self.contained(|this| this.with_watch(id, Supervisor::scale));
            }
            self.watches.retain(|_, watch| !watch.is_forgettable());
        }
    }

    /// When to wake without being told. With nothing loaded and nothing planned: never, unless a key that was taken off
    /// is still referred to. Who lets go of it last says so to nobody, and is noticed by the next maintenance.
    fn next_due(&self) -> Timestamp {
        let watches = self.watches.values().map(Watch::next_look).min().unwrap_or(Timestamp::NEVER);
        let mut due = self.shared.alarm().min(watches);
        if self.watches.values().any(|watch| watch.threads() > 0) {
            due = due.min(self.next_maintenance).min(self.next_health).min(self.next_memory);
        } else if self.watches.values().any(|watch| watch.lane.is_retired()) {
            due = due.min(self.next_maintenance);
        }
        due
    }

    /// Runs `act` on what is known of a lane. The watch is out of the map meanwhile, so that `act` may use
    /// the supervisor too; a panic in `act` loses no watch.
    fn with_watch(&mut self, id: LaneId, act: impl FnOnce(&mut Self, &mut Watch<C>)) {
        let known = self.watches.remove(&id);
        let Some(mut watch) = known.or_else(|| {
            let lane = self.lanes.find(id)?;
            Some(Watch::new(lane))
        }) else {
            return;
        };
        let acted = catch_unwind(AssertUnwindSafe(|| act(self, &mut watch)));
        self.watches.insert(id, watch);
        if let Err(panic) = acted {
            std::panic::resume_unwind(panic);
        }
    }

    fn unload(watch: &mut Watch<C>, done: Sender<()>) {
        watch.target = None;
        watch.abandon_plans();
        let lane = watch.lane.clone();
        for seat in lane.seats() {
            lane.let_go(&seat, EvictReason::Unload, Seat::drain);
        }
        watch.wait_for_unload(done);
    }

    fn is_stopping(&self) -> bool {
        self.stop_until.is_some()
    }
}
