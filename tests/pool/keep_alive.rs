//! How long idle workers of a key stay, and what else of a key can be changed while it is in use.

use std::time::Duration;

use millpond::pool::{KeyConfig, PoolConfig, PoolError, RateLimit, WhenBusy};

use crate::support::{Act, Gate, Script, answer, config, eventually, pool};

const HOUR: Duration = Duration::from_hours(1);

/// Idle workers go, and nobody comes to look but for their sake.
fn rare_maintenance() -> PoolConfig {
    let mut config = config();
    (config.min_workers, config.maintenance_interval, config.health_interval) = (0, HOUR * 24, HOUR * 24);
    config
}

#[test]
fn each_key_goes_by_its_own_keep_alive_and_not_with_the_maintenance() {
    let (pool, clock) = pool(rare_maintenance(), &Script::new());
    let brief = KeyConfig::of(pool.config()).keep_alive(Duration::from_secs(5));
    pool.register_with("brief", Script::new(), brief).unwrap();
    for key in ["model", "brief"] {
        answer(pool.submit(key, Act::Answer(1)).unwrap()).unwrap();
    }
    clock.advance(Duration::from_secs(5));
    eventually(|| !pool.has_workers("brief"));
    assert!(pool.has_workers("model"));
    clock.advance(Duration::from_secs(54));
    assert_eq!(pool.metrics().workers_evicted, 1, "it has a second left");
    clock.advance(Duration::from_secs(1));
    eventually(|| !pool.has_workers("model"));
}

#[test]
fn a_worker_that_was_used_meanwhile_stays_for_all_of_its_time() {
    let (pool, clock) = pool(rare_maintenance(), &Script::new());
    for _ in 0..5 {
        answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap();
        clock.advance(Duration::from_secs(40));
        pool.maintain();
        assert!(pool.has_workers("model"));
    }
    clock.advance(Duration::from_secs(20));
    eventually(|| !pool.has_workers("model"));
    assert_eq!(pool.metrics().workers_spawned, 1);
}

#[test]
fn a_keep_alive_of_zero_lets_a_worker_go_within_a_second_of_its_last_request() {
    let (gate, script) = (Gate::new(), Script::new());
    let (pool, clock) = pool(rare_maintenance(), &script);
    pool.keep_alive("model", Duration::ZERO).unwrap();
    let busy = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    clock.advance(Duration::from_secs(10));
    pool.maintain();
    assert!(pool.has_workers("model"), "never while it is busy");
    gate.open();
    answer(busy).unwrap();
    clock.advance(Duration::from_secs(1));
    eventually(|| !pool.has_workers("model"));
    assert_eq!(answer(pool.submit("model", Act::Answer(2)).unwrap()).unwrap(), 2);
}

#[test]
fn a_keep_alive_is_changed_at_any_moment_and_acts_at_once() {
    let (pool, clock) = pool(rare_maintenance(), &Script::new());
    pool.keep_alive("model", Duration::MAX).unwrap();
    assert_eq!(pool.key_config("model").unwrap().keep_alive, Duration::MAX);
    answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap();
    clock.advance(HOUR * 1000);
    pool.maintain();
    assert!(pool.has_workers("model"), "for ever");
    pool.keep_alive("model", HOUR).unwrap();
    eventually(|| !pool.has_workers("model"));
    let unknown = pool.keep_alive("none", HOUR).unwrap_err();
    assert!(matches!(unknown, PoolError::NoWorkers { .. }), "{unknown}");
}

#[test]
fn what_is_pinned_or_the_minimum_stays_and_an_unpinned_worker_that_idled_goes_at_once() {
    let (pool, clock) = pool(rare_maintenance(), &Script::new());
    let two = KeyConfig::of(pool.config()).workers(2).keep_alive(Duration::from_secs(1));
    pool.register_with("two", Script::new(), two).unwrap();
    pool.pin("model", true).unwrap();
    for key in ["model", "two"] {
        answer(pool.submit(key, Act::Answer(1)).unwrap()).unwrap();
    }
    eventually(|| pool.key_status("two").unwrap().ready == 2);
    clock.advance(HOUR);
    pool.maintain();
    assert_eq!(pool.metrics().workers_evicted, 0);
    pool.pin("model", false).unwrap();
    eventually(|| !pool.has_workers("model"));
    assert_eq!(pool.key_status("two").unwrap().ready, 2);
}

#[test]
fn a_key_has_a_request_timeout_of_its_own() {
    let gates = [Gate::new(), Gate::new()];
    let (pool, clock) = pool(config(), &Script::new());
    let quick = KeyConfig::of(pool.config()).request_timeout(Duration::from_secs(2));
    pool.register_with("quick", Script::new(), quick).unwrap();
    let [slow, quick] = [("model", &gates[0]), ("quick", &gates[1])].map(|(key, gate)| {
        let ticket = pool.submit(key, Act::Block(gate.clone())).unwrap();
        gate.wait_entered();
        ticket
    });
    clock.advance(Duration::from_secs(2));
    assert!(matches!(answer(quick).unwrap_err(), PoolError::Timeout { .. }));
    assert!(!slow.is_ready(), "the pool's is longer");
    gates.iter().for_each(Gate::open);
    answer(slow).unwrap();
}

#[test]
fn a_queue_is_made_longer_while_it_is_full() {
    let (gate, script) = (Gate::new(), Script::new());
    let (pool, _) = pool(config().queue_capacity(1), &script);
    let first = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    let second = pool.submit("model", Act::Answer(2)).unwrap();
    let full = pool.submit("model", Act::Answer(3)).unwrap_err().error;
    assert!(matches!(full, PoolError::QueueFull { capacity: 1, .. }), "{full}");
    let longer = pool.key_config("model").unwrap().queue_capacity(2);
    pool.configure("model", longer).unwrap();
    let third = pool.submit("model", Act::Answer(3)).unwrap();
    let full = pool.submit("model", Act::Answer(4)).unwrap_err().error;
    assert!(matches!(full, PoolError::QueueFull { capacity: 2, .. }), "{full}");
    let mut impatient = longer;
    impatient.when_busy = WhenBusy::Reject;
    pool.configure("model", impatient).unwrap();
    let refused = pool.submit("model", Act::Answer(4)).unwrap_err().error;
    assert!(matches!(refused, PoolError::NoWorkers { .. }), "{refused}");
    gate.open();
    for ticket in [first, second, third] {
        answer(ticket).unwrap();
    }
}

#[test]
fn a_rate_limit_comes_and_goes_while_requests_wait() {
    let (pool, clock) = pool(config(), &Script::new());
    answer(pool.submit("model", Act::Answer(0)).unwrap()).unwrap();
    let free = pool.key_config("model").unwrap();
    for round in 0..20 {
        pool.configure("model", free.rate_limit(RateLimit::per_second(1.0))).unwrap();
        let tickets: Vec<_> = (0..3).map(|i| pool.submit("model", Act::Answer(i)).unwrap()).collect();
        eventually(|| tickets[0].is_ready());
        pool.maintain();
        assert!(!tickets[1].is_ready() && !tickets[2].is_ready(), "round {round}: one a second");
        clock.advance(Duration::from_secs(1));
        eventually(|| tickets[1].is_ready());
        pool.configure("model", free).unwrap();
        for (i, ticket) in tickets.into_iter().enumerate() {
            assert_eq!(answer(ticket).unwrap(), i as u64, "what waited for the limit waits no more");
        }
    }
}

#[test]
fn a_higher_minimum_is_filled_up() {
    let (pool, _) = pool(rare_maintenance(), &Script::new());
    answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap();
    pool.configure("model", pool.key_config("model").unwrap().workers(3)).unwrap();
    eventually(|| pool.key_status("model").unwrap().ready == 3);
}
