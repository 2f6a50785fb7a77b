//! Keys that are taken off while they are in use, and put there again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millpond::ByteSize;
use millpond::memory::MemoryBudget;
use millpond::pool::{
    EvictReason, KeyConfig, NoWorkers, PoolError, RegisterError, Retry, SubmitOptions, What,
};

use crate::support::{Act, Counts, Gate, Script, answer, config, ends, event, eventually, pool, pool_within};

/// Whether nothing of a script is left with its pool: not its models, not its weights, not its loader.
fn is_gone(script: &Script) -> bool {
    let counts = &script.counts;
    let all = Counts::get(&counts.builds) == Counts::get(&counts.drops)
        && Counts::get(&counts.loads) == Counts::get(&counts.weights_dropped);
    all && Arc::strong_count(counts) == 1
}

fn is_unregistered(error: &PoolError) -> bool {
    matches!(error, PoolError::NoWorkers { reason: NoWorkers::Unregistered, .. })
}

#[test]
fn what_was_accepted_is_answered_while_the_key_is_another_models_already() {
    let (gate, old, new) = (Gate::new(), Script::new().bytes(1000, 10), Script::new().bytes(500, 5));
    let (pool, _) = pool(config(), &old);
    let running = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    let waiting: Vec<_> = (0..3).map(|i| pool.submit("model", Act::Answer(i)).unwrap()).collect();
    pool.unregister("model").unwrap();
    assert!(pool.keys().is_empty());
    let refused = pool.submit("model", Act::Answer(9)).unwrap_err().error;
    assert!(is_unregistered(&refused), "{refused}");
    assert!(is_unregistered(&pool.unregister("model").unwrap_err()), "once");

    pool.register("model", new.clone()).unwrap();
    assert_eq!(answer(pool.submit("model", Act::Answer(7)).unwrap()).unwrap(), 7);
    assert_eq!(Counts::get(&new.counts.builds), 1, "by the new model");
    let status = pool.status();
    assert_eq!((status.keys.len(), status.leaving.len()), (1, 1));
    assert_eq!((status.leaving[0].in_flight, status.leaving[0].queue_used), (1, 3));
    assert_eq!(status.memory.bytes(), 1515, "both are there");

    gate.open();
    answer(running).unwrap();
    for (i, ticket) in waiting.into_iter().enumerate() {
        assert_eq!(answer(ticket).unwrap(), i as u64);
    }
    eventually(|| pool.budget().reserved().bytes() == 505);
    eventually(|| pool.status().leaving.is_empty());
    assert_eq!(Counts::get(&old.counts.builds), 1, "by the worker that it had");
    eventually(|| {
        pool.maintain();
        is_gone(&old)
    });
    assert_eq!(pool.metrics().total_completed, 5, "what is gone still counts");
}

#[test]
fn an_idle_key_that_is_taken_off_gives_everything_back() {
    let script = Script::new().bytes(1000, 10);
    let (pool, _) = pool(config().workers(2), &script);
    let events = pool.events(64);
    pool.pin("model", true).unwrap();
    pool.resize("model", 3).unwrap();
    eventually(|| pool.key_status("model").unwrap().ready == 3);
    pool.unregister("model").unwrap();
    event(&events, |what| matches!(what, What::Evicted { reason: EvictReason::Unregister, .. }));
    eventually(|| pool.budget().reserved() == ByteSize::ZERO);
    eventually(|| {
        pool.maintain();
        is_gone(&script)
    });
    let metrics = pool.metrics();
    assert_eq!((metrics.workers_spawned, metrics.workers_evicted), (3, 3));
    assert_eq!(Counts::get(&script.counts.builds), 3, "none came in their place");
}

#[test]
fn a_worker_that_is_busy_while_it_is_let_go_is_counted_once() {
    let (gate, script) = (Gate::new(), Script::new());
    let (pool, _) = pool(config(), &script);
    let events = pool.events(64);
    let running = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    pool.unregister("model").unwrap();
    for _ in 0..3 {
        pool.maintain();
    }
    gate.open();
    answer(running).unwrap();
    event(&events, |what| matches!(what, What::Stopped { .. }));
    assert_eq!(pool.metrics().workers_evicted, 1, "however often it is looked at");
}

#[test]
fn workers_that_are_unloaded_are_counted() {
    let (pool, _) = pool(config(), &Script::new());
    answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap();
    for _ in 0..2 {
        pool.unload("model").unwrap();
        assert_eq!(pool.key_status("model").unwrap().evicted, 1, "there is none to let go again");
    }
}

#[test]
fn a_key_whose_last_waiting_request_is_canceled_goes() {
    let (gate, script) = (Gate::new(), Script::new());
    let (pool, _) = pool(config(), &script);
    let events = pool.events(64);
    let running = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    let waiting = pool.submit("model", Act::Answer(1)).unwrap();
    pool.unregister("model").unwrap();
    pool.maintain();
    assert_eq!(pool.metrics().workers_evicted, 0, "a request waits for the worker");
    waiting.cancel();
    event(&events, |what| matches!(what, What::Evicted { reason: EvictReason::Unregister, .. }));
    gate.open();
    answer(running).unwrap();
}

#[test]
fn a_key_whose_request_waits_for_its_next_attempt_is_listed_as_leaving() {
    let (pool, clock) = pool(config(), &Script::new());
    let options = SubmitOptions::new().retry(Retry::new(2, Duration::from_secs(5)));
    let ticket = pool.submit_with("model", Act::FailTimes(1), options).unwrap();
    eventually(|| pool.metrics().total_retries == 1);
    pool.unload("model").unwrap();
    pool.unregister("model").unwrap();
    let leaving = pool.status().leaving;
    assert_eq!((leaving.len(), leaving[0].queue_used, leaving[0].workers.len()), (1, 1, 0));
    clock.advance(Duration::from_secs(5));
    assert_eq!(answer(ticket).unwrap(), 2);
}

#[test]
fn a_key_that_was_never_used_is_gone_at_once() {
    let script = Script::new();
    let (pool, _) = pool(config(), &script);
    for _ in 0..100 {
        pool.unregister("model").unwrap();
        pool.register("model", script.clone()).unwrap();
    }
    eventually(|| {
        pool.maintain();
        Arc::strong_count(&script.counts) == 2
    });
    assert_eq!(pool.register("model", script.clone()), Err(RegisterError::Taken("model".into())));
}

#[test]
fn requests_that_wait_for_a_load_get_it() {
    let (gate, script) = (Gate::new(), Script::new().bytes(1000, 10));
    let (pool, _) = pool(config(), &script.clone().load_gate(&gate));
    let tickets: Vec<_> = (0..3).map(|i| pool.submit("model", Act::Answer(i)).unwrap()).collect();
    gate.wait_entered();
    pool.unregister("model").unwrap();
    gate.open();
    for (i, ticket) in tickets.into_iter().enumerate() {
        assert_eq!(answer(ticket).unwrap(), i as u64);
    }
    eventually(|| {
        pool.maintain();
        is_gone(&script) && pool.budget().reserved() == ByteSize::ZERO
    });
}

#[test]
fn a_request_that_waits_for_its_next_attempt_has_it() {
    let script = Script::new();
    let (pool, clock) = pool(config(), &script);
    let options = SubmitOptions::new().retry(Retry::new(3, Duration::from_secs(5)));
    let ticket = pool.submit_with("model", Act::FailTimes(2), options).unwrap();
    eventually(|| pool.metrics().total_retries == 1);
    pool.unregister("model").unwrap();
    clock.advance(Duration::from_secs(5));
    eventually(|| pool.metrics().total_retries == 2);
    clock.advance(Duration::from_secs(5));
    assert_eq!(answer(ticket).unwrap(), 3);
    eventually(|| {
        pool.maintain();
        is_gone(&script)
    });
}

#[test]
fn deadlines_and_crashes_are_what_they_are_elsewhere() {
    let (gate, script) = (Gate::new(), Script::new());
    let (pool, clock) = pool(config(), &script);
    let doomed = pool.submit("model", Act::BlockThen(gate.clone(), Box::new(Act::Panic))).unwrap();
    gate.wait_entered();
    let patient = SubmitOptions::new().timeout(Duration::MAX);
    let late = pool.submit("model", Act::Answer(1)).unwrap();
    let saved = pool.submit_with("model", Act::Answer(2), patient).unwrap();
    pool.unregister("model").unwrap();
    clock.advance(Duration::from_secs(31));
    for ticket in [doomed, late] {
        let error = answer(ticket).unwrap_err();
        assert!(matches!(error, PoolError::Timeout { .. }), "{error}");
    }
    gate.open();
    assert_eq!(answer(saved).unwrap(), 2, "by the worker that came for the one that panicked");
    assert_eq!(pool.metrics().workers_restarted, 1);
    eventually(|| {
        pool.maintain();
        is_gone(&script)
    });
}

#[test]
fn a_shutdown_ends_what_a_key_that_was_taken_off_still_has() {
    let (gate, script) = (Gate::new(), Script::new());
    let (pool, _) = pool(config(), &script);
    let running = pool.submit("model", Act::Linger(gate.clone())).unwrap();
    gate.wait_entered();
    let waiting = pool.submit("model", Act::Answer(1)).unwrap();
    pool.unregister("model").unwrap();
    let stopped = {
        let pool = pool.clone();
        ends(move || pool.shutdown(Duration::ZERO))
    };
    stopped.unwrap_err();
    for ticket in [running, waiting] {
        let error = answer(ticket).unwrap_err();
        assert!(matches!(error, PoolError::ShuttingDown { .. }), "{error}");
    }
    assert_eq!(Counts::get(&script.counts.builds), Counts::get(&script.counts.drops), "it is joined");
    assert_eq!(pool.budget().reserved(), ByteSize::ZERO);
}

#[test]
fn whoever_waits_for_a_load_or_an_unload_hears_of_it() {
    let (gate, script) = (Gate::new(), Script::new());
    let (pool, _) = pool(config(), &script.clone().load_gate(&gate));
    let loading = {
        let pool = pool.clone();
        std::thread::spawn(move || pool.preload("model"))
    };
    gate.wait_entered();
    let unloading = {
        let pool = pool.clone();
        std::thread::spawn(move || pool.unload("model"))
    };
    pool.unregister("model").unwrap();
    let loaded = ends(move || loading.join().unwrap());
    assert!(loaded.is_err_and(|error| is_unregistered(&error)));
    gate.open();
    // It found the key before or after.
    ends(move || unloading.join().unwrap())
        .or_else(|error| if is_unregistered(&error) { Ok(()) } else { Err(error) })
        .unwrap();
}

#[test]
fn a_model_that_takes_a_keys_place_gets_its_memory() {
    let budget = MemoryBudget::fixed(ByteSize::new(1500));
    let (gate, old, new) = (Gate::new(), Script::new().bytes(1000, 10), Script::new().bytes(1000, 10));
    let (pool, clock) = pool_within(config(), &old, &budget);
    let running = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    pool.replace("model", new.clone(), KeyConfig::of(pool.config()).workers(1)).unwrap();
    let patient = SubmitOptions::new().timeout(Duration::MAX);
    let next = pool.submit_with("model", Act::Answer(7), patient).unwrap();
    pool.maintain();
    assert!(!next.is_ready() && Counts::get(&new.counts.loads) == 0, "there is no room for both");
    gate.open();
    answer(running).unwrap();
    eventually(|| {
        clock.advance(Duration::from_millis(10));
        next.is_ready()
    });
    assert_eq!(answer(next).unwrap(), 7);
    assert_eq!(budget.reserved().bytes(), 1010);
}

/// A key's model is replaced a hundred times while requests come in: none is refused, none is lost.
#[test]
fn replacing_a_key_under_load_drops_no_request() {
    let first = Script::new().bytes(1000, 10);
    let (pool, _) = pool(config(), &first);
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..3)
        .map(|_| {
            let (pool, stop) = (pool.clone(), stop.clone());
            std::thread::spawn(move || {
                let mut answered = 0;
                while !stop.load(Ordering::SeqCst) {
                    let patient = SubmitOptions::new().timeout(Duration::MAX);
                    let ticket = pool.submit_with("model", Act::Answer(answered), patient).unwrap();
                    assert_eq!(answer(ticket).unwrap(), answered);
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    let mut scripts = vec![first];
    for _ in 0..100 {
        let script = Script::new().bytes(1000, 10);
        pool.replace("model", script.clone(), KeyConfig::of(pool.config()).workers(1)).unwrap();
        scripts.push(script);
        let before = pool.metrics().total_completed;
        eventually(|| pool.metrics().total_completed > before + 2);
    }
    stop.store(true, Ordering::SeqCst);
    let answered: u64 = callers.into_iter().map(|caller| ends(move || caller.join().unwrap())).sum();
    let last = scripts.pop().unwrap();
    eventually(|| {
        pool.maintain();
        scripts.iter().all(is_gone)
    });
    let metrics = pool.metrics();
    assert_eq!((metrics.total_requests, metrics.total_completed), (answered, answered));
    assert_eq!((metrics.total_rejected, metrics.total_errors), (0, 0));
    assert!(Counts::get(&last.counts.builds) > 0);
    assert_eq!(pool.budget().reserved().bytes(), 1010, "of the last one");
}

#[test]
fn a_ticket_that_nobody_looks_at_keeps_a_key_in_mind_but_no_memory() {
    let script = Script::new().bytes(1000, 10);
    let (pool, _) = pool(config(), &script);
    let ticket = pool.submit("model", Act::Answer(1)).unwrap();
    eventually(|| ticket.is_ready());
    pool.unregister("model").unwrap();
    eventually(|| pool.budget().reserved() == ByteSize::ZERO);
    pool.maintain();
    assert!(pool.status().leaving.is_empty(), "it has nothing");
    assert_eq!(answer(ticket).unwrap(), 1);
    eventually(|| {
        pool.maintain();
        is_gone(&script)
    });
}
