//! What keeps failing rests, and comes back.

use std::time::Duration;

use millpond::pool::{KeyConfig, PoolError, RateLimit, What};

use crate::support::{Act, Gate, Script, answer, config, event, pool};

/// Five failures in a row while a sixth request is under way.
#[test]
fn row_02_a_success_brings_a_resting_worker_back() {
    let (gate, script) = (Gate::new(), Script::new().capacity(8));
    let (pool, _) = pool(config(), &script);
    let events = pool.events(64);
    let lingering = pool.submit("model", Act::Linger(gate.clone())).unwrap();
    gate.wait_entered();
    let failing: Vec<_> = (0..5).map(|_| pool.submit("model", Act::Fail).unwrap()).collect();
    for ticket in failing {
        answer(ticket).unwrap_err();
    }
    event(&events, |what| matches!(what, What::CircuitOpened { worker: Some(_), .. }));
    assert!(matches!(pool.submit("model", Act::Answer(1)).unwrap_err().error, PoolError::CircuitOpen { .. }));
    gate.open();
    answer(lingering).unwrap();
    event(&events, |what| matches!(what, What::CircuitClosed { worker: Some(_) }));
    // The clock stands still: no probe could have done it.
    assert_eq!(answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap(), 1);
}

#[test]
fn row_02_failures_of_one_batch_open_the_circuit_once_and_rest_it_once() {
    let (gate, script) = (Gate::new(), Script::new().capacity(16));
    let (pool, _) = pool(config(), &script);
    let events = pool.events(64);
    let holding = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    let failing: Vec<_> = (0..12).map(|_| pool.submit("model", Act::Fail).unwrap()).collect();
    gate.open();
    answer(holding).unwrap();
    for ticket in failing {
        drop(answer(ticket).unwrap_err());
    }
    pool.maintain();
    let opened: Vec<_> =
        events.try_iter().filter(|event| matches!(event.what, What::CircuitOpened { .. })).collect();
    assert_eq!(opened.len(), 1, "{opened:?}");
    assert_eq!(pool.key_status("model").unwrap().circuit_open_for, Some(pool.config().circuit_cooldown));
}

#[test]
fn row_02_a_rested_worker_of_a_limited_key_is_handed_work_again() {
    let script = Script::new();
    let (pool, clock) = pool(config(), &Script::new());
    let limited = KeyConfig::of(pool.config()).rate_limit(RateLimit::per_second(1000.0).burst(100));
    pool.register_with("limited", script, limited).unwrap();
    let events = pool.events(64);
    for _ in 0..5 {
        answer(pool.submit("limited", Act::Fail).unwrap()).unwrap_err();
    }
    event(&events, |what| matches!(what, What::CircuitOpened { .. }));
    clock.advance(pool.config().circuit_cooldown);
    assert_eq!(answer(pool.submit("limited", Act::Answer(1)).unwrap()).unwrap(), 1);
}

#[test]
fn row_02_room_that_a_canceled_request_leaves_is_handed_out_in_a_limited_key() {
    let (gate, script) = (Gate::new(), Script::new());
    let (pool, _) = pool(config(), &Script::new());
    let limited = KeyConfig::of(pool.config()).rate_limit(RateLimit::per_second(1000.0).burst(100));
    pool.register_with("limited", script, limited).unwrap();
    let lingering = pool.submit("limited", Act::Linger(gate.clone())).unwrap();
    gate.wait_entered();
    let waiting = pool.submit("limited", Act::Answer(1)).unwrap();
    pool.maintain();
    drop(lingering);
    assert_eq!(answer(waiting).unwrap(), 1);
}

/// Five failures in a row open the circuit of the key; it rests, is probed, and opens again for longer.
#[test]
fn row_02_loads_that_fail_open_the_circuit_and_a_probe_closes_it() {
    let script = Script::new().bytes(1000, 10).failing_loads(6);
    let mut config = config();
    // With a minimum the pool would try by itself, on its own schedule.
    config.min_workers = 0;
    let (pool, clock) = pool(config, &script);
    let rests = pool.config().circuit_cooldown;
    for _ in 0..5 {
        let error = answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap_err();
        assert!(matches!(error, PoolError::SpawnFailed { .. }), "{error}");
    }
    pool.maintain();
    let refused = pool.submit("model", Act::Answer(1)).unwrap_err().error;
    assert!(matches!(refused, PoolError::CircuitOpen { failures: 5, .. }), "{refused}");
    assert_eq!(refused.retry_after(), Some(rests));
    clock.advance(rests);
    answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap_err();
    pool.maintain();
    let refused = pool.submit("model", Act::Answer(1)).unwrap_err().error;
    assert_eq!(refused.retry_after(), Some(rests * 2), "a failed probe doubles the rest");
    assert_eq!(pool.budget().reserved().bytes(), 0, "what failed holds nothing");
    clock.advance(rests * 2);
    assert_eq!(answer(pool.submit("model", Act::Answer(7)).unwrap()).unwrap(), 7);
    let status = pool.key_status("model").unwrap();
    assert_eq!(status.circuit_open_for, None::<Duration>);
}
