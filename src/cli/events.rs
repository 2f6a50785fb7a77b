//! A pool's events, in words.

use crate::pool::{EvictReason, SpawnReason, What};

/// What happened and why, on one line.
pub(super) fn in_words(what: &What) -> String {
    match what {
        What::Spawned { worker, reason, reserved } => {
            format!("{worker} starts, {}: {reserved} reserved", spawn_reason(*reason))
        }
        What::Ready { worker, took } => format!("{worker} has its model after {took:.1?}"),
        What::Evicted { worker, reason, bytes } => {
            format!("{worker} is let go, {}: {bytes} come back", evict_reason(*reason))
        }
        What::Stopped { worker } => format!("{worker} has ended"),
        What::SpawnRefused { need, free, limit } => {
            format!("no worker: needs {need}, {free} free of {limit}")
        }
        What::SpawnFailed { error, .. } => format!("a worker could not start: {error}"),
        What::Crashed { worker, message, .. } => format!("{worker} panicked: {message}"),
        What::Rejected { code } => format!("a request was not accepted: {code}"),
        other => format!("{other:?}"),
    }
}

fn spawn_reason(reason: SpawnReason) -> &'static str {
    match reason {
        SpawnReason::ColdStart => "its key had none",
        SpawnReason::QueueWait => "requests wait",
        SpawnReason::Minimum => "as many as configured",
        SpawnReason::Resize => "by hand",
        SpawnReason::Restart => "after a crash",
    }
}

fn evict_reason(reason: EvictReason) -> &'static str {
    match reason {
        EvictReason::Idle => "idle for long",
        EvictReason::MakeRoom => "to make room",
        EvictReason::BudgetShrank => "the budget shrank",
        EvictReason::Resize | EvictReason::Unload | EvictReason::Unregister => "by hand",
    }
}
