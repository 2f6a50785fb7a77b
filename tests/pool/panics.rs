//! Foreign code that panics or fails, wherever the pool runs it.

use std::sync::Arc;
use std::task::{Context, Wake};
use std::time::Duration;

use millpond::pool::{PoolError, Retry, SpawnError, SubmitOptions, What};

use crate::support::{Act, Counts, Gate, PATIENCE, Script, answer, config, ends, event, eventually, pool};

fn panicked(error: &PoolError) -> bool {
    matches!(error, PoolError::WorkerPanicked { .. })
}

/// 1,000 panics in 100,000 requests; here 40 in 4,000, the same share.
#[test]
fn row_01_panics_lose_no_request() {
    let script = Script::new().capacity(4);
    let mut config = config().workers(2);
    // What is asked here is that nothing is lost; the circuit has its own tests.
    config.circuit_threshold = 0;
    config.request_timeout = Duration::MAX;
    let (pool, clock) = pool(config, &script);
    let events = pool.events(1 << 16);
    let (mut answered, mut panics) = (0, 0);
    for round in 0..40_u64 {
        let acts = (0..100).map(|i| if i == 50 { Act::Panic } else { Act::Answer(i) });
        let tickets: Vec<_> = acts.map(|act| pool.submit("model", act).unwrap()).collect();
        for ticket in tickets {
            // Restarts back off on the pool's clock.
            eventually(|| {
                events.try_iter().for_each(|event| {
                    if let What::Crashed { restart_in, .. } = event.what {
                        clock.advance(restart_in);
                    }
                });
                ticket.is_ready()
            });
            match answer(ticket) {
                Ok(_) => answered += 1,
                Err(error) => {
                    assert!(panicked(&error), "round {round}: {error}");
                    panics += 1;
                }
            }
        }
    }
    assert_eq!(answered + panics, 4000);
    assert!((40..=160).contains(&panics), "a panic takes along at most what its worker held: {panics}");
    assert_eq!(Counts::get(&script.counts.loads), 1, "the weights survive their workers");
}

#[test]
fn row_01_a_payload_of_any_kind_is_contained() {
    let (pool, _) = pool(config(), &Script::new());
    for act in [Act::Panic, Act::PanicWithBomb, Act::PanicInAdmit] {
        let error = answer(pool.submit("model", act).unwrap()).unwrap_err();
        assert!(panicked(&error), "{error}");
        assert_eq!(answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap(), 1);
    }
}

#[test]
fn row_01_what_a_panicked_worker_never_began_goes_to_its_replacement() {
    let gate = Gate::new();
    let (pool, _) = pool(config(), &Script::new());
    let blocked = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    let bomb = pool.submit("model", Act::Panic).unwrap();
    let waiting: Vec<_> = (0..8).map(|i| pool.submit("model", Act::Answer(i)).unwrap()).collect();
    gate.open();
    answer(blocked).unwrap();
    assert!(panicked(&answer(bomb).unwrap_err()));
    for (i, ticket) in waiting.into_iter().enumerate() {
        assert_eq!(answer(ticket).unwrap(), i as u64);
    }
}

#[test]
fn row_01_a_panic_is_retried_where_the_request_says_so() {
    let (pool, clock) = pool(config(), &Script::new());
    let events = pool.events(64);
    let options = SubmitOptions::new().retry(Retry::new(3, Duration::ZERO));
    let ticket = pool.submit_with("model", Act::Panic, options).unwrap();
    for _ in 0..2 {
        let crash = event(&events, |what| matches!(what, What::Crashed { .. }));
        let What::Crashed { restart_in, .. } = crash else { unreachable!("it was picked") };
        clock.advance(restart_in);
    }
    let error = answer(ticket).unwrap_err();
    assert!(panicked(&error), "{error}");
    assert_eq!(pool.metrics().total_retries, 2);
}

#[test]
fn row_01_a_panic_while_forgetting_costs_the_worker_and_no_answer() {
    let gate = Gate::new();
    let (pool, _) = pool(config(), &Script::new());
    let ticket = pool.submit("model", Act::PanicInCancel(gate.clone())).unwrap();
    gate.wait_entered();
    drop(ticket);
    assert_eq!(answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap(), 1);
    let metrics = pool.metrics();
    assert_eq!((metrics.total_canceled, metrics.workers_restarted), (1, 1));
}

#[test]
fn row_01_a_step_that_fails_as_a_whole_fails_what_it_held_and_nothing_else() {
    let (gate, script) = (Gate::new(), Script::new().capacity(8));
    let (pool, _) = pool(config(), &script);
    let lingering = pool.submit("model", Act::Linger(gate.clone())).unwrap();
    gate.wait_entered();
    let failing = pool.submit("model", Act::FailStep).unwrap();
    for ticket in [lingering, failing] {
        let error = answer(ticket).unwrap_err();
        assert!(matches!(error, PoolError::ModelError { .. }), "{error}");
    }
    assert_eq!(Counts::get(&script.counts.canceled), 2, "the model is told to forget both");
    assert_eq!(answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap(), 1);
    assert_eq!(pool.metrics().workers_spawned, 1);
}

#[test]
fn row_01_a_step_that_fails_and_cannot_even_forget_is_a_panic() {
    let (gate, script) = (Gate::new(), Script::new().capacity(8));
    let (pool, _) = pool(config(), &script);
    let lingering = pool.submit("model", Act::PanicInCancel(gate.clone())).unwrap();
    gate.wait_entered();
    let failing = pool.submit("model", Act::FailStep).unwrap();
    answer(lingering).unwrap_err();
    answer(failing).unwrap_err();
    assert_eq!(answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap(), 1);
    assert_eq!(pool.metrics().workers_restarted, 1);
}

#[test]
fn row_02_a_panic_while_loading_is_a_typed_error_and_gives_the_reservation_back() {
    let script = Script::new().bytes(1000, 10).panicking_loads(1);
    let (pool, _) = pool(config(), &script);
    let error = answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap_err();
    let panicked = matches!(&error, PoolError::SpawnFailed { source: SpawnError::Panicked(_), .. });
    assert!(panicked, "{error}");
    pool.unload("model").unwrap();
    assert_eq!(pool.budget().reserved().bytes(), 0);
    assert_eq!(answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap(), 1);
}

#[test]
fn row_02_a_panicking_destructor_of_a_crashed_model_changes_nothing() {
    let script = Script::new().capacity(4);
    let (pool, _) = pool(config(), &script);
    answer(pool.submit("model", Act::PanicInDrop).unwrap()).unwrap();
    assert!(panicked(&answer(pool.submit("model", Act::Panic).unwrap()).unwrap_err()));
    assert_eq!(answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap(), 1);
    assert_eq!(Counts::get(&script.counts.drops), 1);
}

#[test]
fn row_02_a_worker_told_to_go_that_panics_in_its_destructor_is_not_replaced() {
    let script = Script::new().bytes(1000, 10);
    let (pool, _) = pool(config(), &script);
    let events = pool.events(64);
    answer(pool.submit("model", Act::PanicInDrop).unwrap()).unwrap();
    pool.unload("model").unwrap();
    event(&events, |what| matches!(what, What::CrashedLeaving { .. }));
    pool.maintain();
    assert!(pool.workers("model").unwrap().is_empty(), "nobody asked for another");
    assert_eq!(pool.metrics().workers_spawned, 1);
    assert_eq!(pool.budget().reserved().bytes(), 0);
}

#[test]
fn row_02_a_worker_told_to_go_that_panics_in_its_step_is_not_replaced() {
    let (gate, script) = (Gate::new(), Script::new().capacity(2));
    let (pool, _) = pool(config(), &script);
    let blocked = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    let bomb = pool.submit("model", Act::Panic).unwrap();
    let unloading = {
        let pool = pool.clone();
        std::thread::spawn(move || pool.unload("model"))
    };
    eventually(|| !pool.has_workers("model"));
    gate.open();
    answer(blocked).unwrap();
    assert!(panicked(&answer(bomb).unwrap_err()));
    unloading.join().unwrap().unwrap();
    pool.maintain();
    assert!(pool.workers("model").unwrap().is_empty(), "nobody asked for another");
    assert_eq!(pool.metrics().workers_spawned, 1);
}

struct Alarmed;

impl Wake for Alarmed {
    fn wake(self: Arc<Self>) {
        panic!("scripted panic of a waker");
    }
}

#[test]
fn row_44_a_panicking_waker_costs_neither_the_worker_nor_a_neighbour() {
    let (gate, script) = (Gate::new(), Script::new().capacity(4));
    let (pool, _) = pool(config(), &script);
    let mut awaited = Box::pin(pool.submit("model", Act::Block(gate.clone())).unwrap());
    gate.wait_entered();
    let neighbour = pool.submit("model", Act::Answer(2)).unwrap();
    let waker = Arc::new(Alarmed).into();
    let polled = std::future::Future::poll(awaited.as_mut(), &mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    gate.open();
    assert_eq!(answer(neighbour).unwrap(), 2);
    eventually(|| awaited.is_ready());
    assert_eq!(ends(move || pollster::block_on(awaited)).unwrap(), 0);
    assert_eq!(pool.metrics().workers_spawned, 1, "the worker lives");
    assert!(pool.wait_idle(PATIENCE), "both are counted out");
}

#[test]
fn row_44_a_panicking_callback_is_contained_wherever_it_runs() {
    let (gate, script) = (Gate::new(), Script::new());
    let (pool, clock) = pool(config(), &script);
    let bomb = || SubmitOptions::new().on_complete(|_| panic!("scripted panic of a callback"));
    // On the worker, on the supervisor, on the caller.
    answer(pool.submit_with("model", Act::Answer(1), bomb()).unwrap()).unwrap();
    let blocked = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    let late = pool.submit_with("model", Act::Answer(1), bomb().timeout(Duration::from_secs(1))).unwrap();
    clock.advance(Duration::from_secs(2));
    assert!(matches!(answer(late), Err(PoolError::Timeout { .. })));
    drop(pool.submit_with("model", Act::Answer(1), bomb()).unwrap());
    gate.open();
    answer(blocked).unwrap();
    assert!(pool.wait_idle(PATIENCE));
    assert_eq!(pool.metrics().workers_spawned, 1);
}
