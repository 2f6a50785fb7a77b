//! Whom to evict and whom to give the next job: beside every choice there is.

use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::config;
use crate::pool::dispatch::{Load, pick};
use crate::pool::evict::{Candidate, choose};

/// Up to three keys, each with single workers and all of them together with the weights, in any order.
fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let key = (vec(1..40u64, 1..4), 0..100u64, vec(0..90u64, 4), 1..5000u64);
    vec(key, 0..4)
        .prop_map(|keys| keys.into_iter().enumerate().flat_map(of_key).collect::<Vec<_>>())
        .prop_shuffle()
}

fn of_key(
    (lane, (workers, weights, idle, reload)): (usize, (Vec<u64>, u64, Vec<u64>, u64)),
) -> Vec<Candidate> {
    let idle = |index: usize| Duration::from_secs(idle[index]);
    let reload = Duration::from_millis(reload);
    let whole =
        Candidate { lane, whole: true, bytes: workers.iter().sum::<u64>() + weights, idle: idle(3), reload };
    let singles = workers.iter().enumerate().skip(1);
    let single = |(index, bytes): (usize, &u64)| Candidate {
        whole: false,
        bytes: *bytes,
        idle: idle(index),
        reload: Duration::from_millis(1),
        ..whole
    };
    std::iter::once(whole).chain(singles.map(single)).collect()
}

fn sum(candidates: &[Candidate], chosen: &[usize]) -> u64 {
    chosen.iter().map(|index| candidates[*index].bytes).sum()
}

/// Whether no key is named both as a whole and in part, and none twice.
fn is_consistent(candidates: &[Candidate], chosen: &[usize]) -> bool {
    chosen.iter().enumerate().all(|(at, a)| {
        chosen[at + 1..].iter().all(|b| {
            let (x, y) = (&candidates[*a], &candidates[*b]);
            a != b && (x.lane != y.lane || !(x.whole || y.whole))
        })
    })
}

/// Every choice there is.
fn subsets(count: usize) -> impl Iterator<Item = Vec<usize>> {
    (0u32..1 << count).map(move |bits| (0..count).filter(|index| bits >> index & 1 == 1).collect())
}

fn score(candidate: &Candidate) -> f64 {
    candidate.idle.as_secs_f64() * candidate.bytes as f64 / candidate.reload.as_secs_f64().max(1e-3)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn eviction_frees_enough_and_nothing_in_vain(
        candidates in candidates(),
        need in 0..400u64,
        exactly in option::of(0..12usize),
    ) {
        let need = exactly.and_then(|index| candidates.get(index)).map_or(need, |candidate| candidate.bytes);
        let possible = subsets(candidates.len())
            .filter(|chosen| is_consistent(&candidates, chosen))
            .any(|chosen| sum(&candidates, &chosen) >= need);
        let chosen = choose(&candidates, need);
        prop_assert_eq!(chosen.is_some(), possible, "it gives up exactly when nothing would do");
        let Some(chosen) = chosen else { return Ok(()) };
        prop_assert!(is_consistent(&candidates, &chosen), "{:?}", chosen);
        prop_assert!(sum(&candidates, &chosen) >= need);
        for index in &chosen {
            prop_assert!(sum(&candidates, &chosen) - candidates[*index].bytes < need, "{} goes in vain", index);
        }
        let alone = candidates.iter().filter(|candidate| candidate.bytes >= need && need > 0);
        if let Some(best) = alone.map(score).max_by(f64::total_cmp) {
            prop_assert_eq!(chosen.len(), 1);
            prop_assert!(score(&candidates[chosen[0]]) >= best);
        }
    }

    #[test]
    fn dispatch_picks_the_least_busy(
        loads in vec((proptest::bool::weighted(0.8), prop_oneof![8 => 0..3u64, 1 => any::<u64>()]), 0..10),
        preferred in option::of(0..12usize),
    ) {
        let loads: Vec<Load> = loads.into_iter().map(|(takes, pending)| Load { takes, pending }).collect();
        let takers = || loads.iter().enumerate().filter(|(_, load)| load.takes);
        let least = takers().map(|(_, load)| load.pending).min();
        let expected = takers()
            .filter(|(_, load)| Some(load.pending) == least)
            .map(|(index, _)| index)
            .min_by_key(|index| (Some(*index) != preferred, *index));
        prop_assert_eq!(pick(loads.iter().copied(), preferred), expected);
    }
}
