//! The end of a pool, from outside and from within, with everything under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use millpond::capability::{Task, Tasks};
use millpond::pool::{Pool, PoolConfig, PoolError, ShutdownError, SubmitOptions};

use crate::support::{Act, CopyGate, Counts, Gate, PATIENCE, Script, answer, config, ends, pool, reports};

fn shutting_down(result: &Result<u64, PoolError>) -> bool {
    matches!(result, Err(PoolError::ShuttingDown { .. }))
}

#[test]
fn row_05_stopping_with_a_stuck_worker_answers_everything_and_names_what_was_left() {
    let (gate, script) = (Gate::new(), Script::new().capacity(2));
    let (pool, clock) = pool(config(), &script);
    let patient = || SubmitOptions::new().timeout(Duration::MAX);
    let stuck = pool.submit_with("model", Act::Block(gate.clone()), patient()).unwrap();
    gate.wait_entered();
    let events = pool.events(64);
    clock.advance(pool.config().stuck_after + Duration::from_secs(1));
    crate::support::event(&events, |what| matches!(what, millpond::pool::What::Stuck { .. }));
    let stopped = {
        let pool = pool.clone();
        ends(move || pool.shutdown(Duration::ZERO))
    };
    assert_eq!(stopped, Err(ShutdownError::TimedOut { unfinished: 1, threads: 1 }));
    assert!(shutting_down(&answer(stuck)), "out of rotation, and yet it had a job");
    gate.open();
}

#[test]
fn row_05_a_worker_ends_although_what_waited_at_it_was_answered_by_others() {
    let (gate, script) = (Gate::new(), Script::new().capacity(4));
    let (pool, _) = pool(config(), &script);
    let running = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    let waiting: Vec<_> = (0..3).map(|i| pool.submit("model", Act::Answer(i)).unwrap()).collect();
    let opener = {
        let (gate, first) = (gate.clone(), running);
        std::thread::spawn(move || {
            assert!(shutting_down(&answer(first)));
            gate.open();
        })
    };
    let stopping = pool.clone();
    let stopped = ends(move || stopping.shutdown(Duration::ZERO));
    opener.join().unwrap();
    for ticket in waiting {
        assert!(shutting_down(&answer(ticket)));
    }
    // Whether the thread made it within the grace is the scheduler's business; that it ends is not.
    assert!(matches!(stopped, Err(ShutdownError::TimedOut { unfinished: 4, .. })), "{stopped:?}");
    crate::support::eventually(|| Counts::get(&script.counts.drops) == 1);
}

#[test]
fn row_05_a_job_that_is_between_two_places_at_the_end_is_answered() {
    let (copying, blocking) = (Gate::new(), Gate::new());
    let (pool, _) = pool(config(), &Script::new());
    let options =
        SubmitOptions::new().timeout(Duration::MAX).retry(millpond::pool::Retry::new(2, Duration::ZERO));
    let act = Act::Copied(CopyGate(copying.clone()), blocking.clone());
    let ticket = pool.submit_with("model", act, options).unwrap();
    copying.wait_entered();
    let stopping = pool.clone();
    let stopped = ends(move || stopping.shutdown(Duration::ZERO));
    assert_eq!(stopped, Err(ShutdownError::TimedOut { unfinished: 0, threads: 1 }));
    copying.open();
    assert!(shutting_down(&answer(ticket)));
    blocking.open();
}

#[test]
fn row_05_a_pool_stopped_by_its_own_task_finishes_what_it_has() {
    let pool = Pool::background(PoolConfig::background().workers(1)).unwrap();
    let gate = Gate::new();
    let (blocked, own) = (gate.clone(), pool.clone());
    let first = pool
        .spawn(move |_| {
            blocked.pass();
            Ok::<_, std::io::Error>(own.shutdown(PATIENCE))
        })
        .unwrap();
    gate.wait_entered();
    let queued: Vec<_> =
        (0..20_i32).map(|i| pool.spawn(move |_| Ok::<_, std::io::Error>(i)).unwrap()).collect();
    gate.open();
    let told = first.wait_timeout(PATIENCE).unwrap().unwrap();
    assert_eq!(told.downcast_ref(), Some(&Err::<(), _>(ShutdownError::FromWithin)));
    for (i, ticket) in (0_i32..).zip(queued) {
        let value = ticket.wait_timeout(PATIENCE).expect("accepted, so answered").unwrap();
        assert_eq!(value.downcast_ref(), Some(&i));
    }
    ends(move || pool.shutdown(PATIENCE)).unwrap();
}

#[test]
fn row_05_a_task_that_drops_the_last_handle_ends_the_pool_without_joining_itself() {
    let (dropped, ended) = reports();
    let gate = Gate::new();
    let pool = Pool::<Tasks>::background(PoolConfig::background().workers(2)).unwrap();
    let (own, waits) = (pool.clone(), gate.clone());
    let ticket = pool
        .spawn_with(
            Task::once(move |_| {
                waits.pass();
                drop(own);
                Ok::<_, std::io::Error>(())
            }),
            SubmitOptions::new().on_complete(move |_| dropped.send(()).unwrap()),
        )
        .unwrap();
    drop(pool);
    gate.open();
    ended.recv_timeout(PATIENCE).expect("it ends");
    ticket.wait_timeout(PATIENCE).expect("accepted, so answered").unwrap();
}

#[test]
fn row_05_a_callback_on_the_callers_thread_may_stop_the_pool() {
    let (gate, script) = (Gate::new(), Script::new());
    let (pool, _) = pool(config(), &script);
    let blocked = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    let own = pool.clone();
    let (told, hears) = reports();
    let options = SubmitOptions::new().on_complete(move |_| told.send(own.shutdown(Duration::MAX)).unwrap());
    let canceled = pool.submit_with("model", Act::Answer(1), options).unwrap();
    ends(move || drop(canceled));
    assert_eq!(hears.recv_timeout(PATIENCE).unwrap(), Err(ShutdownError::FromWithin));
    gate.open();
    answer(blocked).unwrap();
    ends(move || pool.shutdown(PATIENCE)).unwrap();
}

#[test]
fn row_05_a_callback_on_the_maintenance_thread_may_ask_for_anything() {
    let (gate, script) = (Gate::new(), Script::new());
    let (pool, clock) = pool(config(), &script);
    let blocked = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    let own = pool.clone();
    let (told, hears) = reports();
    let options = SubmitOptions::new().timeout(Duration::from_secs(1)).on_complete(move |_| {
        own.preload("model").unwrap();
        own.resize("model", 1).unwrap();
        own.maintain();
        own.unload("model").unwrap();
        told.send(()).unwrap();
    });
    let late = pool.submit_with("model", Act::Answer(1), options).unwrap();
    clock.advance(Duration::from_secs(2));
    hears.recv_timeout(PATIENCE).expect("it waits for nothing that waits for it");
    assert!(matches!(answer(late), Err(PoolError::Timeout { .. })));
    gate.open();
    answer(blocked).unwrap();
}

#[test]
fn row_05_a_task_may_unload_its_own_key() {
    let pool = Pool::background(PoolConfig::background().workers(1)).unwrap();
    let own = pool.clone();
    let ticket = pool.spawn(move |_| own.unload("tasks")).unwrap();
    ticket.wait_timeout(PATIENCE).expect("accepted, so answered").unwrap();
    let again = pool.spawn(|_| Ok::<_, std::io::Error>(())).unwrap();
    again.wait_timeout(PATIENCE).expect("accepted, so answered").unwrap();
}

/// 10^6 schedules are the model checker's; here 200 rounds of the real thing.
#[test]
fn row_05_what_races_a_shutdown_is_finished_or_refused() {
    for _ in 0..200 {
        let (pool, _) = pool(config().workers(2), &Script::new().capacity(4));
        let (answered, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let submitters: Vec<_> = (0..2)
            .map(|_| {
                let (pool, answered, refused) = (pool.clone(), answered.clone(), refused.clone());
                std::thread::spawn(move || {
                    for i in 0..50 {
                        match pool.submit("model", Act::Answer(i)).map(answer) {
                            Ok(Ok(value)) => {
                                assert_eq!(value, i);
                                answered.fetch_add(1, Ordering::SeqCst);
                            }
                            Ok(Err(PoolError::ShuttingDown { .. })) => {
                                refused.fetch_add(1, Ordering::SeqCst);
                            }
                            Ok(Err(error)) => panic!("accepted, then {error}"),
                            Err(error) => {
                                assert!(matches!(error.error, PoolError::ShuttingDown { .. }), "{error}");
                                refused.fetch_add(1, Ordering::SeqCst);
                            }
                        }
                    }
                })
            })
            .collect();
        crate::support::eventually(|| answered.load(Ordering::SeqCst) > 5);
        let stopping = pool.clone();
        ends(move || stopping.shutdown(PATIENCE)).unwrap();
        for submitter in submitters {
            submitter.join().unwrap();
        }
        assert_eq!(answered.load(Ordering::SeqCst) + refused.load(Ordering::SeqCst), 100);
        let metrics = pool.metrics();
        assert_eq!(metrics.total_completed, metrics.total_requests);
    }
}

#[test]
fn row_06_a_shutdown_finishes_the_running_and_the_queued_and_refuses_the_new() {
    let (gate, script) = (Gate::new(), Script::new().bytes(1000, 10));
    let (pool, _) = pool(config(), &script);
    let running = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    let queued: Vec<_> = (0..6).map(|i| pool.submit("model", Act::Answer(i)).unwrap()).collect();
    let stopping = pool.clone();
    let stopped = std::thread::spawn(move || stopping.shutdown(PATIENCE));
    crate::support::eventually(|| pool.is_shutting_down());
    let refused = pool.submit("model", Act::Answer(1)).unwrap_err();
    assert!(matches!(refused.error, PoolError::ShuttingDown { .. }));
    gate.open();
    answer(running).unwrap();
    for (i, ticket) in queued.into_iter().enumerate() {
        assert_eq!(answer(ticket).unwrap(), i as u64);
    }
    ends(move || stopped.join().unwrap()).unwrap();
    assert_eq!(pool.budget().reserved().bytes(), 0);
}

#[test]
fn row_06_a_shutdown_while_loading_answers_and_gives_the_reservation_back() {
    let (gate, script) = (Gate::new(), Script::new().bytes(1000, 10));
    let (pool, _) = pool(config(), &script.clone().load_gate(&gate));
    let waiting = pool.submit("model", Act::Answer(1)).unwrap();
    gate.wait_entered();
    let preload = {
        let pool = pool.clone();
        std::thread::spawn(move || pool.preload("model"))
    };
    let stopping = pool.clone();
    let stopped = ends(move || stopping.shutdown(Duration::ZERO));
    assert_eq!(stopped, Err(ShutdownError::TimedOut { unfinished: 1, threads: 1 }));
    assert!(shutting_down(&answer(waiting)));
    ends(move || preload.join().unwrap()).unwrap_err();
    gate.open();
    crate::support::eventually(|| pool.budget().reserved().bytes() == 0);
    assert_eq!(Counts::get(&script.counts.weights_dropped), 1);
}

#[test]
fn row_06_a_second_shutdown_waits_for_the_first() {
    let (gate, script) = (Gate::new(), Script::new());
    let (pool, _) = pool(config(), &script);
    let running = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    let stops: Vec<_> = (0..3)
        .map(|_| {
            let pool = pool.clone();
            std::thread::spawn(move || pool.shutdown(PATIENCE))
        })
        .collect();
    crate::support::eventually(|| pool.is_shutting_down());
    gate.open();
    answer(running).unwrap();
    for stop in stops {
        ends(move || stop.join().unwrap()).unwrap();
    }
    assert_eq!(Counts::get(&script.counts.drops), 1);
}
