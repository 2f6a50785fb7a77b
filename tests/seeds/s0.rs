//! Pools with one dispatcher that owns the rate limiter, and pools without.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use millpond::capability::Tasks;
use millpond::pool::{
    KeyConfig, KeyStatus, Pool, PoolConfig, PoolKind, RateLimit, RegisterError, WorkerState,
};
use serde_json::json;

use crate::support::{Act, Gate, Script, config, pool};
use crate::{SECOND, task, task_pool, until, value};

/// Runs one piece of work, whatever kind of pool it goes to.
fn run_through(pool: &Pool<Tasks>, key: &str) -> (String, KeyStatus) {
    pool.preload(key).unwrap();
    let work = task(|_| std::thread::current().name().map(str::to_owned));
    let thread: Option<String> = value(pool.submit(key, work).unwrap().wait().unwrap());
    (thread.expect("workers have names"), pool.key_status(key).unwrap())
}

#[test]
fn s0_1_all_work_goes_through_pools_behind_one_interface() {
    let (pool, _) = task_pool(PoolConfig::default());
    let all = KeyConfig::of(pool.config()).workers(2);
    pool.register_tasks_with("provider", all.rate_limit(RateLimit::per_second(10.0))).unwrap();
    pool.register_tasks_with("cpu", all).unwrap();
    for (key, kind) in [("provider", PoolKind::RateLimited), ("cpu", PoolKind::Workers)] {
        let (thread, status) = run_through(&pool, key);
        assert_eq!((status.key.as_str(), status.kind, status.completed), (key, kind, 1));
        let workers: Vec<_> = status.workers.into_iter().map(|worker| worker.name).collect();
        assert!(workers.contains(&thread), "{thread} is none of {key}'s workers {workers:?}");
    }
    assert_eq!(pool.metrics().total_completed, 2, "no work went past the pool's books");
}

#[test]
fn s0_2_queue_then_one_dispatcher_then_workers_then_results() {
    let limit = RateLimit::per_second(1.0);
    let (pool, clock) = pool(config().workers(3).rate_limit(limit), &Script::new().capacity(4));
    let results = pool.results(16);
    let tickets: Vec<_> = (1..=5).map(|n| pool.submit("model", Act::Answer(n)).unwrap()).collect();
    for done in 1..=5 {
        assert_eq!(results.recv().unwrap().job_id.number, done, "in the order of the queue");
        let status = pool.key_status("model").unwrap();
        assert_eq!(status.in_flight, 0, "nothing is with a worker before the dispatcher hands it out");
        assert_eq!(status.queue_used as u64, 5 - done);
        clock.advance(SECOND);
    }
    let answers: Vec<_> = tickets.into_iter().map(|ticket| ticket.wait().unwrap()).collect();
    assert_eq!(answers, [1, 2, 3, 4, 5]);
}

#[test]
fn s0_3_one_owner_of_the_rate_limiter() {
    const WORKERS: usize = 30;
    let limit = RateLimit::per_second(10.0);
    let (pool, clock) = pool(config().workers(WORKERS).rate_limit(limit), &Script::new().capacity(4));
    pool.preload("model").unwrap();
    let all_ready = || pool.key_status("model").unwrap().ready == WORKERS;
    until(all_ready);
    let results = pool.results(64);
    let tickets: Vec<_> = (0..=30).map(|n| pool.submit("model", Act::Answer(n)).unwrap()).collect();
    for done in 1..=31 {
        results.recv().unwrap();
        // The one who waits for the limiter does so with a timer on the pool's clock: 30 workers, 1 waiter.
        until(|| clock.timers() == 1);
        let status = pool.key_status("model").unwrap();
        assert_eq!((status.queue_used, status.in_flight, status.ready), (31 - done, 0, WORKERS));
        assert!(status.workers.iter().all(|worker| worker.state == WorkerState::Ready));
        clock.advance(Duration::from_millis(100));
    }
    assert!(tickets.into_iter().all(|ticket| ticket.wait().is_ok()));
}

#[test]
fn s0_4_a_cpu_pool_is_one_queue_for_all_workers_and_no_limit() {
    let gate = Gate::new();
    let (pool, _standing_still) = pool(config().workers(3), &Script::new());
    let tickets: Vec<_> = (0..9).map(|_| pool.submit("model", Act::Block(gate.clone())).unwrap()).collect();
    (0..3).for_each(|_| gate.wait_entered());
    for left in (0..6).rev() {
        assert_eq!(pool.key_status("model").unwrap().queue_used, left + 1);
        gate.open();
        // Whichever worker that was takes the next from the shared queue, at no moment in particular.
        gate.wait_entered();
    }
    (0..3).for_each(|_| gate.open());
    assert!(tickets.into_iter().all(|ticket| ticket.wait().is_ok()));
    assert_eq!(pool.status().rate_limiter, None);
}

#[test]
fn s0_5_status_is_json_and_leaves_out_what_there_is_none_of() {
    let gate = Gate::new();
    let (limited, _) = pool(config().rate_limit(RateLimit::per_second(2.0).burst(3)), &Script::new());
    let (free, _) = pool(config().workers(2), &Script::new());
    let blocked = |pool: &Pool<_>| pool.submit("model", Act::Block(gate.clone())).unwrap();
    let tickets = [blocked(&limited), blocked(&limited), blocked(&free)];
    (0..2).for_each(|_| gate.wait_entered());
    until(|| free.status().workers == 2);

    let fields = ["name", "type", "workers", "in_flight", "queue_depth", "rate_limiter"];
    let shown = |pool: &Pool<_>| {
        let mut status = serde_json::to_value(pool.status()).unwrap();
        status.as_object_mut().unwrap().retain(|name, _| fields.contains(&name.as_str()));
        status
    };
    assert_eq!(
        shown(&limited),
        json!({"name": "scripted", "type": "rate_limited", "workers": 1, "in_flight": 1, "queue_depth": 1,
               "rate_limiter": {"per_second": 2.0, "burst": 3}})
    );
    assert_eq!(
        shown(&free),
        json!({"name": "scripted", "type": "workers", "workers": 2, "in_flight": 1, "queue_depth": 0})
    );
    let status = free.status();
    let read_back = serde_json::from_str(&serde_json::to_string(&status).unwrap());
    assert_eq!(read_back.map_err(|error| error.to_string()), Ok(status));
    (0..3).for_each(|_| gate.open());
    assert!(tickets.into_iter().all(|ticket| ticket.wait().is_ok()));
}

#[test]
fn s0_6_pools_are_registered_one_by_one_or_from_a_registry_and_listed() {
    /// A provider, as a registry describes it.
    struct Provider(&'static str, usize, f64);
    let registry = [Provider("paddle", 30, 5.0), Provider("tesseract", 2, 1.5), Provider("vision", 4, 10.0)];
    let (scheduler, _) = task_pool(PoolConfig::default());
    let all = KeyConfig::of(scheduler.config());
    scheduler.register_tasks_with("cpu", all.workers(3)).unwrap();
    for Provider(name, workers, rate) in &registry {
        let limit = RateLimit::per_second(*rate);
        scheduler.register_tasks_with(*name, all.workers(*workers).rate_limit(limit)).unwrap();
    }
    let again = scheduler.register_tasks_with("paddle", all.workers(1)).unwrap_err();
    assert_eq!(again, RegisterError::Taken("paddle".into()));

    let listed: Vec<_> = scheduler
        .status()
        .keys
        .iter()
        .map(|key| (key.key.to_string(), key.rate_limiter.map(|limit| limit.per_second)))
        .collect();
    let expected = [
        ("cpu", None),
        ("paddle", Some(5.0)),
        ("tasks", None),
        ("tesseract", Some(1.5)),
        ("vision", Some(10.0)),
    ];
    assert_eq!(listed, expected.map(|(name, rate)| (name.to_owned(), rate)));
    for (key, workers) in [("cpu", 3), ("tesseract", 2), ("vision", 4)] {
        scheduler.preload(key).unwrap();
        until(|| scheduler.key_status(key).unwrap().ready == workers);
        run_through(&scheduler, key);
    }
}

#[test]
fn s0_7_never_more_in_flight_than_workers() {
    const WORKERS: usize = 4;
    let (pool, _) = task_pool(PoolConfig::default().workers(WORKERS));
    let gate = Gate::new();
    let held = || {
        let gate = gate.clone();
        pool.submit("tasks", task(move |_| gate.pass())).unwrap()
    };
    let holding: Vec<_> = (0..WORKERS).map(|_| held()).collect();
    (0..WORKERS).for_each(|_| gate.wait_entered());
    assert_eq!(pool.status().in_flight, WORKERS, "all of them work at once");

    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counted = || {
        let (running, most) = (running.clone(), most.clone());
        let work = task(move |_| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::yield_now();
            running.fetch_sub(1, Ordering::SeqCst);
        });
        pool.submit("tasks", work).unwrap()
    };
    let tickets: Vec<_> = (0..400).map(|_| counted()).collect();
    (0..WORKERS).for_each(|_| gate.open());
    for ticket in holding.into_iter().chain(tickets) {
        assert!(pool.status().in_flight <= WORKERS);
        ticket.wait().unwrap();
    }
    assert!((1..=WORKERS).contains(&most.load(Ordering::SeqCst)));
}
