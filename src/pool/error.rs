//! What can go wrong with a request, as data.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::loader::LoadError;
use crate::capability::{Capability, InvalidRequest, ModelError};
use crate::id::{JobId, RegistryKey, WorkerId};
use crate::memory::OverBudget;

/// Why a request was not accepted, or how an accepted one ended without an answer.
///
/// Every variant says which key it concerns; [`code`](Self::code) is stable, [`is_retryable`](Self::is_retryable)
/// says whether another attempt could end differently.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// The key has no worker and none may be spawned for this request.
    #[error("no workers for {key}: {reason}")]
    NoWorkers {
        /// The key.
        key: RegistryKey,
        /// Why there are none.
        reason: NoWorkers,
    },
    /// The deadline passed. The work was stopped at the next step or never started.
    #[error("{job} for {key} timed out after {waited:?}")]
    Timeout {
        /// The key.
        key: RegistryKey,
        /// The job.
        job: JobId,
        /// How long it had been with the pool.
        waited: Duration,
    },
    /// A job could not be handed to the worker it was meant for.
    #[error("could not hand the job to {worker} of {key}: it takes no jobs now")]
    SendError {
        /// The key.
        key: RegistryKey,
        /// The worker that was asked for by name.
        worker: WorkerId,
    },
    /// The pool ended without an answer: a bug in millpond.
    #[error("no reply came for {job} of {key}")]
    RecvError {
        /// The key.
        key: RegistryKey,
        /// The job.
        job: JobId,
    },
    /// The model could not serve the request.
    #[error("{key} failed on {job}: {source}")]
    ModelError {
        /// The key.
        key: RegistryKey,
        /// The job.
        job: JobId,
        /// The model's own error.
        source: ModelError,
    },
    /// The pool takes no more requests, or stopped before this one was done.
    #[error("the pool is shutting down; {key} takes no more requests")]
    ShuttingDown {
        /// The key.
        key: RegistryKey,
    },
    /// No worker could be spawned within the memory budget.
    #[error("no memory for {key}: {source}")]
    MemoryExhausted {
        /// The key.
        key: RegistryKey,
        /// What was needed, what was free, and who holds the rest.
        source: OverBudget,
    },
    /// A worker was spawned but its model could not be loaded.
    #[error("could not load {key}: {source}")]
    SpawnFailed {
        /// The key.
        key: RegistryKey,
        /// Why.
        source: SpawnError,
    },
    /// As many requests wait already as the queue may hold.
    #[error(
        "the queue of {key} is full ({capacity} waiting): try again later, or raise the queue's capacity"
    )]
    QueueFull {
        /// The key.
        key: RegistryKey,
        /// How many may wait.
        capacity: usize,
    },
    /// The caller left.
    #[error("{job} for {key} was canceled")]
    Canceled {
        /// The key.
        key: RegistryKey,
        /// The job.
        job: JobId,
    },
    /// The worker that had the job ended without answering it.
    #[error("the worker that had {job} of {key} was lost")]
    WorkerLost {
        /// The key.
        key: RegistryKey,
        /// The job.
        job: JobId,
    },
    /// The model panicked while it held the job. The worker is restarted.
    #[error("{worker} of {key} panicked while it held {job}: {message}")]
    WorkerPanicked {
        /// The key.
        key: RegistryKey,
        /// The worker.
        worker: WorkerId,
        /// The job.
        job: JobId,
        /// The panic's message.
        message: Arc<str>,
    },
    /// The key failed too often in a row and rests.
    #[error("{key} failed {failures} times in a row and rests; try again in {retry_after:?}")]
    CircuitOpen {
        /// The key.
        key: RegistryKey,
        /// How many failures in a row.
        failures: u32,
        /// When a probe will be let through.
        retry_after: Duration,
    },
    /// The key's rate limit leaves no room for this request before its deadline.
    #[error("{key} is rate limited; try again in {retry_after:?}")]
    RateLimited {
        /// The key.
        key: RegistryKey,
        /// When there will be room.
        retry_after: Duration,
    },
    /// No attempt could serve this request.
    #[error("invalid request for {key}: {source}")]
    InvalidRequest {
        /// The key.
        key: RegistryKey,
        /// What is wrong with it.
        source: InvalidRequest,
    },
    /// Events were not read for so long that they would have piled up without bound.
    #[error("events of {job} for {key} were not read in time")]
    SlowConsumer {
        /// The key.
        key: RegistryKey,
        /// The job.
        job: JobId,
    },
}

/// Why a key has no worker for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoWorkers {
    /// Nothing is registered under the key.
    #[error("nothing is registered under this key")]
    Unregistered,
    /// The request asked not to wait, and every worker is busy or not loaded yet.
    #[error("none has room right now")]
    NoneFree,
    /// There is no worker of that number.
    #[error("there is no such worker")]
    NoSuchWorker,
}

/// Why a worker could not start.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// The loader said no.
    #[error("{0}")]
    Load(#[source] LoadError),
    /// The loader panicked.
    #[error("the loader panicked: {0}")]
    Panicked(Arc<str>),
    /// Loading took longer than it may.
    #[error("not loaded within {0:?}")]
    TimedOut(Duration),
    /// The system gave no thread.
    #[error("the system gave no thread: {0}")]
    Thread(Arc<str>),
    /// What it took in truth was more than was predicted and more than there is.
    #[error("loaded, but larger than predicted: {0}")]
    TooLarge(OverBudget),
}

impl PoolError {
    /// A short name for logs, metrics and protocols; never changes.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoWorkers { .. } => "no_workers",
            Self::Timeout { .. } => "timeout",
            Self::SendError { .. } => "send_error",
            Self::RecvError { .. } => "recv_error",
            Self::ModelError { .. } => "model_error",
            Self::ShuttingDown { .. } => "shutting_down",
            Self::MemoryExhausted { .. } => "memory_exhausted",
            Self::SpawnFailed { .. } => "spawn_failed",
            Self::QueueFull { .. } => "queue_full",
            Self::Canceled { .. } => "canceled",
            Self::WorkerLost { .. } => "worker_lost",
            Self::WorkerPanicked { .. } => "worker_panicked",
            Self::CircuitOpen { .. } => "circuit_open",
            Self::RateLimited { .. } => "rate_limited",
            Self::InvalidRequest { .. } => "invalid_request",
            Self::SlowConsumer { .. } => "slow_consumer",
        }
    }

    /// Whether the same request could succeed when it is tried again.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::ModelError { source, .. } => source.is_retryable(),
            Self::SpawnFailed { source: SpawnError::Load(source), .. } => source.is_retryable(),
            Self::InvalidRequest { .. }
            | Self::Canceled { .. }
            | Self::ShuttingDown { .. }
            | Self::RecvError { .. } => false,
            Self::NoWorkers { reason, .. } => *reason == NoWorkers::NoneFree,
            Self::MemoryExhausted { source, .. } => source.need <= source.limit,
            _ => true,
        }
    }

    /// How long to wait before trying again, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::CircuitOpen { retry_after, .. } | Self::RateLimited { retry_after, .. } => {
                Some(*retry_after)
            }
            Self::QueueFull { .. } | Self::MemoryExhausted { .. } => Some(Duration::from_secs(1)),
            _ => None,
        }
    }

    /// The key that the error concerns.
    pub fn key(&self) -> &RegistryKey {
        match self {
            Self::NoWorkers { key, .. }
            | Self::Timeout { key, .. }
            | Self::SendError { key, .. }
            | Self::RecvError { key, .. }
            | Self::ModelError { key, .. }
            | Self::ShuttingDown { key }
            | Self::MemoryExhausted { key, .. }
            | Self::SpawnFailed { key, .. }
            | Self::QueueFull { key, .. }
            | Self::Canceled { key, .. }
            | Self::WorkerLost { key, .. }
            | Self::WorkerPanicked { key, .. }
            | Self::CircuitOpen { key, .. }
            | Self::RateLimited { key, .. }
            | Self::InvalidRequest { key, .. }
            | Self::SlowConsumer { key, .. } => key,
        }
    }
}

/// A request was not accepted; it comes back with the reason.
pub struct SubmitError<C: Capability> {
    /// Why.
    pub error: PoolError,
    /// The request, untouched.
    pub request: C::Request,
}

impl<C: Capability> From<SubmitError<C>> for PoolError {
    fn from(refused: SubmitError<C>) -> Self {
        refused.error
    }
}

impl<C: Capability> fmt::Debug for SubmitError<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubmitError").field("error", &self.error).finish_non_exhaustive()
    }
}

impl<C: Capability> fmt::Display for SubmitError<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<C: Capability> std::error::Error for SubmitError<C> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}
