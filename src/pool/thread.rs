//! The thread that owns a model: how it begins, and how it leaves nothing behind.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::error::{PoolError, SpawnError};
use super::handle::Seat;
use super::job::end_or_retry;
use super::lane::Lane;
use super::load::SharedLoad;
use super::supervisor::{Command, Exit};
use super::worker::{Worker, retire};
use crate::capability::Capability;
use crate::contain::contain;
use crate::id::WorkerId;

/// Room for the models' own recursion; only what is used is committed.
const STACK: usize = 8 << 20;

/// Starts a worker's thread. It loads, reports, serves until it is drained, and reports its end last, when
/// its model and its memory are gone.
pub(crate) fn start<C: Capability>(
    lane: Arc<Lane<C>>,
    seat: Arc<Seat<C>>,
    load: Arc<SharedLoad>,
) -> io::Result<JoinHandle<()>> {
    let name = seat.handle.name().to_owned();
    thread::Builder::new().name(name).stack_size(STACK).spawn(move || {
        lane.pool.enroll_thread();
        let worker = seat.handle.worker_id();
        let exit = contain(|| live(&lane, &seat, &load)).unwrap_or_else(Exit::Crashed);
        leave(&lane, &seat, load, worker, exit);
    })
}

/// Starts the thread that stops a pool which is stopped from within. Nobody can join it: those who could are
/// what it waits for. It ends with the pool.
pub(crate) fn stop_elsewhere(name: String, stop: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name).spawn(stop).map(drop)
}

/// From the first breath to the last: returns why the worker ends. Its model is dropped before.
fn live<C: Capability>(lane: &Arc<Lane<C>>, seat: &Arc<Seat<C>>, load: &SharedLoad) -> Exit {
    let pool = &lane.pool;
    let weights = match load.get(&*lane.loader, pool, &lane.counters) {
        Ok(weights) => weights,
        Err(error) => return Exit::FailedToStart(error),
    };
    let model = match contain(|| lane.loader.build(weights)) {
        Ok(Ok(model)) => model,
        Ok(Err(error)) => return Exit::FailedToStart(SpawnError::Load(error)),
        Err(message) => return Exit::FailedToStart(SpawnError::Panicked(message)),
    };
    if let Some(reservation) = seat.reservation.lock().as_mut() {
        let predicted = reservation.bytes();
        // The prediction stands: one worker's share cannot be told apart by measuring the process.
        let _ = reservation.settle(predicted);
    }
    let capacity = match contain(|| model.capacity()) {
        Ok(capacity) => capacity,
        Err(message) => {
            let _ = contain(|| drop(model));
            return Exit::FailedToStart(SpawnError::Panicked(message));
        }
    };
    if !seat.handle.open(capacity) {
        return retire(model);
    }
    pool.tell(Command::Ready { lane: lane.id, worker: seat.handle.worker_id() });
    Worker::new(lane, seat, model).serve()
}

/// Puts the worker's affairs in order: nothing it had may be left without an end or a new place.
fn leave<C: Capability>(
    lane: &Arc<Lane<C>>,
    seat: &Arc<Seat<C>>,
    load: Arc<SharedLoad>,
    worker: WorkerId,
    exit: Exit,
) {
    if !matches!(exit, Exit::Drained) {
        seat.handle.cell().fail();
    }
    let held = seat.admitted.lock().take_all();
    for running in held {
        let key = lane.key.clone();
        end_or_retry(lane, running, |job| match &exit {
            Exit::Crashed(message) | Exit::CrashedLeaving(message) => {
                PoolError::WorkerPanicked { key, worker, job, message: message.clone() }
            }
            _ => PoolError::WorkerLost { key, job },
        });
    }
    // After the failing above: whoever charged the worker before it either finds its job rescued here or
    // sees the failure after sending and rescues it itself.
    lane.rescue(seat);
    let weights = match exit {
        // The replacement builds from the same weights, even if this was the only worker that held them.
        Exit::Crashed(_) => Some(load),
        _ => {
            drop(load);
            None
        }
    };
    drop(seat.reservation.lock().take());
    lane.pool.dismiss_thread();
    lane.pool.tell(Command::Exited { lane: lane.id, worker, exit, weights });
}
