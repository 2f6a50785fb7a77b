//! What the pool did and why, for whoever wants to know.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::broadcast::Broadcast;
use crate::clock::Timestamp;
use crate::contain::contain;
use crate::id::{ByteSize, RegistryKey, WorkerId};

/// Something a pool did, with its reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolEvent {
    /// When, on the pool's clock.
    pub at: Timestamp,
    /// For which key.
    pub key: RegistryKey,
    /// What and why.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum What {
    /// A worker's thread was started.
    Spawned {
        /// The worker.
        worker: WorkerId,
        /// Why.
        reason: SpawnReason,
        /// What was reserved for it, weights included if it loads them.
        reserved: ByteSize,
    },
    /// A worker has its model.
    Ready {
        /// The worker.
        worker: WorkerId,
        /// How long its start took.
        took: Duration,
    },
    /// A worker could not start.
    SpawnFailed {
        /// The worker, if there was a thread.
        worker: Option<WorkerId>,
        /// Why.
        error: String,
    },
    /// A worker was not spawned because of memory.
    SpawnRefused {
        /// What was needed.
        need: ByteSize,
        /// What was free.
        free: ByteSize,
        /// The budget.
        limit: ByteSize,
    },
    /// A worker was told to stop.
    Evicted {
        /// The worker.
        worker: WorkerId,
        /// Why.
        reason: EvictReason,
        /// What it gives back.
        bytes: ByteSize,
    },
    /// A worker's thread has ended and was joined.
    Stopped {
        /// The worker.
        worker: WorkerId,
    },
    /// A worker's model panicked.
    Crashed {
        /// The worker.
        worker: WorkerId,
        /// The panic's message.
        message: String,
        /// How long until it is replaced.
        restart_in: Duration,
    },
    /// A worker that was told to stop panicked on its way out. It is not replaced.
    CrashedLeaving {
        /// The worker.
        worker: WorkerId,
        /// The panic's message.
        message: String,
    },
    /// A worker has not finished a step for too long. Its memory stays reserved.
    Stuck {
        /// The worker.
        worker: WorkerId,
        /// For how long.
        since: Duration,
    },
    /// The key failed too often and rests, or one of its workers did.
    CircuitOpened {
        /// The worker, if it is one worker's circuit.
        worker: Option<WorkerId>,
        /// Failures in a row.
        failures: u32,
        /// How long it rests.
        rests: Duration,
    },
    /// Work flows again.
    CircuitClosed {
        /// The worker, if it is one worker's circuit.
        worker: Option<WorkerId>,
    },
    /// A request was not accepted.
    Rejected {
        /// The error's [`code`](super::PoolError::code).
        code: String,
    },
    /// The maintenance thread itself panicked and went on.
    SupervisorPanicked {
        /// The panic's message.
        message: String,
    },
}

/// Why a worker was spawned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpawnReason {
    /// The key had none.
    ColdStart,
    /// Queued requests would have waited longer than a spawn takes.
    QueueWait,
    /// Fewer than the configured minimum were there.
    Minimum,
    /// Asked for by hand.
    Resize,
    /// One crashed.
    Restart,
}

/// Why a worker was let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvictReason {
    /// It was idle past its time.
    Idle,
    /// Another key needs the memory.
    MakeRoom,
    /// The budget shrank below what is reserved.
    BudgetShrank,
    /// Asked for by hand: fewer workers.
    Resize,
    /// Asked for by hand: the key was unloaded.
    Unload,
    /// Asked for by hand: the key was taken off, or is another model's now.
    Unregister,
}

/// Delivers events to `tracing` and to subscribers.
#[derive(Debug, Default)]
pub(crate) struct EventLog {
    pub(crate) subscribers: Broadcast<PoolEvent>,
}

impl EventLog {
    pub(crate) fn emit(&self, at: Timestamp, key: &RegistryKey, what: What) {
        // A subscriber is foreign code, and the pool's threads must not end with it.
        let _ = contain(|| trace(key, &what));
        if self.subscribers.has_listeners() {
            self.subscribers.send(&PoolEvent { at, key: key.clone(), what });
        }
    }

    /// A request was not accepted: frequent under overload, so it costs next to nothing when nobody listens.
    pub(crate) fn rejected(&self, at: Timestamp, key: &RegistryKey, code: &'static str) {
        if self.subscribers.has_listeners() || tracing::enabled!(tracing::Level::DEBUG) {
            self.emit(at, key, What::Rejected { code: code.to_owned() });
        }
    }
}

fn trace(key: &RegistryKey, what: &What) {
    match what {
        What::SpawnFailed { .. }
        | What::Crashed { .. }
        | What::CrashedLeaving { .. }
        | What::Stuck { .. }
        | What::SupervisorPanicked { .. } => {
            tracing::warn!(%key, ?what);
        }
        What::Rejected { .. } => tracing::debug!(%key, ?what),
        _ => tracing::info!(%key, ?what),
    }
}
