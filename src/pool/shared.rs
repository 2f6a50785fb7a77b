//! What everything in one pool refers to: its configuration, clock, budget, and the way to its supervisor.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::thread::ThreadId;

use crossbeam_channel::Sender;
use dashmap::DashMap;
use parking_lot::Mutex;

use super::broadcast::Broadcast;
use super::config::PoolConfig;
use super::events::{EventLog, What};
use super::gate::Gate;
use super::handle::WorkerHandle;
use super::lanes::LaneId;
use super::reply::JobResult;
use super::session::SessionStore;
use super::supervisor::Command;
use crate::clock::{Clock, Timestamp};
use crate::id::{RegistryKey, WorkerId};
use crate::memory::MemoryBudget;

pub(crate) struct Shared {
    pub(crate) capability: &'static str,
    pub(crate) config: PoolConfig,
    pub(crate) clock: Clock,
    pub(crate) budget: MemoryBudget,
    pub(crate) gate: Gate,
    pub(crate) events: EventLog,
    pub(crate) results: Broadcast<JobResult>,
    pub(crate) sessions: SessionStore,
    /// Every worker on a roster, by its number. Written by the supervisor alone, together with the rosters.
    pub(crate) workers: DashMap<WorkerId, WorkerHandle, foldhash::fast::RandomState>,
    pub(crate) commands: Sender<Command>,
    /// The moment at which the supervisor will next look for overdue work by itself.
    alarm: AtomicU64,
    phase: AtomicU8,
    next_worker: AtomicU64,
    next_lane: AtomicU64,
    /// The pool's own threads, and those in a callback: one of them must not join them all.
    threads: Mutex<Vec<ThreadId>>,
}

/// Where a pool is in its life; only ever advances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PoolPhase {
    Running,
    ShuttingDown,
    Stopped,
}

impl Shared {
    pub(crate) fn new(
        capability: &'static str,
        config: PoolConfig,
        clock: Clock,
        budget: MemoryBudget,
        commands: Sender<Command>,
    ) -> Self {
        let sessions = SessionStore::new(clock.clone(), config.session_timeout);
        Self {
            capability,
            config,
            clock,
            budget,
            gate: Gate::default(),
            events: EventLog::default(),
            results: Broadcast::default(),
            sessions,
            workers: DashMap::default(),
            commands,
            alarm: AtomicU64::new(u64::MAX),
            phase: AtomicU8::new(PoolPhase::Running as u8),
            next_worker: AtomicU64::new(1),
            next_lane: AtomicU64::new(1),
            threads: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn phase(&self) -> PoolPhase {
        match self.phase.load(Ordering::Acquire) {
            0 => PoolPhase::Running,
            1 => PoolPhase::ShuttingDown,
            _ => PoolPhase::Stopped,
        }
    }

    pub(crate) fn advance(&self, to: PoolPhase) {
        self.phase.fetch_max(to as u8, Ordering::AcqRel);
    }

    /// Whether nobody serves any more: whatever turns up now is to be ended by whoever has it.
    pub(crate) fn is_over(&self) -> bool {
        self.phase() == PoolPhase::Stopped
    }

    pub(crate) fn next_worker(&self) -> WorkerId {
        WorkerId(self.next_worker.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn next_lane(&self) -> LaneId {
        LaneId(self.next_lane.fetch_add(1, Ordering::Relaxed))
    }

    /// Makes sure that the supervisor looks for overdue work at `at` or before.
    ///
    /// Requests come in the order of their deadlines, mostly, so that while one alarm is set the many that
    /// follow pay for one load here and nothing else.
    #[inline]
    pub(crate) fn look_by(&self, at: Timestamp) {
        if at.0 < self.alarm.load(Ordering::SeqCst) && at.0 < self.alarm.fetch_min(at.0, Ordering::SeqCst) {
            self.tell(Command::Look);
        }
    }

    /// Takes the alarm down, to look now. Sequentially consistent with `look_by`: of one who looks and one
    /// who puts a job where the look has passed already, one notices the other.
    pub(crate) fn take_alarm(&self) {
        self.alarm.swap(u64::MAX, Ordering::SeqCst);
    }

    pub(crate) fn alarm(&self) -> Timestamp {
        Timestamp(self.alarm.load(Ordering::Acquire))
    }

    /// A message to the supervisor; lost only when that has ended, and with it every duty it had.
    pub(crate) fn tell(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    pub(crate) fn emit(&self, key: &RegistryKey, what: What) {
        self.events.emit(self.clock.now(), key, what);
    }

    pub(crate) fn enroll_thread(&self) {
        self.threads.lock().push(std::thread::current().id());
    }

    pub(crate) fn dismiss_thread(&self) {
        let id = std::thread::current().id();
        let mut threads = self.threads.lock();
        // One entry: a callback on one of the pool's own threads enrolls it once more.
        if let Some(index) = threads.iter().rposition(|thread| *thread == id) {
            threads.swap_remove(index);
        }
    }

    /// Whether the calling thread is one of the pool's own.
    pub(crate) fn is_own_thread(&self) -> bool {
        self.threads.lock().contains(&std::thread::current().id())
    }
}
