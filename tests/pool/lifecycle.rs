//! One request from submission to answer, and everything that happens around it.

use std::time::Duration;

use millpond::pool::{PoolError, WorkerState};

use crate::support::{Act, Counts, Gate, Script, config, pool};

#[test]
fn the_first_request_loads_the_model_and_is_answered() {
    let script = Script::new();
    let (pool, _) = pool(config(), &script);
    assert!(!pool.has_workers("model"));
    assert_eq!(pool.submit_wait("model", Act::Answer(7)).unwrap(), 7);
    assert!(pool.has_workers("model"));
    assert_eq!(Counts::get(&script.counts.loads), 1);
    assert_eq!(pool.metrics().total_completed, 1);
    pool.shutdown(Duration::from_secs(5)).unwrap();
    assert_eq!(Counts::get(&script.counts.drops), 1);
    assert_eq!(Counts::get(&script.counts.weights_dropped), 1);
}

#[test]
fn events_come_before_the_answer_and_in_order() {
    let (pool, _) = pool(config(), &Script::new());
    let mut ticket = pool.submit("model", Act::Count(5)).unwrap();
    assert_eq!(ticket.events().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!(ticket.wait().unwrap(), 5);
}

#[test]
fn a_panic_fails_only_its_request_and_the_worker_is_replaced() {
    let script = Script::new();
    let (pool, _) = pool(config(), &script);
    for round in 0..3 {
        let error = pool.submit_wait("model", Act::Panic).unwrap_err();
        assert!(matches!(error, PoolError::WorkerPanicked { .. }), "{error}");
        assert_eq!(pool.submit_wait("model", Act::Answer(round)).unwrap(), round);
    }
    assert_eq!(Counts::get(&script.counts.loads), 1, "the weights survive the worker");
    assert_eq!(pool.metrics().workers_restarted, 3);
}

#[test]
fn a_deadline_ends_a_request_that_is_stuck_in_its_step() {
    let gate = Gate::new();
    let (pool, clock) = pool(config(), &Script::new());
    let ticket = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    clock.advance(Duration::from_secs(31));
    assert!(matches!(ticket.wait().unwrap_err(), PoolError::Timeout { .. }));
    gate.open();
    assert_eq!(pool.submit_wait("model", Act::Answer(1)).unwrap(), 1);
}

#[test]
fn a_dropped_ticket_cancels_within_a_step() {
    let (gate, script) = (Gate::new(), Script::new());
    let (pool, _) = pool(config(), &script);
    let ticket = pool.submit("model", Act::Linger(gate.clone())).unwrap();
    gate.wait_entered();
    drop(ticket);
    assert_eq!(pool.submit_wait("model", Act::Answer(1)).unwrap(), 1);
    assert_eq!(Counts::get(&script.counts.canceled), 1);
    assert_eq!(pool.metrics().total_canceled, 1);
}

#[test]
fn unload_gives_everything_back_and_the_next_request_loads_again() {
    let script = Script::new().bytes(1000, 10);
    let (pool, _) = pool(config(), &script);
    pool.preload("model").unwrap();
    assert_eq!(pool.reserved_memory().bytes(), 1010);
    assert_eq!(pool.workers("model").unwrap()[0].state(), WorkerState::Ready);
    pool.unload("model").unwrap();
    assert_eq!(pool.budget().reserved().bytes(), 0);
    assert_eq!(pool.submit_wait("model", Act::Answer(1)).unwrap(), 1);
    assert_eq!(Counts::get(&script.counts.loads), 2);
}
