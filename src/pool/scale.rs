//! How many workers a key should have: a pure decision over a snapshot.

use std::time::Duration;

use super::events::{EvictReason, SpawnReason};

/// A lane as scaling sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    /// Workers that are loading, or whose restart is due later.
    pub(crate) starting: usize,
    /// Workers that serve.
    pub(crate) serving: usize,
    /// How long each idle one of them has been idle.
    pub(crate) idle: Vec<Duration>,
    /// Jobs that wait.
    pub(crate) queued: usize,
    /// How long the oldest of them has waited.
    pub(crate) oldest_wait: Duration,
    /// How long the queue would take to drain with the workers there are.
    pub(crate) expected_wait: Duration,
    /// How long a further worker takes to start.
    pub(crate) spawn_time: Duration,
    /// How many workers were asked for by hand.
    pub(crate) target: Option<usize>,
    /// Whether somebody waits for the key to be loaded.
    pub(crate) wanted: bool,
    /// Whether idle workers stay.
    pub(crate) pinned: bool,
}

/// What scaling may choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) initial: usize,
    pub(crate) min: usize,
    pub(crate) max: usize,
    pub(crate) cooldown: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Hold,
    Spawn { count: usize, reason: SpawnReason },
    Drain { count: usize, reason: EvictReason },
}

/// How often a key is looked at whose workers are busy, at most: one that becomes idle is noticed by then.
const LOOK_FOR_IDLE: Duration = Duration::from_secs(1);

/// How long until an idle worker may have to go, if no work comes; `None` if none would. One that is busy or starting
/// could be idle from now on, and is due after a cooldown.
pub(crate) fn next_idle(demand: &Demand, bounds: &Bounds) -> Option<Duration> {
    let alive = demand.starting + demand.serving;
    if demand.target.is_some() || demand.pinned || alive <= bounds.min {
        return None;
    }
    let cooling = demand
        .idle
        .iter()
        .filter_map(|idle| bounds.cooldown.checked_sub(*idle))
        .filter(|rest| !rest.is_zero());
    let others = cooling.clone().count() < alive;
    cooling.min().into_iter().chain(others.then(|| bounds.cooldown.max(LOOK_FOR_IDLE))).min()
}

/// Decides:
///
/// 1. A number asked for by hand is kept to, both ways.
/// 2. No workers and work to do: the initial number, all at once.
/// 3. Fewer than the minimum, though some are there: up to it.
/// 4. Work waits, nothing is starting, and waiting would take longer than starting: one more.
/// 5. Nothing waits: those idle past the cooldown go, down to the minimum; all stay while pinned.
/// 6. Otherwise nothing.
pub(crate) fn decide(demand: &Demand, bounds: &Bounds) -> Decision {
    let Demand { starting, serving, queued, .. } = *demand;
    let alive = starting + serving;
    // 1
    if let Some(target) = demand.target {
        return match alive.cmp(&target) {
            std::cmp::Ordering::Less => {
                Decision::Spawn { count: target - alive, reason: SpawnReason::Resize }
            }
            std::cmp::Ordering::Greater => {
                Decision::Drain { count: alive - target, reason: EvictReason::Resize }
            }
            std::cmp::Ordering::Equal => Decision::Hold,
        };
    }
    let max = bounds.max.max(1);
    // 2
    if alive == 0 {
        if queued == 0 && !demand.wanted {
            return Decision::Hold;
        }
        return Decision::Spawn { count: bounds.initial.clamp(1, max), reason: SpawnReason::ColdStart };
    }
    // 3
    if alive < bounds.min.min(max) {
        return Decision::Spawn { count: bounds.min.min(max) - alive, reason: SpawnReason::Minimum };
    }
    // 4
    if queued > 0 {
        let wait = demand.expected_wait.max(demand.oldest_wait);
        let grow = starting == 0 && alive < max && wait > demand.spawn_time;
        return if grow {
            Decision::Spawn { count: 1, reason: SpawnReason::QueueWait }
        } else {
            Decision::Hold
        };
    }
    // 5
    let floor = if demand.pinned { alive } else { bounds.min };
    let over = demand.idle.iter().filter(|idle| **idle >= bounds.cooldown).count();
    match over.min(alive.saturating_sub(floor)) {
        // 6
        0 => Decision::Hold,
        count => Decision::Drain { count, reason: EvictReason::Idle },
    }
}
