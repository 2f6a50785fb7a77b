//! Callers who leave, and everything that can happen at the same moment.

use std::time::Duration;

use millpond::capability::{Capacity, Task};
use millpond::pool::{Pool, PoolConfig, PoolError, Retry, SubmitOptions, What};

use crate::support::{Act, Counts, Gate, PATIENCE, Script, answer, config, event, eventually, pool, reports};

#[test]
fn row_19_a_queued_request_whose_caller_leaves_is_gone_at_once() {
    let (gate, script) = (Gate::new(), Script::new());
    let mut config = config();
    config.queue_capacity = 1;
    let (pool, _) = pool(config, &script);
    let blocked = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    for _ in 0..1000 {
        // Its place in the queue is free for the next one, though the worker has not moved.
        drop(pool.submit("model", Act::Answer(1)).unwrap());
    }
    assert_eq!(pool.metrics().total_canceled, 1000);
    gate.open();
    answer(blocked).unwrap();
    assert_eq!(Counts::get(&script.counts.admitted), 1, "none of them ran");
}

/// 10^5 drops; here 5,000 of tickets at every stage.
#[test]
fn row_19_dropped_tickets_leave_no_slot_taken() {
    let script = Script::new().capacity(8);
    let mut config = config().workers(2);
    // A reader that is kept from its processor between reading and leaving is not told that it is too slow.
    config.event_capacity = 1 << 32;
    let (pool, _) = pool(config, &script);
    let closed = Gate::new();
    for i in 0..1250_u64 {
        drop(pool.submit("model", Act::Linger(closed.clone())).unwrap());
        drop(pool.submit("model", Act::Answer(i)).unwrap());
        drop(pool.submit("model", Act::Count(3)).unwrap());
        let mut reading = pool.submit("model", Act::Chatter(closed.clone())).unwrap();
        if i % 100 == 0 {
            reading.next_event();
        }
        drop(reading);
    }
    assert!(pool.wait_idle(PATIENCE));
    let metrics = pool.metrics();
    assert_eq!(metrics.total_canceled + metrics.total_completed, 5000);
    assert_eq!(pool.status().in_flight, 0);
    assert_eq!(answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap(), 1);
}

#[test]
fn row_19_a_stream_whose_reader_leaves_stops_within_a_step() {
    let (closed, script) = (Gate::new(), Script::new());
    let (pool, _) = pool(config(), &script);
    let mut reading = pool.submit("model", Act::Chatter(closed)).unwrap();
    assert_eq!(reading.next_event(), Some(0));
    drop(reading);
    assert_eq!(answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap(), 1);
    assert_eq!(Counts::get(&script.counts.canceled), 1);
}

#[test]
fn row_19_a_detached_request_runs_on() {
    let gate = Gate::new();
    let (pool, _) = pool(config(), &Script::new());
    let (told, hears) = reports();
    let options = SubmitOptions::new().on_complete(move |done| told.send(done.result.is_ok()).unwrap());
    pool.submit_with("model", Act::Block(gate.clone()), options).unwrap().detach();
    gate.wait_entered();
    gate.open();
    assert!(hears.recv_timeout(PATIENCE).unwrap());
}

#[test]
fn row_19_running_work_can_ask_whether_it_is_still_wanted() {
    let pool = Pool::background(PoolConfig::background().workers(1)).unwrap();
    let gate = Gate::new();
    let entered = gate.clone();
    let (told, hears) = reports();
    let ticket = pool
        .spawn_with(
            Task::once(move |context| {
                entered.pass();
                let cancel = context.cancel.clone();
                eventually(|| cancel.is_canceled());
                Ok::<_, std::io::Error>(())
            }),
            SubmitOptions::new().on_complete(move |_| told.send(()).unwrap()),
        )
        .unwrap();
    gate.wait_entered();
    gate.open();
    drop(ticket);
    hears.recv_timeout(PATIENCE).expect("it hears that nobody waits, and ends");
}

/// Each order of two ends of one request: exactly one is told, and it is the first.
mod row_20 {
    use super::*;

    struct Race {
        pool: Pool<crate::support::Scripted>,
        clock: millpond::Clock,
        gate: Gate,
        ends: crossbeam_channel::Receiver<Result<u64, &'static str>>,
        ticket: millpond::pool::Ticket<crate::support::Scripted>,
    }

    /// One request in its step, held at a gate.
    fn race(act: impl FnOnce(Gate) -> Act, retry: Retry) -> Race {
        let gate = Gate::new();
        let (pool, clock) = pool(config(), &Script::new());
        let (told, ends) = reports();
        let options = SubmitOptions::new()
            .timeout(Duration::from_secs(10))
            .retry(retry)
            .on_complete(move |done| told.send(done.result.copied().map_err(PoolError::code)).unwrap());
        let ticket = pool.submit_with("model", act(gate.clone()), options).unwrap();
        gate.wait_entered();
        Race { pool, clock, gate, ends, ticket }
    }

    impl Race {
        /// The only end it had, once nothing is under way any more.
        fn end(self) -> Result<u64, &'static str> {
            drop(self.ticket);
            assert!(self.pool.wait_idle(PATIENCE));
            // Whatever the worker still does with it, it does before it serves this.
            answer(self.pool.submit("model", Act::Answer(1)).unwrap()).unwrap();
            let end = self.ends.recv_timeout(PATIENCE).expect("it ends");
            assert!(self.ends.try_recv().is_err(), "it ends once");
            let metrics = self.pool.metrics();
            let ended = metrics.total_completed
                + metrics.total_timeouts
                + metrics.total_errors
                + metrics.total_canceled;
            assert_eq!(ended, 2, "each counted once: {metrics:?}");
            end
        }
    }

    #[test]
    fn completes_then_canceled() {
        let race = race(Act::Block, Retry::NEVER);
        race.gate.open();
        eventually(|| race.ticket.is_ready());
        assert_eq!(race.end(), Ok(0));
    }

    #[test]
    fn canceled_then_completes() {
        let Race { pool, clock, gate, ends, ticket } = race(Act::Block, Retry::NEVER);
        drop(ticket);
        gate.open();
        let ticket = pool.submit("model", Act::Answer(5)).unwrap();
        eventually(|| ticket.is_ready());
        drop(ticket);
        // Whether the step's answer or the leaving is first noticed is the worker's choice; it is one of them.
        let end = ends.recv_timeout(PATIENCE).unwrap();
        assert!(end == Ok(0) || end == Err("canceled"), "{end:?}");
        assert!(ends.try_recv().is_err(), "it ends once");
        drop(clock);
    }

    #[test]
    fn deadline_then_completes() {
        let race = race(Act::Block, Retry::NEVER);
        race.clock.advance(Duration::from_secs(11));
        eventually(|| race.ticket.is_ready());
        race.gate.open();
        assert_eq!(race.end(), Err("timeout"));
    }

    #[test]
    fn deadline_then_canceled() {
        let Race { pool, clock, gate, ends, ticket } = race(Act::Block, Retry::NEVER);
        clock.advance(Duration::from_secs(11));
        eventually(|| ticket.is_ready());
        // Its caller leaves while the step still holds the request.
        ticket.cancel();
        gate.open();
        assert!(pool.wait_idle(PATIENCE));
        assert_eq!(answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap(), 1);
        assert_eq!(ends.recv_timeout(PATIENCE).unwrap(), Err("timeout"));
        assert!(ends.try_recv().is_err(), "it ends once");
        assert_eq!((pool.metrics().total_timeouts, pool.metrics().total_canceled), (1, 0));
    }

    #[test]
    fn canceled_then_deadline() {
        let Race { pool, clock, gate, ends, ticket } = race(Act::Block, Retry::NEVER);
        drop(ticket);
        clock.advance(Duration::from_secs(11));
        pool.maintain();
        assert_eq!(ends.recv_timeout(PATIENCE).unwrap(), Err("canceled"));
        gate.open();
        assert!(pool.wait_idle(PATIENCE));
        assert!(ends.try_recv().is_err(), "it ends once");
    }

    #[test]
    fn deadline_then_panic() {
        let race = race(|gate| Act::BlockThen(gate, Box::new(Act::Panic)), Retry::new(5, Duration::ZERO));
        race.clock.advance(Duration::from_secs(11));
        eventually(|| race.ticket.is_ready());
        race.gate.open();
        assert_eq!(race.end(), Err("timeout"));
    }

    #[test]
    fn canceled_then_panic() {
        let Race { pool, gate, ends, ticket, .. } =
            race(|gate| Act::BlockThen(gate, Box::new(Act::Panic)), Retry::new(5, Duration::ZERO));
        drop(ticket);
        gate.open();
        let end = ends.recv_timeout(PATIENCE).unwrap();
        assert_eq!(end, Err("worker_panicked"), "no retry for nobody");
        assert_eq!(answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap(), 1);
        assert_eq!(pool.metrics().total_retries, 0);
        assert!(ends.try_recv().is_err(), "it ends once");
    }

    #[test]
    fn panic_then_deadline_of_the_retry() {
        let race =
            race(|gate| Act::BlockThen(gate, Box::new(Act::Panic)), Retry::new(2, Duration::from_mins(1)));
        race.gate.open();
        eventually(|| race.pool.metrics().total_retries == 1);
        race.clock.advance(Duration::from_secs(10));
        eventually(|| race.ticket.is_ready());
        assert_eq!(race.end(), Err("timeout"));
    }

    #[test]
    fn failure_then_canceled_between_attempts() {
        let race =
            race(|gate| Act::BlockThen(gate, Box::new(Act::Fail)), Retry::new(2, Duration::from_mins(1)));
        race.gate.open();
        eventually(|| race.pool.metrics().total_retries == 1);
        assert_eq!(race.end(), Err("canceled"));
    }

    #[test]
    fn shutdown_then_completes() {
        let Race { pool, gate, ends, ticket, .. } = race(Act::Block, Retry::NEVER);
        let stopping = pool.clone();
        let stop = std::thread::spawn(move || stopping.shutdown(Duration::ZERO));
        assert_eq!(ends.recv_timeout(PATIENCE).unwrap(), Err("shutting_down"));
        gate.open();
        stop.join().unwrap().unwrap_err();
        assert!(matches!(answer(ticket), Err(PoolError::ShuttingDown { .. })));
        assert!(ends.try_recv().is_err(), "it ends once");
    }
}

/// One reader of 16 does not read: it is told so, and the others' events all arrive.
#[test]
fn row_21_a_slow_reader_is_let_go_and_holds_up_nobody() {
    let (closed, mut script) = (Gate::new(), Script::new());
    script.capacity = Capacity::jobs(16);
    let mut config = config();
    config.event_capacity = 8;
    let (pool, _) = pool(config, &script);
    let mut slow = pool.submit("model", Act::Chatter(closed)).unwrap();
    assert_eq!(slow.next_event(), Some(0));
    let others: Vec<_> = (0..15).map(|_| pool.submit("model", Act::Count(5)).unwrap()).collect();
    for mut ticket in others {
        assert_eq!(ticket.events().count(), 5);
        assert_eq!(answer(ticket).unwrap(), 5);
    }
    // Waiting for the answer would say that the events do not matter.
    eventually(|| slow.is_ready());
    let error = answer(slow).unwrap_err();
    assert!(matches!(error, PoolError::SlowConsumer { .. }), "{error}");
}

#[test]
fn row_21_a_reader_within_its_grace_loses_nothing() {
    let mut config = config();
    config.event_capacity = 8;
    let (pool, _) = pool(config, &Script::new());
    let mut ticket = pool.submit("model", Act::Count(31)).unwrap();
    let first = ticket.next_event();
    eventually(|| ticket.is_ready());
    let rest: Vec<_> = first.into_iter().chain(ticket.events()).collect();
    // Nobody had asked before the first: until then the oldest may go.
    assert!(rest.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!(rest.last(), Some(&30));
    assert_eq!(answer(ticket).unwrap(), 31);
}

#[test]
fn row_21_events_that_nobody_reads_stay_bounded_and_cost_no_answer() {
    let mut config = config();
    config.event_capacity = 8;
    let (pool, _) = pool(config, &Script::new());
    let mut ticket = pool.submit("model", Act::Count(5000)).unwrap();
    eventually(|| ticket.is_ready());
    assert_eq!(ticket.events().collect::<Vec<_>>(), (4992..5000).collect::<Vec<_>>(), "the latest");
    assert_eq!(answer(ticket).unwrap(), 5000);
}

#[test]
fn row_21_the_grace_is_counted_from_the_last_look() {
    let closed = Gate::new();
    let mut config = config();
    config.event_capacity = 1 << 20;
    let (pool, clock) = pool(config, &Script::new());
    let events = pool.events(16);
    let mut slow = pool
        .submit_with("model", Act::Chatter(closed.clone()), SubmitOptions::new().timeout(Duration::MAX))
        .unwrap();
    assert_eq!(slow.next_event(), Some(0));
    clock.advance(Duration::from_hours(1));
    assert!(slow.next_event().is_some(), "a pause is no fault while the buffer has room");
    closed.open();
    assert!(answer(slow).is_ok());
    event(&events, |what| matches!(what, What::Ready { .. }));
}
