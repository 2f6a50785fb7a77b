//! Steering a pool by hand: load, unload, resize, pin, wait, stop.
//!
//! What waits here waits for the supervisor, and some of it for workers. Called from one of the pool's own
//! threads, or from a callback, it would wait for itself; there it only asks.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use super::Pool;
use super::error::{NoWorkers, PoolError};
use super::key_config::KeyConfig;
use super::lane::Lane;
use super::lanes::LaneId;
use super::shared::PoolPhase;
use super::shutdown::ShutdownError;
use super::supervisor::Command;
use crate::capability::Capability;

/// The lane that was asked about, and where the answer will come, unless there is no waiting for it.
type Asked<C, T> = (Arc<Lane<C>>, Option<Receiver<T>>);

impl<C: Capability> Pool<C> {
    /// Loads a key and waits until a worker serves it. From within a task or a callback of the same pool it
    /// does not wait.
    pub fn preload(&self, key: impl AsRef<str>) -> Result<(), PoolError> {
        let (lane, answer) = self.ask(key.as_ref(), |lane, done| Command::Preload { lane, done })?;
        let Some(answer) = answer else { return Ok(()) };
        answer.recv().unwrap_or(Err(PoolError::ShuttingDown { key: lane.key.clone() }))
    }

    /// Lets a key's workers finish what they have and go, and waits until they and their memory are gone.
    /// The next request loads it again. From within a task or a callback of the same pool it does not wait.
    pub fn unload(&self, key: impl AsRef<str>) -> Result<(), PoolError> {
        let (lane, answer) = self.ask(key.as_ref(), |lane, done| Command::Unload { lane, done })?;
        let Some(answer) = answer else { return Ok(()) };
        answer.recv().map_err(|_| PoolError::ShuttingDown { key: lane.key.clone() })
    }

    /// Keeps exactly `workers` workers of a key from now on; at least 1. Surplus workers finish what they
    /// have. Does not wait for that, nor for new workers to load. [`Pool::unload`] ends it.
    pub fn resize(&self, key: impl AsRef<str>, workers: usize) -> Result<(), PoolError> {
        let workers = workers.max(1);
        let (lane, answer) = self.ask(key.as_ref(), |lane, done| Command::Resize { lane, workers, done })?;
        let Some(answer) = answer else { return Ok(()) };
        answer.recv().map_err(|_| PoolError::ShuttingDown { key: lane.key.clone() })
    }

    /// Exempts a key from eviction, or ends that.
    pub fn pin(&self, key: impl AsRef<str>, pinned: bool) -> Result<(), PoolError> {
        self.change(key.as_ref(), |lane| lane.settings.pin(pinned))
    }

    /// How long a worker of a key may be idle from now on before it is let go; [`Duration::MAX`] for ever. One that
    /// has been idle for longer already goes now.
    pub fn keep_alive(&self, key: impl AsRef<str>, idle: Duration) -> Result<(), PoolError> {
        self.change(key.as_ref(), |lane| lane.settings.keep_alive_for(idle))
    }

    /// The settings of a key now.
    pub fn key_config(&self, key: impl AsRef<str>) -> Result<KeyConfig, PoolError> {
        Ok(self.lane(key.as_ref())?.settings.get())
    }

    /// Changes the settings of a key while it is in use: nothing is reloaded, and no request is refused for it. Requests
    /// that were accepted before keep their deadlines, and wait even where fewer may wait now.
    pub fn configure(&self, key: impl AsRef<str>, config: KeyConfig) -> Result<(), PoolError> {
        self.change(key.as_ref(), |lane| {
            lane.settings.set(config);
            lane.with_queue(|queue| queue.hold(config.queue_capacity));
        })
    }

    /// Changes settings, and has the supervisor act on them.
    fn change(&self, key: &str, change: impl FnOnce(&Lane<C>)) -> Result<(), PoolError> {
        let lane = self.lane(key)?;
        change(&lane);
        self.owner.shared.tell(Command::Demand(lane.id));
        Ok(())
    }

    /// Does now what maintenance would do at its next interval: lets idle workers go, checks health, reads
    /// the memory. Returns when it is done.
    pub fn maintain(&self) {
        let (done, answer) = bounded(1);
        self.owner.shared.tell(Command::Maintain { done });
        if !self.owner.shared.is_own_thread() {
            let _ = answer.recv();
        }
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
        self.owner.lanes.get(key).ok_or_else(unregistered)
    }

    /// Tells the supervisor. The answer is not there to wait for on one of the pool's own threads.
    fn ask<T>(
        &self,
        key: &str,
        command: impl FnOnce(LaneId, crossbeam_channel::Sender<T>) -> Command,
    ) -> Result<Asked<C, T>, PoolError> {
        let lane = self.lane(key)?;
        if self.is_shutting_down() {
            return Err(PoolError::ShuttingDown { key: lane.key.clone() });
        }
        let (done, answer) = bounded(1);
        self.owner.shared.tell(command(lane.id, done));
        Ok((lane, Some(answer).filter(|_| !self.owner.shared.is_own_thread())))
    }
}
