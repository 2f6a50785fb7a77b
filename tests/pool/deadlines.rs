//! Deadlines, priorities, and clocks that go to their limits.

use std::time::Duration;

use millpond::pool::{
    EvictReason, KeyConfig, Pool, PoolError, QueueOrder, RateLimit, Retry, SubmitOptions, Unroutable, What,
    WorkerState,
};
use millpond::{ByteSize, Clock, memory::MemoryBudget};

use crate::support::{
    Act, CopyGate, Counts, Gate, Script, Scripted, answer, config, event, eventually, pool, reports,
};

const SECOND: Duration = Duration::from_secs(1);

fn timed_out(result: &Result<u64, PoolError>) -> bool {
    matches!(result, Err(PoolError::Timeout { .. }))
}

/// "Reply <= deadline + 50 ms" on a clock that the test owns: without the clock moving on.
#[test]
fn row_04_a_stuck_worker_is_replaced_and_its_late_result_discarded() {
    let (gate, script) = (Gate::new(), Script::new().bytes(1000, 10));
    let (pool, clock) = pool(config(), &script);
    let events = pool.events(256);
    let stuck = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    let behind = pool.submit("model", Act::Answer(1)).unwrap();
    clock.advance(30 * SECOND);
    assert!(timed_out(&answer(stuck)), "in its step");
    assert!(timed_out(&answer(behind)), "behind it");
    clock.advance(pool.config().stuck_after);
    event(&events, |what| matches!(what, What::Stuck { .. }));
    assert_eq!(pool.unroutable(), [("model".into(), Unroutable::NoWorkerAnswers)]);
    assert_eq!(answer(pool.submit("model", Act::Answer(2)).unwrap()).unwrap(), 2, "a replacement serves");
    assert_eq!(pool.unroutable(), []);
    let status = pool.key_status("model").unwrap();
    assert_eq!(status.workers.iter().filter(|worker| worker.state == WorkerState::Failed).count(), 1);
    assert_eq!(status.ready, 1);
    assert_eq!(pool.budget().reserved().bytes(), 1020, "what hangs is still charged");
    let before = pool.metrics();
    gate.open();
    event(&events, |what| matches!(what, What::Stopped { .. }));
    assert_eq!(pool.metrics(), before, "nobody hears of the late result");
    assert_eq!(pool.budget().reserved().bytes(), 1010);
}

#[test]
fn row_04_what_a_stuck_worker_never_began_goes_to_others() {
    let (gate, script) = (Gate::new(), Script::new().capacity(4));
    let (pool, clock) = pool(config(), &script);
    let patient = || SubmitOptions::new().timeout(Duration::MAX);
    let stuck = pool.submit_with("model", Act::Block(gate.clone()), patient()).unwrap();
    gate.wait_entered();
    let behind: Vec<_> =
        (0..8).map(|i| pool.submit_with("model", Act::Answer(i), patient()).unwrap()).collect();
    clock.advance(pool.config().stuck_after + SECOND);
    for (i, ticket) in behind.into_iter().enumerate() {
        assert_eq!(answer(ticket).unwrap(), i as u64);
    }
    gate.open();
    assert_eq!(answer(stuck).unwrap(), 0, "its deadline has not passed: the answer is still wanted");
    eventually(|| pool.metrics().total_completed == 9);
}

#[test]
fn row_04_a_stuck_worker_is_not_replaced_beyond_the_budget() {
    let gate = Gate::new();
    let budget = MemoryBudget::fixed(ByteSize::new(1015));
    let (pool, clock) = crate::support::pool_within(config(), &Script::new().bytes(1000, 10), &budget);
    let stuck = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    let events = pool.events(64);
    clock.advance(pool.config().stuck_after + SECOND);
    event(&events, |what| matches!(what, What::Stuck { .. }));
    assert!(timed_out(&answer(stuck)));
    let refused = answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap_err();
    assert!(matches!(refused, PoolError::MemoryExhausted { .. }), "{refused}");
    gate.open();
    event(&events, |what| matches!(what, What::Stopped { .. }));
    assert_eq!(answer(pool.submit("model", Act::Answer(2)).unwrap()).unwrap(), 2);
}

/// The worker has taken the job out of its channel and not yet put it into the model when the sweep passes.
#[test]
fn row_18_a_deadline_that_passes_while_a_job_is_between_two_places_is_swept() {
    let (copying, blocking) = (Gate::new(), Gate::new());
    let (pool, clock) = pool(config(), &Script::new());
    let options = SubmitOptions::new().timeout(10 * SECOND).retry(Retry::new(2, Duration::ZERO));
    let act = Act::Copied(CopyGate(copying.clone()), blocking.clone());
    let ticket = pool.submit_with("model", act, options).unwrap();
    copying.wait_entered();
    clock.advance(11 * SECOND);
    pool.maintain();
    assert!(!ticket.is_ready(), "the sweep could not find it");
    copying.open();
    blocking.wait_entered();
    assert!(timed_out(&answer(ticket)), "and looks again");
    blocking.open();
}

#[test]
fn row_18_what_waits_past_its_deadline_is_ended_without_running() {
    let (gate, script) = (Gate::new(), Script::new());
    let (pool, clock) = pool(config(), &script);
    let blocked = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    let short: Vec<_> = (1..=5)
        .map(|i| pool.submit_with("model", Act::Answer(1), SubmitOptions::new().timeout(i * SECOND)).unwrap())
        .collect();
    for ticket in short {
        clock.advance(SECOND);
        assert!(timed_out(&answer(ticket)));
    }
    gate.open();
    answer(blocked).unwrap();
    assert_eq!(Counts::get(&script.counts.admitted), 1, "none of them ran");
    assert_eq!(pool.metrics().total_timeouts, 5);
}

#[test]
fn row_18_a_deadline_before_the_next_attempt_ends_the_wait_for_it() {
    let (pool, clock) = pool(config(), &Script::new());
    let options = SubmitOptions::new().timeout(10 * SECOND).retry(Retry::new(9, 60 * SECOND));
    let ticket = pool.submit_with("model", Act::Fail, options).unwrap();
    eventually(|| pool.metrics().total_retries == 1);
    clock.advance(10 * SECOND);
    assert!(timed_out(&answer(ticket)));
    assert_eq!(pool.key_status("model").unwrap().queue_used, 0);
}

/// The wait bound: what was submitted one ageing step later at the next priority goes after.
#[test]
fn row_18_ageing_lets_the_lowest_class_run() {
    let gate = Gate::new();
    let mut config = config();
    config.queue_order = QueueOrder::Priority { ageing: SECOND };
    config.request_timeout = Duration::MAX;
    let (pool, clock) = pool(config, &Script::new());
    let blocked = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    let (done, order) = reports();
    let mut tickets = Vec::new();
    let mut submit = |name: &'static str, priority| {
        let done = done.clone();
        let options = SubmitOptions::new().priority(priority).on_complete(move |_| done.send(name).unwrap());
        tickets.push(pool.submit_with("model", Act::Answer(0), options).unwrap());
    };
    submit("low", 0);
    submit("high at once", 5);
    clock.advance(4 * SECOND);
    submit("high in time", 5);
    clock.advance(2 * SECOND);
    submit("high too late", 5);
    submit("low too late", 0);
    gate.open();
    answer(blocked).unwrap();
    for ticket in tickets {
        assert_eq!(answer(ticket).unwrap(), 0);
    }
    let order: Vec<_> = order.try_iter().collect();
    assert_eq!(order, ["high at once", "high in time", "low", "high too late", "low too late"]);
}

#[test]
fn row_41_no_timeout_is_too_long() {
    let mut config = config();
    config.request_timeout = Duration::MAX;
    config.stuck_after = Duration::MAX;
    config.start_timeout = Duration::MAX;
    config.cooldown_idle = Duration::MAX;
    config.maintenance_interval = Duration::MAX;
    config.health_interval = Duration::MAX;
    config.circuit_cooldown = Duration::MAX;
    config.memory_patience = Duration::MAX;
    config.event_grace = Duration::MAX;
    config.session_timeout = Duration::MAX;
    config.shutdown_timeout = Duration::MAX;
    config.queue_order = QueueOrder::Priority { ageing: Duration::MAX };
    for clock in [Clock::manual(), Clock::system()] {
        let pool = Pool::<Scripted>::builder().config(config.clone()).clock(clock).build().unwrap();
        pool.register("model", Script::new()).unwrap();
        for priority in [i32::MIN, 0, i32::MAX] {
            let options = SubmitOptions::new().priority(priority).timeout(Duration::MAX).session("s");
            assert_eq!(answer(pool.submit_with("model", Act::Answer(1), options).unwrap()).unwrap(), 1);
        }
        let options = SubmitOptions::new().retry(Retry::new(u32::MAX, Duration::MAX));
        let never = pool.submit_with("model", Act::Fail, options).unwrap();
        eventually(|| pool.metrics().total_retries == 1);
        pool.maintain();
        drop(never);
        assert!(pool.wait_idle(Duration::MAX));
        pool.shutdown(Duration::MAX).unwrap();
    }
}

#[test]
fn row_41_a_clock_at_its_end_still_serves() {
    let (gate, script) = (Gate::new(), Script::new());
    let (pool, clock) = pool(config(), &script);
    let limited = KeyConfig::of(pool.config()).rate_limit(RateLimit::per_second(10.0).burst(3));
    pool.register_with("limited", script.clone(), limited).unwrap();
    let late = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    clock.advance(Duration::from_nanos(u64::MAX - 5));
    assert!(timed_out(&answer(late)));
    gate.open();
    for _ in 0..3 {
        clock.advance(Duration::MAX);
        pool.maintain();
        assert_eq!(answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap(), 1);
        assert_eq!(answer(pool.submit("limited", Act::Answer(2)).unwrap()).unwrap(), 2);
    }
}

#[test]
fn row_41_a_wait_without_end_and_no_wait_at_all() {
    let (gate, script) = (Gate::new(), Script::new());
    let (pool, _) = pool(config(), &script);
    let ticket = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    let ticket = ticket.wait_timeout(Duration::ZERO).unwrap_err();
    assert!(!pool.wait_idle(Duration::ZERO));
    gate.open();
    assert_eq!(ticket.wait_timeout(Duration::MAX).unwrap().unwrap(), 0);
    let expired = SubmitOptions::new().timeout(Duration::ZERO);
    assert!(timed_out(&answer(pool.submit_with("model", Act::Answer(1), expired).unwrap())));
}

#[test]
fn row_41_no_rate_is_too_slow_and_no_burst_too_large() {
    let (pool, clock) = pool(config(), &Script::new());
    for (i, (rate, burst)) in
        [(1e-9, 1), (1e-9, u32::MAX), (0.001, u32::MAX), (1e9, u32::MAX), (f64::NAN, 0), (f64::INFINITY, 7)]
            .into_iter()
            .enumerate()
    {
        let key = format!("limited-{i}");
        let config = KeyConfig::of(pool.config()).rate_limit(RateLimit::per_second(rate).burst(burst));
        pool.register_with(key.as_str(), Script::new(), config).unwrap();
        assert_eq!(answer(pool.submit(&key, Act::Answer(1)).unwrap()).unwrap(), 1, "{rate} {burst}");
        clock.advance(SECOND);
    }
}

#[test]
fn row_41_a_suspended_machine_wakes_up_to_one_sweep_and_serves() {
    let script = Script::new().bytes(1000, 10);
    let mut config = config();
    config.min_workers = 0;
    let (pool, clock) = pool(config, &script);
    let events = pool.events(64);
    answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap();
    // A month passes at once.
    clock.advance(Duration::from_hours(720));
    event(&events, |what| matches!(what, What::Evicted { reason: EvictReason::Idle, .. }));
    assert_eq!(answer(pool.submit("model", Act::Answer(2)).unwrap()).unwrap(), 2);
}
