//! Steering a pool by hand: load, unload, resize, pin, wait, stop.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use parking_lot::Mutex;

use super::Pool;
use super::error::{NoWorkers, PoolError};
use super::handle::Message;
use super::lane::Lane;
use super::queue::Queue;
use super::shared::{PoolPhase, Shared};
use super::supervisor::{Command, Holdings, Lanes};
use crate::capability::Capability;

/// What ends when the last handle of a pool is dropped.
pub(crate) struct Owner<C: Capability> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) lanes: Arc<Lanes<C>>,
    pub(crate) supervisor: Mutex<Option<JoinHandle<usize>>>,
    /// Keeps the pool known to its budget.
    pub(crate) _holdings: Arc<Holdings<C>>,
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
    /// A worker cannot wait for itself. The pool stops as soon as that worker is done.
    #[error("called from one of the pool's own threads: the pool stops without being waited for")]
    FromWithin,
}

impl<C: Capability> Pool<C> {
    /// Loads a key and waits until a worker serves it.
    pub fn preload(&self, key: impl AsRef<str>) -> Result<(), PoolError> {
        let (lane, answer) = self.ask(key.as_ref(), |key, done| Command::Preload { key, done })?;
        answer.recv().unwrap_or(Err(PoolError::ShuttingDown { key: lane.key.clone() }))
    }

    /// Lets a key's workers finish what they have and go, and waits until they and their memory are gone.
    /// The next request loads it again.
    pub fn unload(&self, key: impl AsRef<str>) -> Result<(), PoolError> {
        let (lane, answer) = self.ask(key.as_ref(), |key, done| Command::Unload { key, done })?;
        answer.recv().map_err(|_| PoolError::ShuttingDown { key: lane.key.clone() })
    }

    /// Keeps exactly `workers` workers of a key from now on; at least 1. Surplus workers finish what they
    /// have. Does not wait for that, nor for new workers to load. [`Pool::unload`] ends it.
    pub fn resize(&self, key: impl AsRef<str>, workers: usize) -> Result<(), PoolError> {
        let workers = workers.max(1);
        let (lane, answer) = self.ask(key.as_ref(), |key, done| Command::Resize { key, workers, done })?;
        answer.recv().map_err(|_| PoolError::ShuttingDown { key: lane.key.clone() })
    }

    /// Exempts a key from eviction, or ends that.
    pub fn pin(&self, key: impl AsRef<str>, pinned: bool) -> Result<(), PoolError> {
        self.lane(key.as_ref())?.pinned.store(pinned, Ordering::Release);
        Ok(())
    }

    /// Does now what maintenance would do at its next interval: lets idle workers go, checks health, reads
    /// the memory. Returns when it is done.
    pub fn maintain(&self) {
        let (done, answer) = bounded(1);
        self.owner.shared.tell(Command::Maintain { done });
        let _ = answer.recv();
    }

    /// Blocks until no request is under way, for at most `timeout`. Returns whether that came true.
    pub fn wait_idle(&self, timeout: Duration) -> bool {
        self.owner.shared.gate.wait_empty(timeout)
    }

    /// Whether the pool has stopped taking requests.
    pub fn is_shutting_down(&self) -> bool {
        self.owner.shared.phase() != PoolPhase::Running
    }

    /// Stops taking requests. What was accepted goes on; [`Pool::shutdown`] ends it.
    pub fn begin_shutdown(&self) {
        self.owner.close();
    }

    /// Stops the pool: takes no more requests, finishes what is running and queued, for at most `timeout`,
    /// answers the rest with [`PoolError::ShuttingDown`], and joins every thread. Again: does nothing.
    pub fn shutdown(&self, timeout: Duration) -> Result<(), ShutdownError> {
        self.owner.shutdown(timeout)
    }

    pub(crate) fn lane(&self, key: &str) -> Result<Arc<Lane<C>>, PoolError> {
        let unregistered = || PoolError::NoWorkers { key: key.into(), reason: NoWorkers::Unregistered };
        self.owner.lanes.get(key).map(|lane| lane.clone()).ok_or_else(unregistered)
    }

    fn ask<T>(
        &self,
        key: &str,
        command: impl FnOnce(crate::RegistryKey, crossbeam_channel::Sender<T>) -> Command,
    ) -> Result<(Arc<Lane<C>>, Receiver<T>), PoolError> {
        let lane = self.lane(key)?;
        if self.is_shutting_down() {
            return Err(PoolError::ShuttingDown { key: lane.key.clone() });
        }
        let (done, answer) = bounded(1);
        self.owner.shared.tell(command(lane.key.clone(), done));
        Ok((lane, answer))
    }
}

impl<C: Capability> Owner<C> {
    fn lanes(&self) -> Vec<Arc<Lane<C>>> {
        self.lanes.iter().map(|entry| entry.value().clone()).collect()
    }

    fn close(&self) {
        self.shared.advance(PoolPhase::ShuttingDown);
        self.lanes().iter().for_each(|lane| lane.with_queue(Queue::close));
    }

    /// In this order: intake ends, work ends, what is left is answered, workers end, the supervisor ends.
    fn shutdown(&self, timeout: Duration) -> Result<(), ShutdownError> {
        self.close();
        let now = Instant::now();
        let until = now.checked_add(timeout).unwrap_or_else(|| now + Duration::from_secs(u32::MAX.into()));
        if self.shared.is_own_thread() {
            self.shared.tell(Command::Stop { until });
            return Err(ShutdownError::FromWithin);
        }
        // Held to the end: of two callers one stops the pool and the other waits for that.
        let mut supervisor = self.supervisor.lock();
        let Some(thread) = supervisor.take() else { return Ok(()) };
        let finished = self.shared.gate.wait_empty(timeout);
        let mut unfinished = if finished { 0 } else { self.end_everything() };
        // Threads that are merely finishing a step get a moment even when all the time was used for work.
        let grace = Instant::now() + Duration::from_millis(250);
        self.shared.tell(Command::Stop { until: until.max(grace) });
        let threads = thread.join().unwrap_or(0);
        self.shared.advance(PoolPhase::Stopped);
        unfinished += self.end_everything();
        if unfinished == 0 && threads == 0 {
            return Ok(());
        }
        tracing::warn!(pool = self.shared.capability, unfinished, threads, "the pool did not stop in time");
        Err(ShutdownError::TimedOut { unfinished, threads })
    }

    /// Answers everything that has no answer yet, wherever it is. Returns how much that was.
    fn end_everything(&self) -> u64 {
        let mut ended = 0;
        for lane in self.lanes() {
            let error = PoolError::ShuttingDown { key: lane.key.clone() };
            let mut replies: Vec<_> =
                lane.with_queue(Queue::take_all).into_iter().map(|job| job.reply).collect();
            for seat in lane.roster.read().iter() {
                replies.extend(seat.admitted.lock().iter_mut().filter_map(|running| running.reply.take()));
                replies.extend(seat.backlog.try_iter().filter_map(|message| match message {
                    Message::Job(job) => Some(job.reply),
                    Message::Wake => None,
                }));
                seat.wake();
            }
            ended += replies.len() as u64;
            for reply in replies {
                // For work that is still running and asks its token.
                reply.job().slot.cancel();
                reply.end(Err(error.clone()), None);
            }
        }
        ended
    }
}

impl<C: Capability> Drop for Owner<C> {
    fn drop(&mut self) {
        // A failure has been logged, and there is nobody to tell.
        let _ = self.shutdown(self.shared.config.shutdown_timeout);
    }
}
