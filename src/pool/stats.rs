//! What a pool tells about itself: plain snapshots that serialise to JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::rate_limit::RateLimiterStatus;
use super::state::WorkerState;
use crate::id::{ByteSize, RegistryKey, WorkerId};
use crate::metrics::{Counter, Histogram, HistogramSnapshot};

/// What one lane counts.
#[derive(Debug, Default)]
pub(crate) struct LaneCounters {
    /// What workers that are gone have served, and what other threads ended.
    pub(crate) served: Served,
    pub(crate) failed: Counter,
    pub(crate) timed_out: Counter,
    pub(crate) canceled: Counter,
    pub(crate) rejected: Counter,
    pub(crate) retried: Counter,
    pub(crate) spawned: Counter,
    pub(crate) evicted: Counter,
    pub(crate) restarted: Counter,
    /// How long weights took to load.
    pub(crate) load_time: Histogram,
}

/// What is counted with every request that is served: by each worker for itself, so that counting costs it
/// nothing, and added up where it is read.
#[derive(Debug, Default)]
pub(crate) struct Served {
    pub(crate) completed: Counter,
    /// Tokens of their requests and answers, by [`Capability::tokens`](crate::capability::Capability::tokens).
    pub(crate) prompt_tokens: Counter,
    pub(crate) completion_tokens: Counter,
    /// From submission to the start of the last attempt.
    pub(crate) queue_time: Histogram,
    /// From the start of the last attempt to its end.
    pub(crate) run_time: Histogram,
    /// From submission to the first event.
    pub(crate) first_event: Histogram,
    /// From the events of one step of a request to those of its next.
    pub(crate) between_events: Histogram,
}

impl Served {
    pub(crate) fn absorb(&self, other: &Self) {
        self.completed.absorb(&other.completed);
        self.prompt_tokens.absorb(&other.prompt_tokens);
        self.completion_tokens.absorb(&other.completion_tokens);
        self.queue_time.absorb(&other.queue_time);
        self.run_time.absorb(&other.run_time);
        self.first_event.absorb(&other.first_event);
        self.between_events.absorb(&other.between_events);
    }
}

/// The totals of a pool since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PoolMetrics {
    /// Requests accepted.
    pub total_requests: u64,
    /// Requests that ended with their answer.
    pub total_completed: u64,
    /// Accepted requests that ended at their deadline.
    pub total_timeouts: u64,
    /// Accepted requests that ended with another error.
    pub total_errors: u64,
    /// Accepted requests whose caller left.
    pub total_canceled: u64,
    /// Requests not accepted.
    pub total_rejected: u64,
    /// Further attempts after a failure.
    pub total_retries: u64,
    /// Workers started.
    pub workers_spawned: u64,
    /// Workers let go.
    pub workers_evicted: u64,
    /// Workers replaced after a crash.
    pub workers_restarted: u64,
    /// Tokens read for requests that ended with their answer.
    #[serde(default)]
    pub prompt_tokens: u64,
    /// Tokens written for them.
    #[serde(default)]
    pub completion_tokens: u64,
}

impl PoolMetrics {
    pub(crate) fn add(&mut self, lane: &LaneCounters, served: &Served) {
        self.total_completed += served.completed.get();
        self.total_timeouts += lane.timed_out.get();
        self.total_errors += lane.failed.get();
        self.total_canceled += lane.canceled.get();
        self.total_rejected += lane.rejected.get();
        self.total_retries += lane.retried.get();
        self.workers_spawned += lane.spawned.get();
        self.workers_evicted += lane.evicted.get();
        self.workers_restarted += lane.restarted.get();
        self.prompt_tokens += served.prompt_tokens.get();
        self.completion_tokens += served.completion_tokens.get();
    }
}

/// A pool at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PoolStatus {
    /// The capability's name.
    pub name: String,
    /// Whether a rate limit governs the pool or only its workers do.
    #[serde(rename = "type")]
    pub kind: PoolKind,
    /// Whether it accepts requests.
    pub running: bool,
    /// Workers with a model.
    pub workers: usize,
    /// Requests handed to workers that have not ended.
    pub in_flight: usize,
    /// Requests that wait for a worker.
    pub queue_depth: usize,
    /// The rate limit of every key, if the pool has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<RateLimiterStatus>,
    /// Memory reserved by this pool's keys.
    pub memory: ByteSize,
    /// The totals.
    pub totals: PoolMetrics,
    /// Every key that is registered.
    pub keys: Vec<KeyStatus>,
    /// Keys that were taken off and have work or workers still. One of them may be among `keys` too, if it was
    /// registered anew.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaving: Vec<KeyStatus>,
}

/// What bounds how fast a pool works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolKind {
    /// A rate limit, in front of the workers.
    RateLimited,
    /// Its workers alone.
    Workers,
}

/// One registry key at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KeyStatus {
    /// The key.
    pub key: RegistryKey,
    /// Whether a rate limit governs it or only its workers do.
    #[serde(rename = "type")]
    pub kind: PoolKind,
    /// Its workers.
    pub workers: Vec<WorkerStatus>,
    /// Workers with a model.
    pub ready: usize,
    /// How many requests may wait; 0 means any number.
    pub queue_size: usize,
    /// How many wait.
    pub queue_used: usize,
    /// Requests handed to workers that have not ended.
    pub in_flight: usize,
    /// Requests that ended with their answer.
    pub completed: u64,
    /// Requests that ended with an error, timeouts included.
    pub failed: u64,
    /// Those of them that ended at their deadline.
    #[serde(default)]
    pub timed_out: u64,
    /// Requests whose caller left.
    pub canceled: u64,
    /// Requests not accepted.
    pub rejected: u64,
    /// Further attempts after a failure.
    #[serde(default)]
    pub retried: u64,
    /// Workers started.
    #[serde(default)]
    pub spawned: u64,
    /// Workers let go.
    #[serde(default)]
    pub evicted: u64,
    /// Workers replaced after a crash.
    #[serde(default)]
    pub restarted: u64,
    /// Tokens read for requests that ended with their answer.
    #[serde(default)]
    pub prompt_tokens: u64,
    /// Tokens written for them.
    #[serde(default)]
    pub completion_tokens: u64,
    /// Whether it is exempt from eviction.
    pub pinned: bool,
    /// How long a worker may be idle before it is let go; none if for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<Duration>,
    /// How much longer it rests after too many failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_open_for: Option<Duration>,
    /// Its rate limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<RateLimiterStatus>,
    /// Memory its weights and workers have reserved.
    pub memory: ByteSize,
    /// From submission to the start.
    pub queue_time: HistogramSnapshot,
    /// From the start to the end.
    pub run_time: HistogramSnapshot,
    /// From submission to the first event, of requests that report on the way: the time to the first token.
    pub first_event_time: HistogramSnapshot,
    /// From the events of one step of a request to those of its next: the time between tokens.
    pub between_events_time: HistogramSnapshot,
    /// Loads of the weights.
    pub load_time: HistogramSnapshot,
}

impl KeyStatus {
    /// The sum of the time its requests ran.
    pub fn total_duration(&self) -> Duration {
        self.run_time.total
    }
}

/// Why a key may not be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unroutable {
    /// It failed too often and rests.
    CircuitOpen,
    /// It has workers, and all of them died or hang.
    NoWorkerAnswers,
}

/// One worker at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WorkerStatus {
    /// Its number.
    pub id: WorkerId,
    /// Its thread's name.
    pub name: String,
    /// What it is doing.
    pub state: WorkerState,
    /// Requests handed to it that have not ended.
    pub pending: usize,
    /// How long it has had nothing to do.
    pub idle: Duration,
    /// Memory it has reserved for itself.
    pub memory: ByteSize,
}
