//! Requests that meet a worker on its way out, and loads and unloads in each other's way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millpond::ByteSize;
use millpond::memory::MemoryBudget;
use millpond::pool::{EvictReason, KeyConfig, PoolError, SubmitOptions, What};

use crate::support::{Act, Counts, Gate, Script, answer, config, ends, event, eventually, pool, pool_within};

#[test]
fn row_07_a_request_that_comes_while_the_worker_stops_waits_and_loads_again() {
    let (gate, script) = (Gate::new(), Script::new());
    let (pool, _) = pool(config(), &script);
    let blocked = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    let unloading = {
        let pool = pool.clone();
        std::thread::spawn(move || pool.unload("model"))
    };
    eventually(|| !pool.has_workers("model"));
    let late = pool.submit("model", Act::Answer(7)).unwrap();
    gate.open();
    answer(blocked).unwrap();
    assert_eq!(answer(late).unwrap(), 7);
    ends(move || unloading.join().unwrap()).unwrap();
    assert_eq!(pool.metrics().workers_spawned, 2, "never to the one that left");
}

/// 10^5 races; here 1,000 of requests against unloads.
#[test]
fn row_07_requests_and_unloads_race_and_every_request_is_served() {
    let script = Script::new().bytes(1000, 10);
    let (pool, _) = pool(config(), &script);
    let stop = Arc::new(AtomicBool::new(false));
    let unloader = {
        let (pool, stop) = (pool.clone(), stop.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                pool.unload("model").unwrap();
            }
        })
    };
    for i in 0..1000 {
        assert_eq!(answer(pool.submit("model", Act::Answer(i)).unwrap()).unwrap(), i);
    }
    stop.store(true, Ordering::SeqCst);
    ends(move || unloader.join().unwrap());
    pool.unload("model").unwrap();
    assert_eq!(pool.budget().reserved().bytes(), 0);
    assert_eq!(Counts::get(&script.counts.builds), Counts::get(&script.counts.drops));
}

#[test]
fn row_07_idle_eviction_races_with_requests_and_loses_none() {
    let mut config = config();
    config.min_workers = 0;
    config.cooldown_idle = Duration::ZERO;
    config.request_timeout = Duration::MAX;
    let (pool, _) = pool(config, &Script::new());
    let stop = Arc::new(AtomicBool::new(false));
    let keeper = {
        let (pool, stop) = (pool.clone(), stop.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                pool.maintain();
            }
        })
    };
    for i in 0..1000 {
        assert_eq!(answer(pool.submit("model", Act::Answer(i)).unwrap()).unwrap(), i);
    }
    stop.store(true, Ordering::SeqCst);
    ends(move || keeper.join().unwrap());
    let metrics = pool.metrics();
    assert_eq!((metrics.total_completed, metrics.total_errors), (1000, 0));
}

#[test]
fn row_08_expiry_that_comes_too_early_twice_or_too_late_changes_nothing() {
    let (gate, script) = (Gate::new(), Script::new());
    let mut config = config();
    config.min_workers = 0;
    config.request_timeout = Duration::MAX;
    let (pool, clock) = pool(config, &script);
    let cooldown = pool.config().cooldown_idle;
    answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap();
    clock.advance(cooldown.checked_sub(Duration::from_secs(1)).unwrap());
    pool.maintain();
    pool.maintain();
    assert!(pool.has_workers("model"), "too early");
    let busy = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    clock.advance(cooldown * 2);
    for _ in 0..3 {
        pool.maintain();
    }
    assert!(pool.has_workers("model"), "its time came while it was busy");
    gate.open();
    answer(busy).unwrap();
    pool.maintain();
    assert!(pool.has_workers("model"), "idle only just now");
    let events = pool.events(64);
    clock.advance(cooldown);
    pool.maintain();
    pool.maintain();
    event(&events, |what| matches!(what, What::Stopped { .. }));
    let evictions = pool.metrics().workers_evicted;
    assert_eq!(evictions, 1, "once, however often it is due");
    assert_eq!(answer(pool.submit("model", Act::Answer(2)).unwrap()).unwrap(), 2);
}

#[test]
fn row_08_an_eviction_meant_for_one_worker_never_hits_its_successor() {
    let budget = MemoryBudget::fixed(ByteSize::new(1500));
    let mut config = config();
    config.min_residence = Duration::from_secs(5);
    let (pool, clock) = pool_within(config, &Script::new().bytes(1000, 0), &budget);
    pool.register("other", Script::new().bytes(1000, 0)).unwrap();
    answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap();
    let patient = || SubmitOptions::new().timeout(Duration::MAX);
    let waiting = pool.submit_with("other", Act::Answer(2), patient()).unwrap();
    pool.maintain();
    assert!(!waiting.is_ready(), "too young to go");
    clock.advance(Duration::from_secs(5));
    assert_eq!(answer(waiting).unwrap(), 2);
    let again = pool.submit_with("model", Act::Answer(3), patient()).unwrap();
    pool.maintain();
    assert!(pool.has_workers("other") && !again.is_ready(), "the successor has its own residence");
    clock.advance(Duration::from_secs(5));
    assert_eq!(answer(again).unwrap(), 3);
}

#[test]
fn row_08_a_busy_worker_gives_its_memory_up_only_when_it_has_finished() {
    let gate = Gate::new();
    let budget = MemoryBudget::fixed(ByteSize::new(1500));
    let mut config = config();
    config.request_timeout = Duration::MAX;
    let (pool, clock) = pool_within(config, &Script::new().bytes(1000, 0), &budget);
    pool.register("other", Script::new().bytes(1000, 0)).unwrap();
    let busy = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    let events = pool.events(64);
    let waiting = pool.submit("other", Act::Answer(2)).unwrap();
    pool.maintain();
    clock.advance(pool.config().memory_patience);
    event(&events, |what| matches!(what, What::Evicted { reason: EvictReason::MakeRoom, .. }));
    assert!(!waiting.is_ready() && !busy.is_ready());
    gate.open();
    assert_eq!(answer(busy).unwrap(), 0, "it finished what it had");
    assert_eq!(answer(waiting).unwrap(), 2);
}

/// A shortage that nobody waits for any more is forgotten with its waiting time.
#[test]
fn row_08_patience_is_counted_from_this_wait_and_not_from_an_earlier_one() {
    let gate = Gate::new();
    let budget = MemoryBudget::fixed(ByteSize::new(1500));
    let mut config = config();
    config.request_timeout = Duration::MAX;
    let (pool, clock) = pool_within(config, &Script::new().bytes(1000, 0), &budget);
    pool.register("other", Script::new().bytes(1000, 0)).unwrap();
    let busy = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    let gave_up = pool.submit("other", Act::Answer(2)).unwrap();
    pool.maintain();
    drop(gave_up);
    clock.advance(pool.config().memory_patience * 2);
    pool.maintain();
    let waiting = pool.submit("other", Act::Answer(3)).unwrap();
    pool.maintain();
    assert!(pool.has_workers("model"), "the new wait has only begun");
    gate.open();
    answer(busy).unwrap();
    eventually(|| {
        clock.advance(Duration::from_millis(10));
        waiting.is_ready()
    });
    assert_eq!(answer(waiting).unwrap(), 3);
}

/// 32 threads x 1,024 rounds on one key are in tests/stress; here all kinds of steering at once, briefly.
#[test]
fn row_10_loads_unloads_resizes_and_requests_on_two_keys_end_well() {
    let budget = MemoryBudget::fixed(ByteSize::new(2500));
    let script = Script::new().bytes(1000, 10);
    let mut config = config();
    (config.initial_workers, config.min_workers, config.max_workers) = (2, 0, 4);
    config.min_residence = Duration::ZERO;
    config.request_timeout = Duration::MAX;
    let (pool, _) = pool_within(config, &script, &budget);
    pool.register_with("second", script.clone(), KeyConfig::of(pool.config())).unwrap();
    let threads: Vec<_> = (0..8_usize)
        .map(|i| {
            let pool = pool.clone();
            std::thread::spawn(move || {
                let key = ["model", "second"][i % 2];
                for round in 0..60_usize {
                    match (i / 2 + round) % 4 {
                        0 => pool.preload(key).unwrap(),
                        1 => pool.unload(key).unwrap(),
                        2 => pool.resize(key, 1 + round % 3).unwrap(),
                        _ => assert_eq!(answer(pool.submit(key, Act::Answer(5)).unwrap()).unwrap(), 5),
                    }
                    assert!(pool.budget().reserved() <= pool.budget().limit());
                }
            })
        })
        .collect();
    for thread in threads {
        ends(move || thread.join().unwrap());
    }
    pool.unload("model").unwrap();
    pool.unload("second").unwrap();
    assert_eq!(pool.budget().reserved().bytes(), 0);
    assert_eq!(Counts::get(&script.counts.builds), Counts::get(&script.counts.drops));
    assert_eq!(Counts::get(&script.counts.loads), Counts::get(&script.counts.weights_dropped));
}

#[test]
fn row_10_an_unload_during_a_load_ends_it_and_answers_both() {
    let (gate, script) = (Gate::new(), Script::new().bytes(1000, 10));
    let mut config = config();
    config.min_workers = 0;
    let (pool, _) = pool(config, &script.clone().load_gate(&gate));
    let preloading = {
        let pool = pool.clone();
        std::thread::spawn(move || pool.preload("model"))
    };
    gate.wait_entered();
    let unloading = {
        let pool = pool.clone();
        std::thread::spawn(move || pool.unload("model"))
    };
    eventually(|| {
        let status = pool.key_status("model").unwrap();
        status.workers.iter().all(|worker| worker.state == millpond::pool::WorkerState::Draining)
    });
    gate.open();
    ends(move || unloading.join().unwrap()).unwrap();
    // Somebody still waits for the key: it loads again.
    gate.open();
    let loaded: Result<(), PoolError> = ends(move || preloading.join().unwrap());
    loaded.unwrap();
    assert!(pool.has_workers("model"));
}
