//! The state of one worker, in one atomic word.
//!
//! The word holds the worker's phase, whether its circuit is open, how many jobs are pending at it and what
//! they weigh. Everything that happens to a worker is one compare-and-swap of the whole word through
//! [`StateCell::try_advance`], so no decision can rest on a stale reading: a job is charged only to a worker
//! that serves, and an eviction that meets a charged worker fails.

use std::cell::Cell;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::sync::{AtomicU64, Ordering};

/// What a worker is doing, as status shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// Its thread runs and is loading weights or building the model.
    Loading,
    /// It has a model and nothing to do.
    Ready,
    /// It has jobs pending. Never evicted.
    Busy,
    /// It takes no more jobs and stops when those it has are done.
    Draining,
    /// Its model is gone and its thread has ended.
    Stopped,
    /// It died, or hangs, and is out of rotation.
    Failed,
}

/// The edges that change what a worker is: the job count alone tells Ready from Busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Loading,
    Serving,
    Draining,
    Stopped,
    Failed,
}

impl Phase {
    const ALL: [Self; 5] = [Self::Loading, Self::Serving, Self::Draining, Self::Stopped, Self::Failed];

    fn may_become(self, next: Self) -> bool {
        use Phase::{Draining, Failed, Loading, Serving, Stopped};
        match (self, next) {
            (Loading, Serving | Draining | Failed) | (Serving, Draining | Failed) => true,
            (Draining, Stopped | Failed) | (Failed, Stopped) => true,
            (same, next) => same == next,
        }
    }
}

/// A reading of the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word {
    phase: Phase,
    tripped: bool,
    jobs: u64,
    cost: u64,
}

const TRIPPED: u64 = 1 << 3;
const JOBS_SHIFT: u32 = 4;
const JOBS_MASK: u64 = 0xffff;
const COST_SHIFT: u32 = 20;

/// No job counts for more: 65,535 such jobs still fit the word.
const MAX_COST: u64 = (1 << 28) - 1;

impl Word {
    fn unpack(bits: u64) -> Self {
        Self {
            phase: Phase::ALL[(bits & 0b111) as usize],
            tripped: bits & TRIPPED != 0,
            jobs: bits >> JOBS_SHIFT & JOBS_MASK,
            cost: bits >> COST_SHIFT,
        }
    }

    fn pack(self) -> u64 {
        let tripped = if self.tripped { TRIPPED } else { 0 };
        self.phase as u64 | tripped | self.jobs << JOBS_SHIFT | self.cost << COST_SHIFT
    }
}

/// What is pending at a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) jobs: u64,
    pub(crate) cost: u64,
}

/// How much a worker takes at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) jobs: u64,
    pub(crate) cost: u64,
}

/// The cost as the word counts it.
pub(crate) fn weighed(cost: u64) -> u64 {
    cost.clamp(1, MAX_COST)
}

pub(crate) struct StateCell(AtomicU64);

impl StateCell {
    /// A worker that has just been spawned.
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(Word { phase: Phase::Loading, tripped: false, jobs: 0, cost: 0 }.pack()))
    }

    /// Changes the word as `change` says, against whatever it holds at the moment of the change; `None`
    /// means no change. The only way by which a word changes.
    ///
    /// Sequentially consistent, because freeing room here and finding the lane's queue empty there must not
    /// both miss each other (see the pool's README).
    fn try_advance(&self, change: impl Fn(Word) -> Option<Word>) -> Option<Word> {
        let mut bits = self.0.load(Ordering::SeqCst);
        loop {
            let old = Word::unpack(bits);
            let new = change(old)?;
            if !old.phase.may_become(new.phase) {
                return None;
            }
            match self.0.compare_exchange_weak(bits, new.pack(), Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return Some(new),
                Err(now) => bits = now,
            }
        }
    }

    fn read(&self) -> Word {
        Word::unpack(self.0.load(Ordering::SeqCst))
    }

    fn enter(&self, phase: Phase) -> bool {
        self.try_advance(|word| Some(Word { phase, ..word })).is_some()
    }

    /// Puts a job of `cost` on the worker's account. Fails when the worker does not serve or has no room;
    /// a worker without jobs has room for any one job.
    #[inline]
    pub(crate) fn try_charge(&self, cost: u64, limits: Limits) -> bool {
        self.try_advance(|word| {
            let fits = word.jobs == 0 || (word.jobs < limits.jobs && word.cost + cost <= limits.cost);
            let takes = word.phase == Phase::Serving && !word.tripped && fits;
            takes.then(|| Word { jobs: word.jobs + 1, cost: word.cost + cost, ..word })
        })
        .is_some()
    }

    /// Takes jobs that have ended off the account. Returns what remains.
    #[inline]
    pub(crate) fn discharge(&self, ended: Pending) -> Pending {
        let less =
            |word: Word| Some(Word { jobs: word.jobs - ended.jobs, cost: word.cost - ended.cost, ..word });
        self.try_advance(less).map_or(Pending::default(), |word| Pending { jobs: word.jobs, cost: word.cost })
    }

    /// Loading is done: jobs may come. Fails when the worker was told to drain meanwhile.
    pub(crate) fn open(&self) -> bool {
        self.try_advance(|word| {
            (word.phase == Phase::Loading).then_some(Word { phase: Phase::Serving, ..word })
        })
        .is_some()
    }

    /// Evicts: succeeds only if the worker has no job at this very moment.
    pub(crate) fn try_drain_idle(&self) -> bool {
        self.try_advance(|word| {
            let idle = word.phase == Phase::Serving && word.jobs == 0;
            idle.then_some(Word { phase: Phase::Draining, ..word })
        })
        .is_some()
    }

    /// Stops intake; what is pending will be finished. Fails when that was decided before.
    pub(crate) fn drain(&self) -> bool {
        self.try_advance(|word| {
            (word.phase != Phase::Draining).then_some(Word { phase: Phase::Draining, ..word })
        })
        .is_some()
    }

    /// The worker died or hangs.
    pub(crate) fn fail(&self) -> bool {
        self.enter(Phase::Failed)
    }

    /// Its model panicked. Returns whether it was on its way out anyway.
    pub(crate) fn fail_leaving(&self) -> bool {
        let leaving = Cell::new(false);
        self.try_advance(|word| {
            leaving.set(word.phase == Phase::Draining);
            Some(Word { phase: Phase::Failed, ..word })
        });
        leaving.get()
    }

    /// The thread has ended.
    pub(crate) fn stop(&self) {
        let stopped = |word: Word| Some(Word { phase: Phase::Stopped, ..word });
        if self.try_advance(stopped).is_none() {
            self.enter(Phase::Draining);
            self.enter(Phase::Stopped);
        }
    }

    /// Opens or closes the worker's own circuit: while open it is charged nothing.
    pub(crate) fn trip(&self, tripped: bool) {
        self.try_advance(|word| Some(Word { tripped, ..word }));
    }

    pub(crate) fn is_tripped(&self) -> bool {
        self.read().tripped
    }

    /// Whether it serves and its circuit is closed: advice only.
    pub(crate) fn takes_jobs(&self) -> bool {
        let word = self.read();
        word.phase == Phase::Serving && !word.tripped
    }

    /// Whether it serves, its circuit open or closed: advice only.
    pub(crate) fn serves(&self) -> bool {
        self.read().phase == Phase::Serving
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.read().phase == Phase::Draining
    }

    #[inline]
    pub(crate) fn pending(&self) -> Pending {
        let word = self.read();
        Pending { jobs: word.jobs, cost: word.cost }
    }

    pub(crate) fn state(&self) -> WorkerState {
        let word = self.read();
        match word.phase {
            Phase::Loading => WorkerState::Loading,
            Phase::Serving if word.jobs == 0 => WorkerState::Ready,
            Phase::Serving => WorkerState::Busy,
            Phase::Draining => WorkerState::Draining,
            Phase::Stopped => WorkerState::Stopped,
            Phase::Failed => WorkerState::Failed,
        }
    }
}

impl fmt::Debug for StateCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.read())
    }
}
