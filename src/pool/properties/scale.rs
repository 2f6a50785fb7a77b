//! Scaling, as a game: what it decides is done, and it decides again.

use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::config;
use crate::pool::events::{EvictReason, SpawnReason};
use crate::pool::scale::{Bounds, Decision, Demand, decide, next_idle};

fn seconds(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_secs)
}

prop_compose! {
    fn demand()(
        starting in 0..4usize,
        idle in vec(seconds(0..120), 0..5),
        busy in 0..4usize,
        queued in prop_oneof![Just(0usize), 1..50usize],
        oldest_wait in seconds(0..20),
        expected_wait in seconds(0..20),
        spawn_time in seconds(0..20),
        target in option::weighted(0.2, 1..8usize),
        wanted: bool,
        pinned: bool,
    ) -> Demand {
        let serving = idle.len() + busy;
        Demand { starting, serving, idle, queued, oldest_wait, expected_wait, spawn_time, target, wanted, pinned }
    }
}

prop_compose! {
    fn bounds()(initial in 0..6usize, min in 0..6usize, max in 0..8usize, cooldown in seconds(0..90)) -> Bounds {
        Bounds { initial, min, max, cooldown }
    }
}

fn alive(demand: &Demand) -> usize {
    demand.starting + demand.serving
}

/// The lane once the decision has been carried out: those that idle longest go first.
fn carried_out(decision: Decision, mut demand: Demand) -> Demand {
    match decision {
        Decision::Hold => {}
        Decision::Spawn { count, .. } => demand.starting += count,
        Decision::Drain { count, .. } => {
            demand.idle.sort_unstable();
            demand.idle.truncate(demand.idle.len().saturating_sub(count));
            let from_starting = count.saturating_sub(demand.serving);
            demand.serving = demand.serving.saturating_sub(count);
            demand.starting -= from_starting;
        }
    }
    demand
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn it_settles_and_within_bounds(demand in demand(), bounds in bounds()) {
        let before = alive(&demand);
        let mut now = demand;
        for _ in 0..3 {
            let decision = decide(&now, &bounds);
            if let Decision::Spawn { count, .. } | Decision::Drain { count, .. } = decision {
                prop_assert!(count > 0, "a decision to do nothing is called Hold");
            }
            now = carried_out(decision, now);
        }
        prop_assert_eq!(decide(&now, &bounds), Decision::Hold, "{:?}", now);
        if let Some(target) = now.target {
            prop_assert_eq!(alive(&now), target);
        } else {
            prop_assert!(alive(&now) <= before.max(bounds.max).max(1));
            prop_assert!(alive(&now) >= before.min(bounds.min));
        }
    }

    #[test]
    fn work_without_workers_gets_some_and_idle_keys_do_not(demand in demand(), bounds in bounds()) {
        let cold = Demand { starting: 0, serving: 0, idle: Vec::new(), target: None, ..demand };
        match decide(&cold, &bounds) {
            Decision::Hold => prop_assert!(cold.queued == 0 && !cold.wanted),
            Decision::Spawn { count, reason: SpawnReason::ColdStart } => {
                prop_assert!(cold.queued > 0 || cold.wanted);
                prop_assert!((1..=bounds.max.max(1)).contains(&count));
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn one_more_comes_only_when_waiting_is_longer_than_starting(demand in demand(), bounds in bounds()) {
        if let Decision::Spawn { count, reason: SpawnReason::QueueWait } = decide(&demand, &bounds) {
            prop_assert_eq!((count, demand.starting), (1, 0));
            prop_assert!(demand.queued > 0 && alive(&demand) < bounds.max.max(1));
            prop_assert!(demand.oldest_wait.max(demand.expected_wait) > demand.spawn_time);
        }
    }

    #[test]
    fn only_the_idle_go_and_only_when_nobody_waits(demand in demand(), bounds in bounds()) {
        if let Decision::Drain { count, reason: EvictReason::Idle } = decide(&demand, &bounds) {
            let long_idle = demand.idle.iter().filter(|idle| **idle >= bounds.cooldown).count();
            prop_assert!(count <= long_idle && demand.queued == 0 && !demand.pinned);
            prop_assert!(alive(&demand) - count >= bounds.min.min(alive(&demand)));
        }
    }

    #[test]
    fn the_next_look_at_idle_workers_is_when_one_goes_and_not_before(demand in demand(), bounds in bounds()) {
        let mut now = demand;
        for _ in 0..3 {
            now = carried_out(decide(&now, &bounds), now);
        }
        let after = |wait: Duration| {
            let idle: Vec<_> = now.idle.iter().map(|idle| *idle + wait).collect();
            decide(&Demand { idle, ..now.clone() }, &bounds)
        };
        match next_idle(&now, &bounds) {
            None => prop_assert_eq!(after(Duration::from_hours(1)), Decision::Hold),
            Some(wait) => {
                prop_assert!(!wait.is_zero(), "the supervisor would not come to rest");
                prop_assert_eq!(after(wait.saturating_sub(Duration::from_nanos(1))), Decision::Hold);
                let idle = now.idle.iter().all(|idle| *idle < bounds.cooldown);
                if idle && now.idle.len() == alive(&now) && now.queued == 0 {
                    let goes = matches!(after(wait), Decision::Drain { reason: EvictReason::Idle, .. });
                    prop_assert!(goes, "{:?}", after(wait));
                }
            }
        }
    }
}
