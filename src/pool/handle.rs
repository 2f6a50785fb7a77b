//! One worker as others see it, and the way jobs reach it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_utils::CachePadded;

use super::dispatch::Load;
use super::job::{Admitted, Job};
use super::state::{Limits, StateCell, WorkerState};
use super::stats::Served;
use crate::capability::{Capability, Capacity};
use crate::clock::{Clock, Timestamp};
use crate::id::{ByteSize, WorkerId};
use crate::memory::Reservation;
use crate::sync::{Mutex, Receiver, Sender, unbounded};

/// A worker, as seen from outside its thread. Cheap to clone; holding one keeps nothing alive.
#[derive(Clone)]
pub struct WorkerHandle(Arc<Facts>);

struct Facts {
    id: WorkerId,
    name: String,
    /// Written from both sides with every job: on a cache line of its own.
    cell: CachePadded<StateCell>,
    limits: OnceLock<Limits>,
    clock: Clock,
    spawned: Timestamp,
    ready: OnceLock<Timestamp>,
    /// Written by the worker with every step.
    pulse: CachePadded<Pulse>,
}

/// A worker's signs of life.
struct Pulse {
    last_used: AtomicU64,
    /// When the step under way began; 0 between steps. Its standing still is what a stuck worker shows.
    step_began: AtomicU64,
}

impl WorkerHandle {
    pub(crate) fn new(id: WorkerId, name: String, clock: Clock) -> Self {
        let spawned = clock.now();
        Self(Arc::new(Facts {
            id,
            name,
            cell: CachePadded::new(StateCell::new()),
            limits: OnceLock::new(),
            clock,
            spawned,
            ready: OnceLock::new(),
            pulse: CachePadded::new(Pulse {
                last_used: AtomicU64::new(spawned.0),
                step_began: AtomicU64::new(0),
            }),
        }))
    }

    /// Its number, unique within the pool.
    pub fn worker_id(&self) -> WorkerId {
        self.0.id
    }

    /// Its thread's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What it is doing.
    pub fn state(&self) -> WorkerState {
        self.0.cell.state()
    }

    /// Requests handed to it that have not ended: waiting in its channel or running.
    pub fn pending_requests(&self) -> usize {
        self.0.cell.pending().jobs as usize
    }

    /// When it last did something, on the pool's clock.
    pub fn last_used(&self) -> Timestamp {
        Timestamp(self.0.pulse.last_used.load(Ordering::Acquire))
    }

    /// Marks it as used now.
    pub fn touch(&self) {
        self.touch_at(self.0.clock.now());
    }

    /// How long it has had nothing to do; zero while it is busy.
    pub fn idle(&self) -> Duration {
        if self.state() == WorkerState::Ready {
            self.0.clock.now().since(self.last_used())
        } else {
            Duration::ZERO
        }
    }

    pub(crate) fn touch_at(&self, now: Timestamp) {
        // Last writer wins: two readings of one clock moments apart are equally good.
        self.0.pulse.last_used.store(now.0, Ordering::Release);
    }

    pub(crate) fn cell(&self) -> &StateCell {
        &self.0.cell
    }

    /// The model is built: from now on jobs may be charged.
    pub(crate) fn open(&self, capacity: Capacity) -> bool {
        let limits = Limits { jobs: u64::from(capacity.jobs.clamp(1, 0xffff)), cost: capacity.cost };
        self.0.limits.get_or_init(|| limits);
        let now = self.0.clock.now();
        self.0.ready.get_or_init(|| now);
        self.touch_at(now);
        self.0.cell.open()
    }

    #[inline]
    pub(crate) fn try_charge(&self, cost: u64) -> bool {
        self.0.limits.get().is_some_and(|limits| self.0.cell.try_charge(cost, *limits))
    }

    /// How dispatch sees it for a job of `cost`.
    #[inline]
    pub(crate) fn load(&self, cost: u64) -> Load {
        let Some(limits) = self.0.limits.get() else { return Load { takes: false, pending: 0 } };
        let pending = self.0.cell.pending();
        let fits = pending.jobs == 0 || (pending.jobs < limits.jobs && pending.cost + cost <= limits.cost);
        Load { takes: fits && self.0.cell.takes_jobs(), pending: pending.cost }
    }

    pub(crate) fn spawned_at(&self) -> Timestamp {
        self.0.spawned
    }

    pub(crate) fn ready_at(&self) -> Option<Timestamp> {
        self.0.ready.get().copied()
    }

    pub(crate) fn step_begins(&self, now: Timestamp) {
        self.0.pulse.step_began.store(now.0.max(1), Ordering::Release);
    }

    pub(crate) fn step_ends(&self) {
        self.0.pulse.step_began.store(0, Ordering::Release);
    }

    /// How long the step under way has taken.
    pub(crate) fn in_step_for(&self, now: Timestamp) -> Option<Duration> {
        let began = self.0.pulse.step_began.load(Ordering::Acquire);
        (began != 0).then(|| now.since(Timestamp(began)))
    }
}

impl fmt::Debug for WorkerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkerHandle({} {:?}, {} pending)", self.0.name, self.state(), self.pending_requests())
    }
}

/// What a worker finds in its channel.
pub(crate) enum Message<C: Capability> {
    /// A job that has been charged to it.
    Job(Job<C>),
    /// Nothing but a reason to look around: its state changed, or the queue has work.
    Wake,
}

/// A worker's place in its lane's roster: its handle, its channel, and what it has admitted.
pub(crate) struct Seat<C: Capability> {
    pub(crate) handle: WorkerHandle,
    pub(crate) mailbox: Sender<Message<C>>,
    /// The other end of `mailbox`. The worker receives from it; when the worker is gone or hangs, whoever
    /// notices takes out what it never began.
    pub(crate) backlog: Receiver<Message<C>>,
    /// What the model holds. The worker owns it between steps; the supervisor may answer overdue jobs in it.
    pub(crate) admitted: Mutex<Admitted<C>>,
    /// What it has served. Written by the worker alone; added to the lane's counts when it is gone.
    pub(crate) served: CachePadded<Served>,
    /// The worker's own memory. Taken, and so given back, by the worker's thread when its model is gone.
    pub(crate) reservation: Mutex<Option<Reservation>>,
}

impl<C: Capability> Seat<C> {
    pub(crate) fn new(handle: WorkerHandle, reservation: Reservation) -> Self {
        let (mailbox, backlog) = unbounded();
        let reservation = Mutex::new(Some(reservation));
        Self {
            handle,
            mailbox,
            backlog,
            admitted: Mutex::default(),
            served: CachePadded::default(),
            reservation,
        }
    }

    pub(crate) fn wake(&self) {
        let _ = self.mailbox.send(Message::Wake);
    }

    pub(crate) fn reserved(&self) -> ByteSize {
        self.reservation.lock().as_ref().map_or(ByteSize::ZERO, Reservation::bytes)
    }

    /// Tells it to finish what it has and stop. Returns whether that is news.
    pub(crate) fn drain(&self) -> bool {
        let drained = self.handle.cell().drain();
        if drained {
            self.wake();
        }
        drained
    }

    /// Tells it to stop if it has nothing to do at this very moment.
    pub(crate) fn try_evict(&self) -> bool {
        let evicted = self.handle.cell().try_drain_idle();
        if evicted {
            self.wake();
        }
        evicted
    }
}
