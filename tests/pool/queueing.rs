//! Full queues, bursts, single flight: exact counts.

use std::time::Duration;

use millpond::pool::{LoadError, NoWorkers, PoolError, QueueOrder, SpawnError, SubmitOptions, WhenBusy};

use crate::support::{Act, Counts, Gate, Script, answer, config, pool, reports};

/// A burst of a hundred times the capacity.
#[test]
fn row_17_exactly_what_does_not_fit_is_rejected_and_the_rest_is_served_in_order() {
    let (gate, script) = (Gate::new(), Script::new());
    let mut config = config();
    (config.queue_capacity, config.queue_order) = (10, QueueOrder::Fifo);
    let (pool, _) = pool(config, &script);
    let blocked = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    let (done, order) = reports();
    let mut accepted = Vec::new();
    let mut rejected = 0;
    for i in 0..1000 {
        let done = done.clone();
        let options = SubmitOptions::new()
            .priority((i % 3) as i32)
            .on_complete(move |end| done.send(*end.result.unwrap()).unwrap());
        match pool.submit_with("model", Act::Answer(i), options) {
            Ok(ticket) => accepted.push(ticket),
            Err(refused) => {
                assert!(matches!(refused.error, PoolError::QueueFull { capacity: 10, .. }));
                assert!(
                    matches!(refused.request, Act::Answer(value) if value == i),
                    "it comes back untouched"
                );
                rejected += 1;
            }
        }
    }
    assert_eq!((accepted.len(), rejected), (10, 990));
    assert_eq!(pool.metrics().total_rejected, 990);
    gate.open();
    answer(blocked).unwrap();
    for ticket in accepted {
        assert!(answer(ticket).unwrap() < 10);
    }
    assert_eq!(order.try_iter().collect::<Vec<_>>(), (0..10).collect::<Vec<_>>(), "first in, first out");
}

#[test]
fn row_17_within_a_priority_first_in_is_first_out() {
    let (gate, script) = (Gate::new(), Script::new());
    let (pool, _) = pool(config(), &script);
    let blocked = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    let (done, order) = reports();
    let tickets: Vec<_> = (0..30)
        .map(|i| {
            let done = done.clone();
            let options = SubmitOptions::new()
                .priority((i % 3) as i32)
                .on_complete(move |end| done.send(*end.result.unwrap()).unwrap());
            pool.submit_with("model", Act::Answer(i), options).unwrap()
        })
        .collect();
    gate.open();
    answer(blocked).unwrap();
    for ticket in tickets {
        assert!(answer(ticket).is_ok());
    }
    let expected: Vec<u64> = [2, 1, 0].into_iter().flat_map(|class| (class..30).step_by(3)).collect();
    assert_eq!(order.try_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn row_17_a_rejected_request_is_told_at_once_and_neither_counted_in_nor_called_back() {
    let (gate, script) = (Gate::new(), Script::new());
    let mut config = config();
    config.when_busy = WhenBusy::Reject;
    let (pool, _) = pool(config, &script);
    let blocked = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    let (told, hears) = reports::<()>();
    let options = SubmitOptions::new().on_complete(move |_| told.send(()).unwrap());
    let refused = pool.submit_with("model", Act::Answer(1), options).unwrap_err().error;
    assert!(matches!(refused, PoolError::NoWorkers { reason: NoWorkers::NoneFree, .. }), "{refused}");
    assert!(hears.try_recv().is_err());
    gate.open();
    answer(blocked).unwrap();
    assert_eq!((pool.metrics().total_requests, pool.metrics().total_rejected), (1, 1));
}

#[test]
fn row_09_64_callers_of_a_cold_model_share_one_load() {
    let (gate, script) = (Gate::new(), Script::new());
    let (pool, _) = pool(config().workers(2), &script.clone().load_gate(&gate));
    let callers: Vec<_> = (0..64)
        .map(|i| {
            let pool = pool.clone();
            std::thread::spawn(move || answer(pool.submit("model", Act::Answer(i)).unwrap()).unwrap())
        })
        .collect();
    gate.wait_entered();
    crate::support::eventually(|| pool.metrics().total_requests == 64);
    gate.open();
    for (i, caller) in callers.into_iter().enumerate() {
        assert_eq!(caller.join().unwrap(), i as u64);
    }
    assert_eq!(Counts::get(&script.counts.loads), 1);
}

#[test]
fn row_09_one_failed_load_reaches_all_64() {
    let (gate, script) = (Gate::new(), Script::new().failing_loads(1));
    let mut config = config();
    (config.initial_workers, config.min_workers, config.max_workers) = (2, 0, 2);
    let (pool, _) = pool(config, &script.clone().load_gate(&gate));
    let tickets: Vec<_> = (0..64).map(|i| pool.submit("model", Act::Answer(i)).unwrap()).collect();
    gate.wait_entered();
    gate.open();
    for ticket in tickets {
        let error = answer(ticket).unwrap_err();
        let load =
            matches!(&error, PoolError::SpawnFailed { source: SpawnError::Load(LoadError::Failed(_)), .. });
        assert!(load, "{error}");
    }
    assert_eq!(Counts::get(&script.counts.loads), 1, "one failure, however many workers shared it");
}

/// However fast the load fails, the second worker of the same start does not load again.
#[test]
fn row_09_workers_that_start_together_share_a_load_that_fails_at_once() {
    for _ in 0..300 {
        let script = Script::new().failing_loads(1);
        let mut config = config();
        (config.initial_workers, config.min_workers, config.max_workers) = (4, 0, 4);
        let (pool, _) = pool(config, &script);
        let error = answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap_err();
        assert!(matches!(error, PoolError::SpawnFailed { .. }), "{error}");
        assert_eq!(Counts::get(&script.counts.loads), 1);
    }
}

#[test]
fn row_09_a_preload_that_fails_tells_every_waiter() {
    let (gate, script) = (Gate::new(), Script::new().failing_loads(1));
    let mut config = config();
    config.min_workers = 0;
    let (pool, _) = pool(config, &script.load_gate(&gate));
    let waiters: Vec<_> = (0..8)
        .map(|_| {
            let pool = pool.clone();
            std::thread::spawn(move || pool.preload("model"))
        })
        .collect();
    gate.wait_entered();
    pool.maintain();
    gate.open();
    let failed = waiters.into_iter().map(|waiter| crate::support::ends(move || waiter.join().unwrap()));
    // A waiter that came after the failure may have started the next load, which succeeds.
    gate.open();
    assert!(failed.filter(Result::is_err).count() >= 1);
    assert!(pool.wait_idle(Duration::ZERO));
}
