//! How a pool ends.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::error::PoolError;
use super::handle::{Message, Seat};
use super::lane::Lane;
use super::lanes::Lanes;
use super::queue::Queue;
use super::reply::Reply;
use super::shared::{PoolPhase, Shared};
use super::state::Pending;
use super::supervisor::{Command, Holdings};
use super::thread::stop_elsewhere;
use crate::capability::Capability;
use crate::id::RegistryKey;

/// How long threads that are merely finishing a step get when all the time was used for work.
const GRACE: Duration = Duration::from_millis(250);

/// What ends when the last handle of a pool is dropped.
pub(crate) struct Owner<C: Capability> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) lanes: Arc<Lanes<C>>,
    /// Keys that somebody is about to register.
    pub(crate) held: Mutex<HashSet<RegistryKey>>,
    /// Locked to the end of a shutdown: of two callers one stops the pool and the other waits for that.
    pub(crate) supervisor: Arc<Mutex<Option<JoinHandle<usize>>>>,
    /// Keeps the pool known to its budget.
    pub(crate) holdings: Arc<Holdings<C>>,
}

/// A pool did not stop as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShutdownError {
    /// Not everything was done in time. It was ended with [`PoolError::ShuttingDown`].
    #[error("{unfinished} requests were not done in time, {threads} threads did not end")]
    TimedOut {
        /// Requests that ended without their answer.
        unfinished: u64,
        /// Threads left behind in a step that does not end. They end with it, or with the process.
        threads: usize,
    },
    /// A thread of the pool, or one in a callback, cannot wait for itself. The pool stops as it otherwise
    /// would, and nobody is told how that went.
    #[error("called from one of the pool's own threads: the pool stops without being waited for")]
    FromWithin,
}

impl<C: Capability> Owner<C> {
    pub(crate) fn close(&self) {
        self.shared.advance(PoolPhase::ShuttingDown);
        for lane in self.lanes.all() {
            lane.with_queue(Queue::close);
        }
    }

    pub(crate) fn shutdown(&self, timeout: Duration) -> Result<(), ShutdownError> {
        self.close();
        let ending = Ending {
            shared: self.shared.clone(),
            lanes: self.lanes.clone(),
            supervisor: self.supervisor.clone(),
            _holdings: self.holdings.clone(),
        };
        if self.shared.is_own_thread() {
            ending.elsewhere(timeout);
            return Err(ShutdownError::FromWithin);
        }
        ending.run(timeout)
    }
}

impl<C: Capability> Drop for Owner<C> {
    fn drop(&mut self) {
        // A failure has been logged, and there is nobody to tell.
        let _ = self.shutdown(self.shared.config.shutdown_timeout);
    }
}

/// A pool on its way out, with all that it takes to get there.
struct Ending<C: Capability> {
    shared: Arc<Shared>,
    lanes: Arc<Lanes<C>>,
    supervisor: Arc<Mutex<Option<JoinHandle<usize>>>>,
    _holdings: Arc<Holdings<C>>,
}

impl<C: Capability> Ending<C> {
    /// On a thread of its own, which ends with the pool.
    fn elsewhere(self, timeout: Duration) {
        let shared = self.shared.clone();
        let name = format!("{}-ending", C::NAME);
        let run = move || {
            // A failure has been logged, and there is nobody to tell.
            let _ = self.run(timeout);
        };
        if let Err(error) = stop_elsewhere(name, run) {
            no_thread(&shared, timeout, &error);
        }
    }

    /// In this order: work ends, what is left is answered, workers end, the supervisor ends.
    fn run(&self, timeout: Duration) -> Result<(), ShutdownError> {
        let mut supervisor = self.supervisor.lock();
        let Some(thread) = supervisor.take() else { return Ok(()) };
        let until = until(timeout);
        let finished = self.shared.gate.wait_empty(timeout);
        let mut unfinished = if finished { 0 } else { self.end_everything() };
        self.shared.tell(Command::Stop { until: until.max(Instant::now() + GRACE) });
        let threads = thread.join().unwrap_or(0);
        self.shared.advance(PoolPhase::Stopped);
        // From now on whoever still has a job on its way somewhere ends it: what is not found here is theirs.
        unfinished += self.end_everything();
        if unfinished == 0 && threads == 0 {
            return Ok(());
        }
        tracing::warn!(pool = self.shared.capability, unfinished, threads, "the pool did not stop in time");
        Err(ShutdownError::TimedOut { unfinished, threads })
    }

    /// Answers everything that has no answer yet, wherever it is. Returns how much that was.
    fn end_everything(&self) -> u64 {
        self.lanes.all().iter().map(|lane| end_all_of(lane)).sum()
    }
}

fn end_all_of<C: Capability>(lane: &Lane<C>) -> u64 {
    let error = PoolError::ShuttingDown { key: lane.key.clone() };
    let mut waiting = lane.with_queue(Queue::take_all);
    let mut running: Vec<Reply<C>> = Vec::new();
    for seat in lane.seats() {
        running.extend(seat.admitted.lock().iter_mut().filter_map(|running| running.reply.take()));
        waiting.extend(seat.backlog.try_iter().filter_map(|message| taken_back(&seat, message)));
        seat.wake();
    }
    let ended = waiting.len() + running.len();
    for job in waiting {
        job.end(error.clone());
    }
    for reply in running {
        // For work that is still running and asks its token.
        reply.job().slot.cancel();
        reply.end(Err(error.clone()), None);
    }
    ended as u64
}

/// A job out of a worker's channel is off its account too: the worker ends when nothing is left on it.
fn taken_back<C: Capability>(seat: &Seat<C>, message: Message<C>) -> Option<super::job::Job<C>> {
    let Message::Job(job) = message else { return None };
    seat.handle.cell().discharge(Pending { jobs: 1, cost: job.cost() });
    Some(job)
}

fn until(timeout: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or_else(|| now + Duration::from_secs(u32::MAX.into()))
}

/// Without a thread to wait on, workers finish what they have begun, and the rest ends with the supervisor.
fn no_thread(shared: &Shared, timeout: Duration, error: &io::Error) {
    tracing::error!(pool = shared.capability, %error, "no thread to stop the pool with");
    shared.tell(Command::Stop { until: until(timeout) });
}
