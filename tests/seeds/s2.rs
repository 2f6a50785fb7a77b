//! A background job pool.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use millpond::capability::{CancelToken, InvalidRequest, Task, Tasks};
use millpond::pool::{
    Completion, JobResult, PoolConfig, PoolError, RegisterError, ShutdownError, SubmitOptions, Ticket,
};
use millpond::{SessionId, Timestamp};
use parking_lot::Mutex;
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::span;

use crate::support::{Act, Counts, Gate, Script, config, pool, reports};
use crate::{SECOND, task, task_pool, until, value};

#[test]
fn s2_1_a_job_has_an_id_a_payload_and_a_birth_and_its_result_says_how_it_went() {
    let (pool, clock) = task_pool(PoolConfig::default().workers(1));
    let results = pool.results(8);
    let (report, told) = reports();
    clock.advance(3 * SECOND);
    // One handler for every job; the payload is what the closure holds.
    let handle = |payload: Result<u64, &'static str>, id: &'static str| {
        let (clock, report) = (clock.clone(), report.clone());
        let run = Task::new(move |job| {
            clock.advance(Duration::from_millis(250));
            assert_eq!(job.id.to_string(), id);
            payload
        });
        let options = SubmitOptions::new().id(id).on_complete(move |done: &Completion<'_, Tasks>| {
            let data = done.result.ok().and_then(|data| data.downcast_ref::<u64>().copied());
            report.send((done.id.to_string(), done.submitted_at, data)).unwrap();
        });
        pool.submit_with("tasks", run, options).unwrap().wait().map(value::<u64>)
    };
    let created_at = Timestamp::default().saturating_add(3 * SECOND);
    assert_eq!(handle(Ok(7), "audit-1").unwrap(), 7);
    assert_eq!(told.recv().unwrap(), ("audit-1".to_owned(), created_at, Some(7)));
    let error = handle(Err("no verdict"), "audit-2").unwrap_err();
    assert_eq!(told.recv().unwrap().2, None);

    let [good, bad]: [JobResult; 2] = results.try_iter().collect::<Vec<_>>().try_into().unwrap();
    assert_eq!((good.job_id.to_string(), good.success, good.error), ("audit-1".to_owned(), true, None));
    assert_eq!((bad.job_id.to_string(), bad.success), ("audit-2".to_owned(), false));
    assert_eq!(bad.error, Some(error.to_string()));
    assert_eq!([good.duration, bad.duration], [Duration::from_millis(250); 2]);
}

#[test]
fn s2_2_a_configured_pool_starts_once_however_often_it_is_started() {
    let script = Script::new();
    let (pool, _) = pool(config().workers(3).queue_capacity(10), &script);
    (0..3).for_each(|_| pool.preload("model").unwrap());
    until(|| pool.key_status("model").unwrap().ready == 3);
    pool.preload("model").unwrap();
    pool.maintain();
    assert_eq!(pool.metrics().workers_spawned, 3, "no second set of workers");
    assert_eq!(Counts::get(&script.counts.builds), 3);
    assert_eq!(pool.key_status("model").unwrap().queue_size, 10);
    // The name is taken: who would start a second pool under it is told.
    let again = pool.register("model", Script::new()).unwrap_err();
    assert_eq!(again, RegisterError::Taken("model".into()));
    assert_eq!(pool.submit_wait("model", Act::Answer(1)).unwrap(), 1);
}

#[test]
fn s2_3_submit_never_blocks_and_says_why_not() {
    let gate = Gate::new();
    let (pool, _) = pool(config().queue_capacity(2), &Script::new());
    let running = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    let waiting = [1, 2].map(|n| pool.submit("model", Act::Answer(n)).unwrap());
    let full = pool.submit("model", Act::Answer(3)).unwrap_err();
    assert!(matches!(full.error, PoolError::QueueFull { capacity: 2, .. }));
    assert!(matches!(full.request, Act::Answer(3)), "the request comes back");
    gate.open();
    assert!(running.wait().is_ok() && waiting.into_iter().all(|ticket| ticket.wait().is_ok()));
    assert_eq!(pool.submit_wait("model", full.request).unwrap(), 3);
    pool.shutdown(SECOND).unwrap();
    let stopped = pool.submit("model", Act::Answer(4)).unwrap_err().error;
    assert!(matches!(stopped, PoolError::ShuttingDown { .. }));
}

#[test]
fn s2_4_each_waiting_caller_gets_the_result_of_its_own_job() {
    let (pool, _) = pool(config().workers(2), &Script::new());
    let callers: Vec<_> = (0..8)
        .map(|caller| {
            let pool = pool.clone();
            std::thread::spawn(move || {
                for n in (0..100).map(|n| caller * 1000 + n) {
                    assert_eq!(pool.submit_wait("model", Act::Answer(n)).unwrap(), n);
                }
            })
        })
        .collect();
    for caller in callers {
        caller.join().unwrap();
    }
}

#[test]
fn s2_4_a_caller_waits_no_longer_than_it_wants_to() {
    let gate = Gate::new();
    let (pool, clock) = pool(config(), &Script::new());
    let options = SubmitOptions::new().timeout(SECOND);
    let ticket = pool.submit_with("model", Act::Linger(gate.clone()), options).unwrap();
    gate.wait_entered();
    let ticket = ticket.wait_timeout(Duration::ZERO).expect_err("nothing to be had yet");
    clock.advance(SECOND);
    assert!(matches!(ticket.wait(), Err(PoolError::Timeout { .. })));
    assert_eq!(pool.submit_wait("model", Act::Answer(1)).unwrap(), 1);
}

#[test]
fn s2_5_a_full_results_stream_holds_up_no_worker() {
    let (pool, _) = pool(config(), &Script::new());
    let (small, large) = (pool.results(2), pool.results(64));
    for n in 0..10 {
        assert_eq!(pool.submit_wait("model", Act::Answer(n)).unwrap(), n);
    }
    let numbers = |results: &crossbeam_channel::Receiver<JobResult>| {
        results.try_iter().map(|result| result.job_id.number).collect::<Vec<_>>()
    };
    assert_eq!(numbers(&small), [1, 2], "what found it full is lost to it alone");
    assert_eq!(numbers(&large), (1..=10).collect::<Vec<_>>());
    pool.submit_wait("model", Act::Answer(11)).unwrap();
    assert_eq!(numbers(&small), [11], "and there is room again once it was read");
}

#[test]
fn s2_6_stop_ends_intake_and_finishes_what_is_running_and_queued() {
    let gate = Gate::new();
    let (pool, _) = pool(config().workers(2), &Script::new());
    let tickets: Vec<_> = (0..4).map(|_| pool.submit("model", Act::Block(gate.clone())).unwrap()).collect();
    gate.wait_entered();
    let stopping = {
        let pool = pool.clone();
        std::thread::spawn(move || pool.shutdown(60 * SECOND))
    };
    until(|| pool.is_shutting_down());
    assert_eq!(pool.submit("model", Act::Answer(1)).unwrap_err().error.code(), "shutting_down");
    (0..4).for_each(|_| gate.open());
    assert_eq!(stopping.join().unwrap(), Ok(()));
    assert!(tickets.into_iter().all(|ticket| ticket.wait().is_ok()), "4 of 4");
    assert_eq!(pool.metrics().total_completed, 4);
    assert_eq!(pool.shutdown(SECOND), Ok(()), "again: nothing");
}

#[test]
fn s2_6_stop_says_what_it_could_not_finish() {
    let gate = Gate::new();
    let (pool, _) = pool(config(), &Script::new());
    let running = pool.submit("model", Act::Linger(gate.clone())).unwrap();
    let queued = pool.submit("model", Act::Answer(1)).unwrap();
    gate.wait_entered();
    let Err(ShutdownError::TimedOut { unfinished, .. }) = pool.shutdown(Duration::ZERO) else {
        panic!("there was work left")
    };
    assert_eq!(unfinished, 2);
    for ticket in [running, queued] {
        assert!(matches!(ticket.wait(), Err(PoolError::ShuttingDown { .. })));
    }
}

#[test]
fn s2_6_submitting_while_it_stops_is_answered_or_refused() {
    for _ in 0..20 {
        let (pool, _) = pool(config().workers(2), &Script::new());
        pool.preload("model").unwrap();
        let submitters: Vec<_> = (0..3)
            .map(|_| {
                let pool = pool.clone();
                std::thread::spawn(move || {
                    let submit = |n| pool.submit("model", Act::Answer(n)).map_err(|refused| refused.error);
                    let (mut accepted, mut n) = (Vec::new(), 0);
                    let refused = loop {
                        match submit(n) {
                            Ok(ticket) => accepted.push(ticket),
                            Err(PoolError::QueueFull { .. }) => std::thread::yield_now(),
                            Err(error) => break error,
                        }
                        n += 1;
                    };
                    assert_eq!(refused.code(), "shutting_down");
                    accepted.into_iter().filter_map(|ticket| ticket.wait().ok()).count() as u64
                })
            })
            .collect();
        until(|| pool.metrics().total_completed > 0);
        assert_eq!(pool.shutdown(60 * SECOND), Ok(()));
        let answered: u64 = submitters.into_iter().map(|submitter| submitter.join().unwrap()).sum();
        assert_eq!(answered, pool.metrics().total_requests, "all that was accepted, answered");
    }
}

#[test]
fn s2_7_statistics_count_everything_and_are_ready_for_an_endpoint() {
    let gate = Gate::new();
    let (pool, clock) = pool(config().queue_capacity(2), &Script::new());
    pool.submit_wait("model", Act::Answer(1)).unwrap();
    pool.submit_wait("model", Act::Fail).unwrap_err();
    let running = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    let queued = pool.submit("model", Act::Answer(2)).unwrap();
    clock.advance(Duration::from_millis(1500));
    let body = serde_json::to_value(pool.status()).unwrap();
    let key = &body["keys"][0];
    assert_eq!(
        json!({
            "name": key["key"], "workers": body["workers"], "queue_size": key["queue_size"],
            "queue_used": key["queue_used"], "submitted": body["totals"]["total_requests"],
            "completed": key["completed"], "failed": key["failed"], "running": body["running"],
        }),
        json!({"name": "model", "workers": 1, "queue_size": 2, "queue_used": 1, "submitted": 4,
               "completed": 1, "failed": 1, "running": true})
    );
    gate.open();
    assert!(running.wait().is_ok() && queued.wait().is_ok());
    let status = pool.key_status("model").unwrap();
    assert_eq!((status.run_time.count, status.total_duration()), (4, Duration::from_millis(1500)));
    pool.shutdown(SECOND).unwrap();
    assert!(!pool.status().running);
}

/// Keeps the log lines of one key.
struct Log(&'static str, Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, "{field}={value:?} ");
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        if line.0.contains(self.0) {
            self.1.lock().push(line.0);
        }
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[test]
fn s2_7_start_stop_full_and_drop_are_logged() {
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    tracing::subscriber::set_global_default(Log("logged-key", lines.clone())).expect("the only one");
    let (gate, script) = (Gate::new(), Script::new());
    let (pool, _) = pool(config().queue_capacity(1), &script);
    pool.register("logged-key", script).unwrap();
    let results = pool.results(1);
    let running = pool.submit("logged-key", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    let queued = pool.submit("logged-key", Act::Answer(1)).unwrap();
    pool.submit("logged-key", Act::Answer(2)).unwrap_err();
    gate.open();
    assert!(running.wait().is_ok() && queued.wait().is_ok());
    pool.shutdown(SECOND).unwrap();
    let lines = lines.lock();
    for what in ["Spawned", "queue_full", "dropped a result", "Stopped"] {
        assert_eq!(lines.iter().filter(|line| line.contains(what)).count(), 1, "{what} in {lines:#?}");
    }
    assert_eq!(results.len(), 1);
}

#[test]
fn s2_8_full_stopped_and_timeout_are_errors_of_their_own() {
    let gate = Gate::new();
    let (pool, clock) = pool(config().queue_capacity(1), &Script::new());
    let busy = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    let late = pool.submit_with("model", Act::Answer(1), SubmitOptions::new().timeout(SECOND)).unwrap();
    let full = pool.submit("model", Act::Answer(2)).unwrap_err().error;
    clock.advance(SECOND);
    let late = late.wait().unwrap_err();
    gate.open();
    busy.wait().unwrap();
    pool.begin_shutdown();
    let stopped = pool.submit("model", Act::Answer(3)).unwrap_err().error;
    let codes = [full, stopped, late].map(|error| (error.code(), error.is_retryable()));
    assert_eq!(codes, [("queue_full", true), ("shutting_down", false), ("timeout", true)]);
}

#[test]
fn s2_8_a_payload_the_handler_cannot_use_is_an_error_and_no_panic() {
    let (pool, _) = pool(config(), &Script::new());
    let error = pool.submit_wait("model", Act::Invalid).unwrap_err();
    let PoolError::InvalidRequest { source: InvalidRequest { field, .. }, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((*field, error.is_retryable()), ("act", false));
    assert_eq!(pool.submit_wait("model", Act::Answer(1)).unwrap(), 1);
    assert_eq!(pool.metrics().workers_restarted, 0);
    let session = SessionId::from("typed");
    pool.sessions().put(&session, "a text");
    assert_eq!(pool.sessions().get::<u64>(&session), None);
}

#[test]
fn s2_8_a_handler_that_takes_too_long_is_told_so_while_it_runs() {
    let (pool, clock) = task_pool(PoolConfig::default().workers(1).request_timeout(2 * SECOND));
    let (begin, tokens) = reports::<CancelToken>();
    let endless = task(move |job| {
        begin.send(job.cancel.clone()).unwrap();
        while !job.cancel.is_canceled() {
            std::thread::yield_now();
        }
    });
    let ticket = pool.submit("tasks", endless).unwrap();
    let token = tokens.recv().unwrap();
    assert!(!token.is_canceled());
    clock.advance(2 * SECOND);
    assert!(matches!(ticket.wait(), Err(PoolError::Timeout { .. })));
    assert_eq!(value::<u8>(pool.submit_wait("tasks", task(|_| 1_u8)).unwrap()), 1);
    assert!(token.is_canceled());
}

#[test]
fn s2_9_start_stop() {
    let (pool, _) = pool(config().workers(2).queue_capacity(10), &Script::new());
    pool.preload("model").unwrap();
    until(|| pool.status().workers == 2);
    assert!(pool.status().running);
    pool.shutdown(SECOND).unwrap();
    assert_eq!((pool.status().running, pool.status().workers), (false, 0));
}

#[test]
fn s2_9_submit_five_processed() {
    let script = Script::new();
    let (pool, _) = pool(config().workers(2).queue_capacity(10), &script);
    let accepted = pool.submit_batch("model", (0..5).map(Act::Answer));
    for ticket in accepted {
        ticket.unwrap().detach();
    }
    assert!(pool.wait_idle(60 * SECOND));
    assert_eq!((Counts::get(&script.counts.admitted), pool.metrics().total_completed), (5, 5));
}

#[test]
fn s2_9_queue_full() {
    let gate = Gate::new();
    let (pool, _) = pool(config().queue_capacity(2), &Script::new());
    let submit = || pool.submit("model", Act::Block(gate.clone())).map_err(PoolError::from);
    let first = submit().unwrap();
    gate.wait_entered();
    let others = [submit().unwrap(), submit().unwrap()];
    assert_eq!(submit().unwrap_err().code(), "queue_full", "one runs, two wait, the fourth is refused");
    (0..3).for_each(|_| gate.open());
    assert!(std::iter::once(first).chain(others).all(|ticket| ticket.wait().is_ok()));
}

#[test]
fn s2_9_graceful_shutdown_all_complete() {
    let (pool, _) = pool(config().workers(2).queue_capacity(10), &Script::new());
    let tickets: Vec<_> = (0..4).map(|n| pool.submit("model", Act::Count(n * 10)).unwrap()).collect();
    pool.shutdown(60 * SECOND).unwrap();
    assert!(tickets.iter().all(Ticket::is_ready), "answered before shutdown returns");
    assert_eq!(tickets.into_iter().filter_map(|ticket| ticket.wait().ok()).count(), 4);
}

#[test]
fn s2_10_background_work_holds_up_no_client() {
    let gate = Gate::new();
    let (pool, _) = pool(config().queue_capacity(3), &Script::new());
    pool.register("audit", Script::new()).unwrap();
    let audit = || pool.submit("audit", Act::Block(gate.clone())).map_err(PoolError::from);
    let running = audit().unwrap();
    gate.wait_entered();
    let waiting = [audit(), audit(), audit()].map(Result::unwrap);
    // The client's path: its own answer, and an audit that is refused at once rather than waited for.
    for n in 0..50 {
        assert_eq!(pool.submit_wait("model", Act::Answer(n)).unwrap(), n);
        assert_eq!(audit().unwrap_err().code(), "queue_full");
    }
    (0..4).for_each(|_| gate.open());
    assert!(std::iter::once(running).chain(waiting).all(|ticket| ticket.wait().is_ok()));
}

#[test]
fn s2_10_on_a_signal_the_pool_stops_first_and_the_server_after_it() {
    let (pool, _) = pool(config(), &Script::new());
    let (requests, inbox) = crossbeam_channel::unbounded::<(u64, crossbeam_channel::Sender<_>)>();
    let server = {
        let pool = pool.clone();
        std::thread::spawn(move || {
            // Serves until it is told to end, whatever the pool says.
            for (n, reply) in inbox {
                reply.send(pool.submit_wait("model", Act::Answer(n)).map_err(|error| error.code())).unwrap();
            }
        })
    };
    let ask = |n| {
        let (reply, answer) = crossbeam_channel::bounded(1);
        requests.send((n, reply)).unwrap();
        answer.recv().unwrap()
    };
    assert_eq!(ask(1), Ok(1));
    let gate = Gate::new();
    let audit = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    // The signal: intake ends at once, and what is under way is done before the pool is down.
    pool.begin_shutdown();
    assert_eq!(ask(2), Err("shutting_down"), "a client still gets an answer");
    gate.open();
    pool.shutdown(60 * SECOND).unwrap();
    assert!(audit.is_ready());
    assert_eq!(ask(3), Err("shutting_down"));
    drop(requests);
    server.join().unwrap();
}

#[test]
fn s2_10_results_that_nobody_reads_take_no_memory() {
    let (pool, _) = pool(config().queue_capacity(0), &Script::new().capacity(64));
    let (unread, gone) = (pool.results(4), pool.results(4));
    drop(gone);
    for _ in 0..20 {
        let accepted = pool.submit_batch("model", (0..500).map(Act::Answer));
        for ticket in accepted {
            ticket.unwrap().detach();
        }
        assert!(pool.wait_idle(60 * SECOND));
        assert_eq!((unread.len(), pool.status().queue_depth, pool.status().in_flight), (4, 0, 0));
    }
    assert_eq!(pool.metrics().total_completed, 10_000);
}
