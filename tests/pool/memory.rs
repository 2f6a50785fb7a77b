//! The ledger under every kind of load, and who gets the last bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use millpond::ByteSize;
use millpond::memory::{MemoryBudget, MemoryReading};
use millpond::pool::{
    EvictReason, KeyConfig, PoolError, SpawnError, SubmitOptions, Ticket, What, WorkerState,
};

use crate::support::{Act, Counts, Gate, Script, answer, config, ends, event, eventually, pool, pool_within};

/// A machine whose memory the test decides.
#[derive(Clone, Default)]
struct Machine {
    total: Arc<AtomicU64>,
    resident: Arc<AtomicU64>,
    broken: Arc<AtomicBool>,
}

impl Machine {
    fn new(total: u64) -> Self {
        let machine = Self::default();
        machine.total.store(total, Ordering::SeqCst);
        machine
    }

    fn budget(&self) -> MemoryBudget {
        let machine = self.clone();
        MemoryBudget::new(1.0, move || {
            assert!(!machine.broken.load(Ordering::SeqCst), "scripted panic of the probe");
            let total = ByteSize::new(machine.total.load(Ordering::SeqCst));
            MemoryReading {
                total,
                cgroup_limit: ByteSize::MAX,
                available: ByteSize::MAX,
                resident: ByteSize::new(machine.resident.load(Ordering::SeqCst)),
            }
        })
    }
}

#[test]
fn row_11_of_two_loads_that_race_for_the_last_bytes_one_wins_and_the_other_gets_its_turn() {
    for round in 0..50 {
        let budget = MemoryBudget::fixed(ByteSize::new(1010));
        let script = Script::new().bytes(1000, 10);
        let (one, _) = pool_within(config(), &script, &budget);
        let (two, _) = pool_within(config(), &script, &budget);
        let tickets = [&one, &two].map(|pool| pool.submit("model", Act::Answer(round)).unwrap());
        // The bytes suffice for one, and neither may hold half of them.
        eventually(|| {
            assert!(budget.reserved() <= budget.limit());
            tickets.iter().any(Ticket::is_ready)
        });
        for ticket in tickets {
            // The loser waits: on a clock that stands still the winner is never idle for long enough.
            if ticket.is_ready() {
                assert_eq!(answer(ticket).unwrap(), round);
            }
        }
    }
}

#[test]
fn row_11_the_loser_of_a_race_waits_for_the_loading_winner_and_then_gets_the_memory() {
    let gate = Gate::new();
    let budget = MemoryBudget::fixed(ByteSize::new(1010));
    let (first, _) = pool_within(config(), &Script::new().bytes(1000, 10).load_gate(&gate), &budget);
    let (second, clock) = pool_within(config(), &Script::new().bytes(1000, 10), &budget);
    let winner = first.submit("model", Act::Answer(1)).unwrap();
    gate.wait_entered();
    let events = second.events(64);
    let patient = SubmitOptions::new().timeout(Duration::MAX);
    let loser = second.submit_with("model", Act::Answer(2), patient).unwrap();
    event(&events, |what| matches!(what, What::SpawnRefused { .. }));
    second.maintain();
    assert!(!loser.is_ready(), "what loads will be idle one day: no reason to refuse");
    gate.open();
    assert_eq!(answer(winner).unwrap(), 1);
    // Its residence is counted on its own pool's clock, which stands still; so it is asked when idle only.
    first.clock().advance(Duration::from_secs(2));
    eventually(|| {
        clock.advance(Duration::from_millis(10));
        loser.is_ready()
    });
    assert_eq!(answer(loser).unwrap(), 2);
    assert!(!first.has_workers("model"));
}

#[test]
fn row_12_a_model_that_can_never_fit_is_refused_at_once_and_nothing_is_evicted_for_it() {
    let budget = MemoryBudget::fixed(ByteSize::new(2000));
    let (pool, _) = pool_within(config(), &Script::new().bytes(1000, 10), &budget);
    answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap();
    pool.register("huge", Script::new().bytes(3000, 10)).unwrap();
    let error = answer(pool.submit("huge", Act::Answer(1)).unwrap()).unwrap_err();
    let PoolError::MemoryExhausted { source, .. } = &error else { panic!("{error}") };
    assert_eq!((source.need.bytes(), source.limit.bytes()), (3010, 2000));
    assert!(!error.is_retryable());
    assert!(pool.has_workers("model"));
    assert_eq!(pool.metrics().workers_evicted, 0);
}

#[test]
fn row_12_what_only_pinned_keys_hold_is_refused_at_once() {
    let budget = MemoryBudget::fixed(ByteSize::new(1500));
    let (pool, _) = pool_within(config(), &Script::new().bytes(1000, 10), &budget);
    pool.pin("model", true).unwrap();
    answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap();
    pool.register("other", Script::new().bytes(1000, 10)).unwrap();
    let error = answer(pool.submit("other", Act::Answer(1)).unwrap()).unwrap_err();
    let PoolError::MemoryExhausted { source, .. } = &error else { panic!("{error}") };
    assert_eq!((source.need.bytes(), source.free.bytes()), (1010, 490));
    assert!(source.to_string().contains("scripted/model"), "it names the holder: {source}");
}

/// Two workers start together; their one load turns out larger than predicted.
#[test]
fn row_13_what_a_load_teaches_two_workers_is_learnt_once() {
    let (machine, gate) = (Machine::new(10_000), Gate::new());
    let mut config = config().workers(2);
    config.min_residence = Duration::ZERO;
    let script = Script::new().bytes(1000, 10).load_gate(&gate);
    let (pool, _) = pool_within(config, &script, &machine.budget());
    // Something idle stands in the way of what the model really takes.
    pool.register_with("idle", Script::new().bytes(7000, 0), KeyConfig::of(pool.config()).workers(1))
        .unwrap();
    answer(pool.submit("idle", Act::Answer(1)).unwrap()).unwrap();
    let events = pool.events(256);
    let ticket = pool.submit("model", Act::Answer(7)).unwrap();
    for _ in 0..2 {
        gate.wait_entered();
        let before = machine.resident.load(Ordering::SeqCst);
        machine.resident.store(before + 5000, Ordering::SeqCst);
        gate.open();
        if Counts::get(&script.counts.loads) == 1 {
            eventually(|| Counts::get(&script.counts.weights_dropped) == 1);
            machine.resident.store(before, Ordering::SeqCst);
        }
    }
    assert_eq!(answer(ticket).unwrap(), 7, "the second load had the right reservation");
    assert_eq!(Counts::get(&script.counts.loads), 2);
    eventually(|| pool.key_status("model").unwrap().ready == 2);
    assert_eq!(pool.key_status("model").unwrap().memory.bytes(), 5020, "corrected once, not twice");
    let failed = events.try_iter().any(|event| matches!(event.what, What::SpawnFailed { .. }));
    assert!(!failed, "a lesson is no failure");
    assert!(!pool.has_workers("idle"), "the idle made room");
}

#[test]
fn row_13_a_model_that_is_too_large_in_truth_is_given_up_with_figures() {
    let (machine, gate) = (Machine::new(4000), Gate::new());
    let script = Script::new().bytes(1000, 10).load_gate(&gate);
    let (pool, _) = pool_within(config(), &script, &machine.budget());
    let ticket = pool.submit("model", Act::Answer(7)).unwrap();
    gate.wait_entered();
    machine.resident.store(9000, Ordering::SeqCst);
    gate.open();
    let error = answer(ticket).unwrap_err();
    let PoolError::MemoryExhausted { source, .. } = &error else { panic!("{error}") };
    assert_eq!((source.need.bytes(), source.limit.bytes()), (9010, 4000));
    assert_eq!(pool.budget().reserved().bytes(), 0);
}

/// 1,000 loads that die; here 200.
#[test]
fn row_14_loads_that_die_leave_nothing_behind() {
    let script = Script::new().bytes(1000, 10).failing_loads(200);
    let mut config = config();
    (config.circuit_threshold, config.min_workers) = (0, 0);
    let (pool, _) = pool(config, &script);
    for _ in 0..200 {
        let error = answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap_err();
        assert!(matches!(&error, PoolError::SpawnFailed { source: SpawnError::Load(_), .. }), "{error}");
        assert!(error.is_retryable());
    }
    pool.unload("model").unwrap();
    assert_eq!(pool.budget().reserved().bytes(), 0);
    assert_eq!(answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap(), 1);
    assert_eq!(pool.budget().reserved().bytes(), 1010);
}

#[test]
fn row_14_a_build_that_dies_gives_its_own_memory_back_and_leaves_siblings_alone() {
    let script = Script::new().bytes(1000, 10);
    let mut config = config().workers(1);
    (config.min_workers, config.max_workers) = (0, 4);
    let (pool, _) = pool(config, &script);
    answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap();
    script.failing_builds.store(1, Ordering::SeqCst);
    let events = pool.events(64);
    pool.resize("model", 2).unwrap();
    event(&events, |what| matches!(what, What::SpawnFailed { .. }));
    pool.maintain();
    eventually(|| pool.key_status("model").unwrap().ready == 2);
    assert_eq!(pool.budget().reserved().bytes(), 1020);
    assert_eq!(Counts::get(&script.counts.loads), 1);
}

#[test]
fn row_15_a_shrunken_budget_evicts_the_idle_and_spares_the_busy_within_two_seconds() {
    let (machine, gate) = (Machine::new(10_000), Gate::new());
    let (pool, clock) = pool_within(config(), &Script::new().bytes(1000, 0), &machine.budget());
    pool.register("busy", Script::new().bytes(1000, 0)).unwrap();
    answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap();
    let blocked = pool.submit("busy", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    let events = pool.events(64);
    machine.total.store(500, Ordering::SeqCst);
    clock.advance(Duration::from_secs(2));
    event(&events, |what| matches!(what, What::Evicted { reason: EvictReason::BudgetShrank, .. }));
    event(&events, |what| matches!(what, What::Stopped { .. }));
    assert!(!pool.has_workers("model") && pool.has_workers("busy"), "never the busy");
    assert_eq!(pool.budget().overdraft().bytes(), 500);
    let refused = answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap_err();
    assert!(matches!(refused, PoolError::MemoryExhausted { .. }), "nothing new: {refused}");
    gate.open();
    answer(blocked).unwrap();
    machine.total.store(10_000, Ordering::SeqCst);
    assert_eq!(answer(pool.submit("model", Act::Answer(3)).unwrap()).unwrap(), 3, "it recovers");
}

#[test]
fn row_44_a_panicking_probe_stops_neither_loading_nor_maintenance() {
    let machine = Machine::new(10_000);
    let (pool, clock) = pool_within(config(), &Script::new().bytes(1000, 10), &machine.budget());
    let events = pool.events(64);
    machine.broken.store(true, Ordering::SeqCst);
    assert_eq!(answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap(), 1);
    assert_eq!(pool.budget().limit().bytes(), 10_000, "the last reading stands");
    for _ in 0..3 {
        clock.advance(Duration::from_secs(1));
        pool.maintain();
    }
    let panicked = events.try_iter().any(|event| matches!(event.what, What::SupervisorPanicked { .. }));
    assert!(!panicked, "the supervisor's turn is not lost with it");
    machine.broken.store(false, Ordering::SeqCst);
    machine.total.store(5000, Ordering::SeqCst);
    pool.maintain();
    assert_eq!(pool.budget().limit().bytes(), 5000);
}

/// A hanging load is given up, and whoever comes next does not join it.
#[test]
fn row_14_a_load_that_hangs_is_given_up_and_not_joined() {
    let (gate, script) = (Gate::new(), Script::new().bytes(1000, 10));
    let (pool, clock) = pool(config(), &script.clone().load_gate(&gate));
    let patient = || SubmitOptions::new().timeout(Duration::MAX);
    let waiting = pool.submit_with("model", Act::Answer(1), patient()).unwrap();
    gate.wait_entered();
    clock.advance(pool.config().start_timeout);
    let error = answer(waiting).unwrap_err();
    let timed_out = matches!(&error, PoolError::SpawnFailed { source: SpawnError::TimedOut(_), .. });
    assert!(timed_out, "{error}");
    let next = pool.submit_with("model", Act::Answer(2), patient()).unwrap();
    // Past the pause before the next start.
    clock.advance(Duration::from_mins(1));
    gate.wait_entered();
    assert_eq!(Counts::get(&script.counts.loads), 2, "a load of its own");
    assert_eq!(pool.budget().reserved().bytes(), 2020, "what hangs is still charged");
    gate.open();
    gate.open();
    assert_eq!(answer(next).unwrap(), 2);
    pool.shutdown(Duration::from_mins(1)).unwrap();
    assert_eq!(pool.budget().reserved().bytes(), 0);
}

#[test]
fn row_11_whoever_asks_while_memory_is_on_its_way_back_is_not_refused() {
    // The weights take their time to go; meanwhile they are on their way back, not gone.
    let gate = Gate::new();
    let budget = MemoryBudget::fixed(ByteSize::new(1500));
    let (pool, clock) = pool_within(config(), &Script::new().bytes(1000, 10).drop_gate(&gate), &budget);
    answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap();
    pool.register("other", Script::new().bytes(1000, 10)).unwrap();
    clock.advance(Duration::from_secs(2));
    let ticket = pool.submit("other", Act::Answer(2)).unwrap();
    gate.wait_entered();
    for _ in 0..20 {
        clock.advance(Duration::from_millis(10));
        pool.maintain();
        assert!(!ticket.is_ready());
    }
    gate.open();
    assert_eq!(answer(ticket).unwrap(), 2);
}

#[test]
fn row_13_status_readers_never_hold_the_weights() {
    let script = Script::new().bytes(1000, 10);
    let (pool, _) = pool(config(), &script);
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (pool, stop) = (pool.clone(), stop.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    assert!(pool.status().memory.bytes() <= 1010);
                }
            })
        })
        .collect();
    for round in 1..=200 {
        pool.preload("model").unwrap();
        assert_eq!(pool.workers("model").unwrap()[0].state(), WorkerState::Ready);
        pool.unload("model").unwrap();
        assert_eq!(pool.budget().reserved().bytes(), 0, "gone means gone, whoever looks");
        assert_eq!(Counts::get(&script.counts.weights_dropped), round);
    }
    stop.store(true, Ordering::SeqCst);
    for reader in readers {
        ends(move || reader.join().unwrap());
    }
}
