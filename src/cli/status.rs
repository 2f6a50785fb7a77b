//! What a server says of itself, as those read it who ask.

use std::time::Duration;

use serde::Deserialize;

use crate::engine::EngineStatus;
use crate::pool::{KeyStatus, PoolStatus, WorkerState};

/// A server at one moment.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ServerStatus {
    pub(super) version: String,
    pub(super) uptime: Duration,
    /// Whether it is stopping.
    #[serde(default)]
    pub(super) draining: bool,
    #[serde(flatten)]
    pub(super) engine: EngineStatus,
    #[serde(default)]
    pub(super) requests: Vec<serde_json::Value>,
}

impl ServerStatus {
    /// Each model in each pool that it is in.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&PoolStatus, &KeyStatus)> {
        self.engine.pools.iter().flat_map(|pool| pool.keys.iter().map(move |key| (pool, key)))
    }
}

/// Whether anything of it is in memory or asked for.
pub(super) fn is_active(key: &KeyStatus) -> bool {
    !key.workers.is_empty() || key.queue_used > 0
}

/// How many of its workers are in this state.
pub(super) fn workers_in(key: &KeyStatus, state: WorkerState) -> usize {
    key.workers.iter().filter(|worker| worker.state == state).count()
}

/// A duration as people say it: `45 s`, `4 min 10 s`, `3 h 2 min`.
pub(super) fn spoken(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// What a stranger wrote, on one line and no longer than this.
pub(super) fn clipped(text: &str, most: usize) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    if text.chars().count() <= most {
        return text.chars().map(plain).collect();
    }
    text.chars().map(plain).take(most.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_names_fit_a_table() {
        for (seconds, expected) in [(0, "0 s"), (59, "59 s"), (250, "4 min 10 s"), (10_920, "3 h 2 min")] {
            assert_eq!(spoken(Duration::from_secs(seconds)), expected);
        }
        assert_eq!((clipped("abc", 3).as_str(), clipped("abcd", 3).as_str()), ("abc", "ab…"));
        assert_eq!(clipped("a\u{1b}[2Jb", 9), "a [2Jb", "a terminal is not to be steered");
    }
}
