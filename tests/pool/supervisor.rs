//! Row 44: foreign code that panics on the maintenance thread.

use std::time::Duration;

use millpond::SessionId;
use millpond::pool::{PoolError, SubmitOptions, What};

use crate::support::{Act, Fragile, Gate, PATIENCE, Script, answer, config, event, pool};

#[test]
fn row_44_the_supervisor_survives_its_own_panic_and_says_so() {
    let (pool, clock) = pool(config(), &Script::new());
    let events = pool.events(64);
    for name in ["a", "b", "c"] {
        pool.sessions().put(&SessionId::from(name), Fragile);
    }
    answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap();
    clock.advance(pool.config().session_timeout * 2);
    for _ in 0..3 {
        pool.maintain();
        event(&events, |what| matches!(what, What::SupervisorPanicked { .. }));
    }
    pool.maintain();
    assert!(pool.sessions().is_empty(), "it gets on, one at a time");
    assert_eq!(answer(pool.submit("model", Act::Answer(2)).unwrap()).unwrap(), 2);
    pool.shutdown(PATIENCE).unwrap();
}

#[test]
fn row_44_requests_that_panic_when_they_are_dropped_take_no_others_along() {
    let gate = Gate::new();
    let (pool, clock) = pool(config(), &Script::new());
    let blocked = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    let options = || SubmitOptions::new().timeout(Duration::from_secs(1));
    let late: Vec<_> = (0..4)
        .flat_map(|_| [Act::Fragile(Fragile), Act::Answer(1)])
        .map(|act| pool.submit_with("model", act, options()).unwrap())
        .collect();
    clock.advance(Duration::from_secs(2));
    for ticket in late {
        let error = answer(ticket).unwrap_err();
        assert!(matches!(error, PoolError::Timeout { .. }), "{error}");
    }
    gate.open();
    answer(blocked).unwrap();
    assert_eq!(answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap(), 1);
}

#[test]
fn row_44_an_error_that_cannot_be_shown_is_still_an_answer() {
    let mut script = Script::new().failing_loads(1);
    script.unspeakable = true;
    let (pool, _) = pool(config(), &script);
    let events = pool.events(64);
    let results = pool.results(64);
    let error = answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap_err();
    assert!(matches!(error, PoolError::SpawnFailed { .. }));
    event(&events, |what| matches!(what, What::SpawnFailed { .. }));
    pool.clock().advance(Duration::from_secs(1));
    let error = answer(pool.submit("model", Act::FailUnspeakably).unwrap()).unwrap_err();
    assert!(matches!(error, PoolError::ModelError { .. }));
    assert_eq!(results.try_iter().filter(|result| !result.success).count(), 2);
    assert_eq!(answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap(), 1);
}
