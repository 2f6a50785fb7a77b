//! A pool of tasks: any closure, with its lifecycle.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use millpond::capability::{Task, TaskContext, Tasks};
use millpond::pool::{
    Completion, JobResult, Pool, PoolConfig, PoolError, QueueOrder, RateLimit, Retry, ShutdownError,
    SubmitOptions, Ticket, What,
};
use millpond::{JobId, Timestamp};

use crate::support::{Gate, reports};
use crate::{SECOND, task, task_pool, until, value};

fn at(after: Duration) -> Timestamp {
    Timestamp::default().saturating_add(after)
}

/// A task that waits at the gate.
fn held(gate: &Gate) -> Task {
    let gate = gate.clone();
    task(move |_| gate.pass())
}

/// One worker, and it is busy until the gate opens.
fn busy_pool(config: PoolConfig) -> (Pool<Tasks>, Gate, Ticket<Tasks>) {
    let (pool, _) = task_pool(config.workers(1));
    let gate = Gate::new();
    let ticket = pool.submit("tasks", held(&gate)).unwrap();
    gate.wait_entered();
    (pool, gate, ticket)
}

#[test]
fn s3_1_submit_wait_start_stop_resize_stats_and_wait_for_all() {
    let pool = Pool::background(PoolConfig::background().workers(2)).unwrap();
    let stats = || pool.key_status("tasks").unwrap();
    assert!(stats().ready >= 1, "started");
    let by_closure = pool.spawn(|_| Ok::<_, String>(1_u8)).unwrap();
    let by_task = pool.spawn_with(task(|_| 2_u8), SubmitOptions::new()).unwrap();
    let and_waited = pool.submit_wait("tasks", task(|_| 3_u8)).unwrap();
    let answers = [by_closure.wait().unwrap(), by_task.wait().unwrap(), and_waited];
    assert_eq!(answers.map(value::<u8>), [1, 2, 3]);
    pool.resize("tasks", 3).unwrap();
    until(|| stats().ready == 3);
    (0..20).for_each(|_| pool.spawn(|_| Ok::<_, String>(())).unwrap().detach());
    assert!(pool.wait_idle(60 * SECOND));
    assert_eq!((stats().completed, stats().queue_used, stats().in_flight), (23, 0, 0));
    pool.shutdown(60 * SECOND).unwrap();
    assert_eq!(pool.spawn(|_| Ok::<_, String>(())).unwrap_err().error.code(), "shutting_down");
}

#[test]
fn s3_2_tasks_results_and_statistics_carry_what_they_should() {
    let (pool, clock) = task_pool(PoolConfig::default().workers(1));
    let (report, told) = reports();
    let running = |took: Duration, outcome: Result<u64, &'static str>| {
        let clock = clock.clone();
        Task::new(move |context: &TaskContext| {
            clock.advance(took);
            outcome.map(|value| (context.id.clone(), value))
        })
    };
    let options = |id: &'static str| {
        let report = report.clone();
        SubmitOptions::new().id(id).priority(3).on_complete(move |done: &Completion<'_, Tasks>| {
            let value = done.result.map(|value| value.downcast_ref::<(JobId, u64)>().cloned().unwrap());
            let value = value.map_err(ToString::to_string);
            report.send((done.id.to_string(), value, done.started_at, done.ran)).unwrap();
        })
    };
    clock.advance(SECOND);
    let task = running(2 * SECOND, Ok(42));
    pool.submit_with("tasks", task, options("good")).unwrap().wait().unwrap();
    let (id, value, started_at, ran) = told.recv().unwrap();
    assert_eq!(
        (value.unwrap(), started_at, ran),
        ((JobId { number: 1, name: Some("good".into()) }, 42), Some(at(SECOND)), 2 * SECOND)
    );
    assert_eq!(id, "good");
    let task = running(SECOND, Err("no such file"));
    let error = pool.submit_with("tasks", task, options("bad")).unwrap().wait().unwrap_err();
    let (_, value, started_at, ran) = told.recv().unwrap();
    assert_eq!((value, started_at, ran), (Err(error.to_string()), Some(at(3 * SECOND)), SECOND));
    assert!(error.to_string().contains("no such file") && error.to_string().contains("bad"));

    let gate = Gate::new();
    let tickets = [pool.submit("tasks", held(&gate)).unwrap(), pool.submit("tasks", held(&gate)).unwrap()];
    gate.wait_entered();
    let stats = pool.key_status("tasks").unwrap();
    assert_eq!((stats.ready, stats.in_flight, stats.queue_used), (1, 1, 1));
    assert_eq!((stats.completed, stats.failed, stats.total_duration()), (1, 1, 3 * SECOND));
    (0..2).for_each(|_| gate.open());
    assert!(tickets.into_iter().all(|ticket| ticket.wait().is_ok()));
}

#[test]
fn s3_3_configuration_from_code_and_from_the_environment_with_the_same_defaults() {
    let defaults = PoolConfig::background();
    let workers = |config: &PoolConfig| [config.initial_workers, config.min_workers, config.max_workers];
    assert_eq!((workers(&defaults), defaults.queue_capacity), ([10; 3], 1000));
    assert_eq!(defaults.queue_order, QueueOrder::Fifo);
    assert_eq!((defaults.request_timeout, defaults.shutdown_timeout), (Duration::MAX, 30 * SECOND));
    assert_eq!((defaults.retry, defaults.rate_limit), (Retry::NEVER, None));

    let read = |vars: &[(&str, &str)]| {
        let var =
            |name: &str| vars.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into());
        PoolConfig::background().with_vars("WORKER", var)
    };
    assert_eq!(read(&[]).unwrap(), defaults);
    let config = read(&[
        ("WORKER_POOL_SIZE", "3"),
        ("WORKER_QUEUE_SIZE", "0"),
        ("WORKER_PRIORITY", "true"),
        ("WORKER_TASK_TIMEOUT", "1500ms"),
        ("WORKER_SHUTDOWN_TIMEOUT", "2m"),
        ("POOL_SIZE", "99"),
    ])
    .unwrap();
    let by_code = PoolConfig::background()
        .workers(3)
        .queue_capacity(0)
        .priority()
        .request_timeout(Duration::from_millis(1500))
        .shutdown_timeout(120 * SECOND);
    assert_eq!(config, by_code);
    assert_eq!(read(&[("WORKER_TASK_TIMEOUT", "0")]).unwrap().request_timeout, Duration::MAX);
    let wrong = read(&[("WORKER_POOL_SIZE", "many")]).unwrap_err();
    assert_eq!(wrong.to_string(), r#"WORKER_POOL_SIZE is "many": expected a whole number"#);
    let rest = by_code.retry(Retry::new(3, SECOND)).rate_limit(RateLimit::per_second(10.0));
    assert_eq!((rest.retry.attempts, rest.rate_limit), (3, Some(RateLimit::per_second(10.0))));
}

#[test]
fn s3_3_a_queue_size_of_zero_bounds_nothing() {
    let (pool, gate, busy) = busy_pool(PoolConfig::background().queue_capacity(0));
    let accepted = pool.submit_batch("tasks", (0..3000).map(|n| task(move |_| n)));
    assert_eq!(pool.key_status("tasks").unwrap().queue_used, 3000);
    gate.open();
    busy.wait().unwrap();
    let sum: i32 = accepted.into_iter().map(|ticket| value::<i32>(ticket.unwrap().wait().unwrap())).sum();
    assert_eq!(sum, 3000 * 2999 / 2);
}

#[test]
fn s3_4_options_of_one_task_override_the_pools() {
    let config = PoolConfig::background().request_timeout(60 * SECOND).retry(Retry::new(2, Duration::ZERO));
    let (pool, clock) = task_pool(config.workers(1).priority());
    let attempts = Arc::new(AtomicUsize::new(0));
    let failing = || {
        let attempts = attempts.clone();
        Task::new(move |_| {
            attempts.fetch_add(1, Ordering::SeqCst);
            Err::<(), _>("not yet")
        })
    };
    pool.submit_wait("tasks", failing()).unwrap_err();
    assert_eq!(attempts.swap(0, Ordering::SeqCst), 2, "the pool's retry");
    let (report, told) = reports();
    let options = SubmitOptions::new()
        .id("mine")
        .retry(Retry::new(5, Duration::ZERO))
        .on_complete(move |done: &Completion<'_, Tasks>| report.send(done.id.to_string()).unwrap());
    let ticket = pool.submit_with("tasks", failing(), options).unwrap();
    assert_eq!(ticket.id().to_string(), "mine");
    ticket.wait().unwrap_err();
    assert_eq!((attempts.load(Ordering::SeqCst), told.recv().unwrap().as_str()), (5, "mine"));

    let gate = Gate::new();
    let busy = pool.submit("tasks", held(&gate)).unwrap();
    gate.wait_entered();
    let (order, served) = reports();
    let noted = |name: &'static str| {
        let order = order.clone();
        task(move |_| order.send(name).unwrap())
    };
    let patient = pool.submit("tasks", noted("patient")).unwrap();
    let urgent = pool.submit_with("tasks", noted("urgent"), SubmitOptions::new().priority(1)).unwrap();
    let hasty = pool.submit_with("tasks", noted("hasty"), SubmitOptions::new().timeout(SECOND)).unwrap();
    clock.advance(SECOND);
    assert!(matches!(hasty.wait(), Err(PoolError::Timeout { .. })));
    gate.open();
    assert!([busy, patient, urgent].into_iter().all(|ticket| ticket.wait().is_ok()));
    assert_eq!(served.try_iter().collect::<Vec<_>>(), ["urgent", "patient"]);
}

/// The priorities in the order in which one worker came to them.
fn order_of_service(config: PoolConfig, priorities: &[i32]) -> Vec<i32> {
    let (pool, gate, busy) = busy_pool(config);
    let (order, served) = reports();
    let submit = |priority: i32| {
        let order = order.clone();
        let task = task(move |_| order.send(priority).unwrap());
        pool.submit_with("tasks", task, SubmitOptions::new().priority(priority)).unwrap()
    };
    let tickets: Vec<_> = priorities.iter().copied().map(submit).collect();
    gate.open();
    assert!(std::iter::once(busy).chain(tickets).all(|ticket| ticket.wait().is_ok()));
    served.try_iter().collect()
}

#[test]
fn s3_5_higher_priority_first() {
    let submitted = [1, 5, 10, 1, 10, -3, 5];
    let sorted = [10, 10, 5, 5, 1, 1, -3];
    assert_eq!(order_of_service(PoolConfig::background().priority(), &submitted), sorted);
    assert_eq!(order_of_service(PoolConfig::background(), &submitted), submitted, "unless it is off");
}

#[test]
fn s3_6_failures_are_tried_again_after_a_pause() {
    let config = PoolConfig::default().workers(1).retry(Retry::new(3, SECOND));
    let (pool, clock) = task_pool(config);
    let (report, begun) = reports();
    let ticket = {
        let clock = clock.clone();
        let flaky = Task::new(move |context: &TaskContext| {
            report.send((context.attempt, clock.now())).unwrap();
            if context.attempt < 3 { Err("transient") } else { Ok("through") }
        });
        pool.submit("tasks", flaky).unwrap()
    };
    for attempt in 1..=3 {
        assert_eq!(
            begun.recv().unwrap(),
            (attempt, at(SECOND * (attempt - 1))),
            "a second after the one before"
        );
        if attempt < 3 {
            // The failed attempt waits in the queue for its time.
            until(|| pool.key_status("tasks").unwrap().queue_used == 1);
            clock.advance(Duration::from_millis(999));
            pool.maintain();
            assert!(begun.is_empty());
            clock.advance(Duration::from_millis(1));
        }
    }
    assert_eq!(value::<&str>(ticket.wait().unwrap()), "through");
    assert_eq!((pool.metrics().total_retries, pool.metrics().total_completed), (2, 1));
}

#[test]
fn s3_6_attempts_are_bounded_and_a_task_may_set_its_own_bound() {
    let (pool, _) = task_pool(PoolConfig::background().workers(1).retry(Retry::new(3, Duration::ZERO)));
    for (retry, expected) in [(None, 3), (Some(Retry::new(5, Duration::ZERO)), 5), (Some(Retry::NEVER), 1)] {
        let attempts = Arc::new(AtomicUsize::new(0));
        let count = attempts.clone();
        let failing = Task::new(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            Err::<(), _>("always")
        });
        let options = retry.map_or_else(SubmitOptions::new, |retry| SubmitOptions::new().retry(retry));
        let error = pool.submit_with("tasks", failing, options).unwrap().wait().unwrap_err();
        assert_eq!((error.code(), attempts.load(Ordering::SeqCst)), ("model_error", expected));
    }
}

#[test]
fn s3_7_no_more_tasks_a_second_than_allowed() {
    let config = PoolConfig::default().workers(4).rate_limit(RateLimit::per_second(10.0));
    let (pool, clock) = task_pool(config);
    let (report, begun) = reports();
    let submit = |_| {
        let (clock, report) = (clock.clone(), report.clone());
        pool.submit("tasks", task(move |_| report.send(clock.now()).unwrap())).unwrap()
    };
    let tickets: Vec<_> = (0..31).map(submit).collect();
    for n in 0..31 {
        assert_eq!(begun.recv().unwrap(), at(Duration::from_millis(100) * n), "ten in every second");
        clock.advance(Duration::from_millis(99));
        pool.maintain();
        assert!(begun.is_empty());
        clock.advance(Duration::from_millis(1));
    }
    assert!(tickets.into_iter().all(|ticket| ticket.wait().is_ok()));
}

#[test]
fn s3_8_a_panic_reaches_the_handler_and_the_pool_keeps_serving() {
    let (pool, _) = task_pool(PoolConfig::default().workers(2));
    let events = pool.events(64);
    let handler = std::thread::spawn(move || {
        let panics = events.iter().filter_map(|event| match event.what {
            What::Crashed { message, .. } => Some(message),
            _ => None,
        });
        panics.take(2).collect::<Vec<_>>()
    });
    for n in 0..2 {
        let error =
            pool.submit_wait("tasks", task(move |_| -> () { panic!("task {n} fell over") })).unwrap_err();
        let PoolError::WorkerPanicked { message, .. } = error else { panic!("{error}") };
        assert_eq!(&*message, format!("task {n} fell over"));
        assert_eq!(value::<i32>(pool.submit_wait("tasks", task(move |_| n)).unwrap()), n);
    }
    // Two workers crashed: which of them is seen to first is not said.
    let mut heard = handler.join().unwrap();
    heard.sort();
    assert_eq!(heard, ["task 0 fell over", "task 1 fell over"]);
}

#[test]
fn s3_8_tasks_that_fail_one_after_the_other_close_the_pool_to_nobody() {
    let (pool, _) = task_pool(PoolConfig::background().workers(1));
    for n in 0..20 {
        let error =
            pool.submit_wait("tasks", Task::new(move |_| Err::<(), _>(format!("failure {n}")))).unwrap_err();
        assert!(error.to_string().contains(&format!("failure {n}")), "its own error and no other: {error}");
    }
    assert_eq!(value::<u8>(pool.submit_wait("tasks", task(|_| 1_u8)).unwrap()), 1);
}

#[test]
fn s3_9_shutdown_completes_what_is_in_flight() {
    let (pool, gate, running) = busy_pool(PoolConfig::background());
    let queued = pool.submit("tasks", task(|_| 1_u8)).unwrap();
    let stopping = {
        let pool = pool.clone();
        std::thread::spawn(move || pool.shutdown(60 * SECOND))
    };
    until(|| pool.is_shutting_down());
    gate.open();
    assert_eq!(stopping.join().unwrap(), Ok(()));
    assert!(running.wait().is_ok() && queued.wait().is_ok());
}

#[test]
fn s3_9_shutdown_that_runs_out_of_time_is_an_error() {
    let (pool, _) = task_pool(PoolConfig::background().workers(1));
    let (begin, running) = reports();
    let endless = task(move |job| {
        begin.send(()).unwrap();
        while !job.cancel.is_canceled() {
            std::thread::yield_now();
        }
    });
    let ticket = pool.submit("tasks", endless).unwrap();
    running.recv().unwrap();
    let error = pool.shutdown(Duration::ZERO).unwrap_err();
    assert!(matches!(error, ShutdownError::TimedOut { unfinished: 1, .. }), "{error}");
    assert_eq!(ticket.wait().unwrap_err().code(), "shutting_down");
}

#[test]
fn s3_10_workers_are_added_and_taken_away_under_load() {
    let gate = Gate::new();
    let (pool, _) = task_pool(PoolConfig::background().workers(2));
    let mut tickets: Vec<_> = (0..6).map(|_| pool.submit("tasks", held(&gate)).unwrap()).collect();
    (0..2).for_each(|_| gate.wait_entered());
    let status = || pool.key_status("tasks").unwrap();
    assert_eq!((status().in_flight, status().queue_used), (2, 4));
    pool.resize("tasks", 6).unwrap();
    (0..4).for_each(|_| gate.wait_entered());
    assert_eq!((status().in_flight, status().queue_used), (6, 0), "six run where two did");
    tickets.extend((0..200).map(|_| pool.submit("tasks", task(|_| ())).unwrap()));
    pool.resize("tasks", 1).unwrap();
    (0..6).for_each(|_| gate.open());
    assert!(tickets.into_iter().all(|ticket| ticket.wait().is_ok()), "nothing is lost on the way");
    until(|| pool.workers("tasks").unwrap().len() == 1);
    assert_eq!(pool.metrics().total_completed, 206);
    assert_eq!(value::<u8>(pool.submit_wait("tasks", task(|_| 1_u8)).unwrap()), 1);
}

#[test]
fn s3_11_a_batch_reports_each_of_its_tasks_as_it_ends() {
    let (pool, _) = task_pool(PoolConfig::background().workers(3));
    let (report, results) = reports();
    let process = |item: u32| {
        Task::new(move |_| if item % 10 == 3 { Err(format!("item {item}")) } else { Ok(item * item) })
    };
    let accepted = pool.submit_batch_with("tasks", (0..50).map(process), |index| {
        let report = report.clone();
        SubmitOptions::new().id(format!("item-{index}")).on_complete(move |done: &Completion<'_, Tasks>| {
            let value = done.result.ok().and_then(|value| value.downcast_ref::<u32>().copied());
            report.send((index, done.id.to_string(), value)).unwrap();
        })
    });
    for ticket in accepted {
        ticket.unwrap().detach();
    }
    let mut ended: Vec<(usize, String, Option<u32>)> = results.iter().take(50).collect();
    ended.sort();
    for (index, (reported, id, value)) in ended.into_iter().enumerate() {
        assert_eq!((reported, id), (index, format!("item-{index}")));
        let item = u32::try_from(index).unwrap();
        assert_eq!(value, (item % 10 != 3).then_some(item * item));
    }
    assert!(pool.wait_idle(60 * SECOND) && results.is_empty(), "once each");
}

#[test]
fn s3_12_a_group_ends_with_all_answers_or_the_first_error() {
    let (pool, _) = task_pool(PoolConfig::background().workers(3));
    let mut group = pool.group();
    (0..3).for_each(|n| group.go("tasks", task(move |_| n)));
    let answers: Vec<i32> = group.wait().unwrap().into_iter().map(value).collect();
    assert_eq!(answers, [0, 1, 2]);

    let mut group = pool.group();
    let (begin, running) = reports();
    let (fetch_b, token) = (begin.clone(), reports());
    group.go("tasks", {
        let tell = token.0.clone();
        task(move |job| {
            begin.send(()).unwrap();
            while !job.cancel.is_canceled() {
                std::thread::yield_now();
            }
            tell.send("stopped").unwrap();
        })
    });
    running.recv().unwrap();
    group.go(
        "tasks",
        Task::new(move |_| {
            fetch_b.send(()).unwrap();
            Err::<(), _>("b is down")
        }),
    );
    let error = group.wait().map(|answers| answers.len()).unwrap_err();
    assert!(error.to_string().contains("b is down"), "{error}");
    assert_eq!(token.1.recv().unwrap(), "stopped", "the rest is canceled, not waited for");
}

/// What somebody else's metrics system would offer.
trait Collector {
    fn task_ended(&mut self, result: &JobResult);
    fn sampled(&mut self, queue_depth: usize);
}

#[derive(Default)]
struct Figures {
    completed: u32,
    failed: u32,
    processing: Duration,
    deepest_queue: usize,
}

impl Collector for Figures {
    fn task_ended(&mut self, result: &JobResult) {
        *if result.success { &mut self.completed } else { &mut self.failed } += 1;
        self.processing += result.duration;
    }

    fn sampled(&mut self, queue_depth: usize) {
        self.deepest_queue = self.deepest_queue.max(queue_depth);
    }
}

#[test]
fn s3_13_a_collector_hears_queue_depth_processing_time_and_throughput() {
    let (pool, clock) = task_pool(PoolConfig::background().workers(1));
    let mut figures = Figures::default();
    let collector: &mut dyn Collector = &mut figures;
    let results = pool.results(64);
    let gate = Gate::new();
    let busy = pool.submit("tasks", held(&gate)).unwrap();
    gate.wait_entered();
    let work = |n: u32| {
        let clock = clock.clone();
        Task::new(move |_| {
            clock.advance(SECOND / 2);
            if n == 7 { Err("unlucky") } else { Ok(n) }
        })
    };
    let accepted = pool.submit_batch("tasks", (0..20).map(work));
    collector.sampled(pool.status().queue_depth);
    gate.open();
    busy.wait().unwrap();
    for ticket in accepted {
        let _ = ticket.unwrap().wait();
    }
    results.iter().take(21).for_each(|result| collector.task_ended(&result));
    let Figures { completed, failed, processing, deepest_queue } = figures;
    assert_eq!((completed, failed, deepest_queue), (20, 1, 20));
    assert_eq!(processing, 10 * SECOND);
    let throughput = f64::from(completed + failed) / clock.now().since(Timestamp::default()).as_secs_f64();
    assert!((throughput - 2.1).abs() < 1e-9, "21 tasks in 10 seconds, not {throughput}");
    let status = pool.key_status("tasks").unwrap();
    assert_eq!(
        (status.run_time.count, status.run_time.total),
        (21, processing),
        "the pool's own books agree"
    );
}

#[test]
fn s3_14_the_pool_needs_no_framework_and_comes_with_a_readme_examples_and_advice() {
    let manifest: toml::Table = include_str!("../../Cargo.toml").parse().unwrap();
    let always = manifest["dependencies"].as_table().unwrap().iter().filter(|(_, dependency)| {
        !dependency.get("optional").and_then(toml::Value::as_bool).unwrap_or(false)
    });
    for (name, _) in always {
        let heavy = ["candle", "tokio", "hyper", "reqwest", "tokenizers"];
        assert!(!heavy.iter().any(|prefix| name.starts_with(prefix)), "{name} comes with the pool alone");
    }
    let examples = [
        ("basic", include_str!("../../examples/basic.rs")),
        ("priority", include_str!("../../examples/priority.rs")),
        ("batch", include_str!("../../examples/batch.rs")),
        ("graceful_shutdown", include_str!("../../examples/graceful_shutdown.rs")),
        ("custom_model", include_str!("../../examples/custom_model.rs")),
    ];
    let advice = include_str!("../../examples/README.md");
    for (name, source) in examples {
        let command = format!("cargo run --no-default-features --example {name}");
        assert!(source.starts_with("//! ") && source.contains(&command), "{name} does not say how to run it");
        assert!(source.lines().count() < 80, "{name} is too long to read at a glance");
        assert!(advice.contains(&format!("{name}.rs")), "examples/README.md does not name {name}");
    }
    assert!(advice.contains("# Good practice"));
    assert!(include_str!("../../README.md").contains("Tasks"));
}
