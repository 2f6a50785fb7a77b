//! The defects found by reading the closest prior art, each as what must not happen here.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use millpond::capability::{Capability, JobContext, Model, ModelError, Outbox, Slot};
use millpond::memory::{Footprint, MemoryBudget, MemoryReading};
use millpond::pool::{BuildWith, KeyConfig, Pool, PoolError, SubmitOptions, What, WorkerState};
use millpond::{ByteSize, Clock};

use crate::support::{
    Act, Counts, Gate, PATIENCE, Script, Scripted, answer, config, ends, event, eventually, pool, pool_within,
};

#[test]
fn kod_1_what_is_reserved_is_given_back_to_the_same_ledger_and_counted_once() {
    let budget = MemoryBudget::fixed(ByteSize::new(10_000));
    let (pool, _) = pool_within(config().workers(2), &Script::new().bytes(1000, 10), &budget);
    for _ in 0..20 {
        pool.preload("model").unwrap();
        eventually(|| pool.key_status("model").unwrap().ready == 2);
        assert_eq!(budget.clone().reserved().bytes(), 1020, "two workers, one set of weights, nothing twice");
        pool.unload("model").unwrap();
        assert_eq!(budget.reserved().bytes(), 0);
    }
}

#[test]
fn kod_2_pools_share_one_budget_and_small_machines_do_not_underflow() {
    let budget = MemoryBudget::fixed(ByteSize::new(2500));
    let pools: Vec<_> =
        (0..5).map(|_| pool_within(config(), &Script::new().bytes(1000, 10), &budget).0).collect();
    let tickets: Vec<_> = pools.iter().map(|pool| pool.submit("model", Act::Answer(1)).unwrap()).collect();
    eventually(|| tickets.iter().filter(|ticket| ticket.is_ready()).count() >= 2);
    assert_eq!(budget.reserved().bytes(), 2020, "two of five fit, not two each");
    drop(tickets);
    let tiny = MemoryBudget::new(0.8, || MemoryReading {
        total: ByteSize::new(1),
        cgroup_limit: ByteSize::MAX,
        available: ByteSize::ZERO,
        resident: ByteSize::MAX,
    });
    assert_eq!((tiny.limit().bytes(), tiny.status().free.bytes()), (0, 0));
    assert!(tiny.try_reserve("x", ByteSize::new(1)).is_err());
}

#[test]
fn kod_3_a_model_that_declares_no_memory_is_charged_what_it_took() {
    let resident = Arc::new(std::sync::atomic::AtomicU64::new(100));
    let seen = resident.clone();
    let budget = MemoryBudget::new(1.0, move || MemoryReading {
        total: ByteSize::new(100_000),
        cgroup_limit: ByteSize::MAX,
        available: ByteSize::MAX,
        resident: ByteSize::new(seen.load(Ordering::SeqCst)),
    });
    let gate = Gate::new();
    let (pool, _) = pool_within(config(), &Script::new().load_gate(&gate), &budget);
    let ticket = pool.submit("model", Act::Answer(1)).unwrap();
    gate.wait_entered();
    resident.store(30_100, Ordering::SeqCst);
    gate.open();
    answer(ticket).unwrap();
    assert_eq!(budget.reserved().bytes(), 30_000);
}

#[test]
fn kod_4_maintenance_gets_through_with_any_number_of_models() {
    let (pool, clock) = pool(config(), &Script::new());
    for i in 0..100 {
        pool.register(format!("model-{i}").as_str(), Script::new()).unwrap();
    }
    for i in 0..20 {
        pool.preload(format!("model-{i}")).unwrap();
    }
    for _ in 0..3 {
        clock.advance(Duration::from_secs(61));
        let maintaining = pool.clone();
        ends(move || maintaining.maintain());
    }
    assert_eq!(answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap(), 1);
}

#[test]
fn kod_5_nothing_is_locked_while_a_request_is_waited_for() {
    let gate = Gate::new();
    let (pool, _) = pool(config(), &Script::new());
    let blocked = pool.submit("model", Act::Block(gate.clone())).unwrap();
    let waiting = std::thread::spawn(move || blocked.wait());
    gate.wait_entered();
    let steering = pool.clone();
    ends(move || {
        for i in 0..200 {
            steering.register(format!("model-{i}").as_str(), Script::new()).unwrap();
        }
        assert_eq!(steering.keys().len(), 201);
        steering.maintain();
        steering.status();
        steering.resize("model", 2).unwrap();
        steering.preload("model-7").unwrap();
        steering.unload("model-7").unwrap();
    });
    gate.open();
    waiting.join().unwrap().unwrap();
}

/// Its model is neither `Send` nor `Sync`: were it behind a lock, or moved between threads, this would not
/// compile.
#[test]
fn kod_6_workers_are_threads_that_own_their_models() {
    struct WhoAmI(PhantomData<*const ()>, Vec<Slot>);
    struct Names;
    impl Capability for Names {
        const NAME: &'static str = "names";
        type Request = ();
        type Event = ();
        type Output = (std::thread::ThreadId, String);
    }
    impl Model<Names> for WhoAmI {
        fn admit(&mut self, slot: Slot, (): (), _: &JobContext) -> Result<(), ModelError> {
            self.1.push(slot);
            Ok(())
        }
        fn step(&mut self, out: &mut Outbox<Names>) -> Result<(), ModelError> {
            let thread = std::thread::current();
            for slot in self.1.drain(..) {
                out.finish(slot, (thread.id(), thread.name().unwrap_or_default().to_owned()));
            }
            Ok(())
        }
        fn cancel(&mut self, _: Slot) {}
    }
    let pool = Pool::<Names>::builder().config(config()).build().unwrap();
    pool.register("names", BuildWith::new(|| WhoAmI(PhantomData, Vec::new()))).unwrap();
    let first = pool.submit_wait("names", ()).unwrap();
    assert_ne!(first.0, std::thread::current().id());
    assert_eq!(first.1, pool.workers("names").unwrap()[0].name());
    for _ in 0..10 {
        assert_eq!(pool.submit_wait("names", ()).unwrap(), first, "one model, one thread");
    }
}

#[test]
fn kod_7_a_worker_is_busy_until_its_stream_has_ended() {
    let gate = Gate::new();
    let mut config = config().workers(2);
    config.event_capacity = 1 << 20;
    let (pool, _) = pool(config, &Script::new());
    pool.preload("model").unwrap();
    eventually(|| pool.key_status("model").unwrap().ready == 2);
    let mut stream = pool.submit("model", Act::Chatter(gate.clone())).unwrap();
    assert_eq!(stream.next_event(), Some(0));
    let busy: Vec<_> =
        pool.workers("model").unwrap().into_iter().filter(|w| w.state() == WorkerState::Busy).collect();
    assert_eq!(busy.len(), 1);
    for i in 0..5 {
        // They all go to the other one: behind the stream they would wait for ever.
        assert_eq!(answer(pool.submit("model", Act::Answer(i)).unwrap()).unwrap(), i);
    }
    assert_eq!((busy[0].state(), busy[0].pending_requests()), (WorkerState::Busy, 1));
    gate.open();
    answer(stream).unwrap();
    eventually(|| busy[0].state() == WorkerState::Ready);
}

#[test]
fn kod_8_work_stops_when_its_caller_leaves_or_its_time_is_up() {
    let (closed, script) = (Gate::new(), Script::new());
    let (pool, clock) = pool(config(), &script);
    let mut left = pool.submit("model", Act::Chatter(closed.clone())).unwrap();
    left.next_event();
    drop(left);
    assert_eq!(answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap(), 1);
    let late = pool.submit("model", Act::Linger(closed.clone())).unwrap();
    closed.wait_entered();
    clock.advance(Duration::from_secs(31));
    assert!(matches!(answer(late), Err(PoolError::Timeout { .. })));
    assert_eq!(answer(pool.submit("model", Act::Answer(2)).unwrap()).unwrap(), 2);
    assert_eq!(Counts::get(&script.counts.canceled), 2);
}

#[test]
fn kod_9_only_failures_in_a_row_count_and_models_errors_do() {
    let (pool, _) = pool(config(), &Script::new());
    for _ in 0..10 {
        for _ in 0..4 {
            answer(pool.submit("model", Act::Fail).unwrap()).unwrap_err();
        }
        answer(pool.submit("model", Act::Answer(1)).unwrap()).unwrap();
    }
    let events = pool.events(64);
    for _ in 0..5 {
        answer(pool.submit("model", Act::Fail).unwrap()).unwrap_err();
    }
    event(&events, |what| matches!(what, What::CircuitOpened { failures: 5, .. }));
    assert!(matches!(pool.submit("model", Act::Answer(1)).unwrap_err().error, PoolError::CircuitOpen { .. }));
}

#[test]
fn kod_9_queue_depth_and_run_times_are_what_they_are() {
    let gate = Gate::new();
    let (pool, clock) = pool(config(), &Script::new());
    let blocked = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    let queued: Vec<_> = (0..7).map(|i| pool.submit("model", Act::Answer(i)).unwrap()).collect();
    let status = pool.status();
    assert_eq!((status.queue_depth, status.in_flight), (7, 1));
    clock.advance(Duration::from_secs(3));
    gate.open();
    answer(blocked).unwrap();
    for ticket in queued {
        assert!(answer(ticket).is_ok());
    }
    let status = pool.key_status("model").unwrap();
    assert_eq!((status.queue_used, status.completed), (0, 8));
    assert_eq!(status.total_duration(), Duration::from_secs(3));
}

#[test]
fn the_time_to_the_first_event_and_between_events_is_counted() {
    let (gate, chatter) = (Gate::new(), Gate::new());
    let mut config = config();
    // More than there is time for: nobody reads them.
    config.event_capacity = 1 << 32;
    let (pool, clock) = pool(config, &Script::new());
    let blocked = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    let mut reporting = pool.submit("model", Act::Chatter(chatter.clone())).unwrap();
    clock.advance(Duration::from_secs(3));
    gate.open();
    answer(blocked).unwrap();
    // Many are reported while the clock stands still. Two seconds later there is one gap.
    assert_eq!(reporting.next_event(), Some(0));
    let between = || pool.key_status("model").unwrap().between_events_time;
    assert_eq!(between().count, 0);
    clock.advance(Duration::from_secs(2));
    eventually(|| between().count == 1);
    chatter.open();
    answer(reporting).unwrap();
    let first = pool.key_status("model").unwrap().first_event_time;
    assert_eq!((first.count, first.total), (1, Duration::from_secs(3)));
    assert_eq!((between().count, between().total), (1, Duration::from_secs(2)));
}

#[test]
fn kod_10_idle_workers_go_together_and_surplus_goes_while_one_is_busy() {
    let gate = Gate::new();
    let mut config = config();
    (config.initial_workers, config.min_workers, config.max_workers) = (4, 0, 4);
    config.request_timeout = Duration::MAX;
    config.stuck_after = Duration::MAX;
    let (pool, clock) = pool(config, &Script::new().bytes(1000, 10));
    pool.preload("model").unwrap();
    eventually(|| pool.key_status("model").unwrap().ready == 4);
    let busy = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    clock.advance(pool.config().cooldown_idle);
    pool.maintain();
    eventually(|| pool.key_status("model").unwrap().ready == 1);
    eventually(|| pool.budget().reserved().bytes() == 1010);
    gate.open();
    answer(busy).unwrap();
    clock.advance(pool.config().cooldown_idle);
    pool.maintain();
    eventually(|| pool.budget().reserved().bytes() == 0);
}

#[test]
fn kod_10_dropping_the_pool_ends_and_joins_its_threads() {
    let script = Script::new();
    let (pool, _) = pool(config().workers(3), &script);
    pool.preload("model").unwrap();
    eventually(|| pool.key_status("model").unwrap().ready == 3);
    ends(move || drop(pool));
    assert_eq!(Counts::get(&script.counts.drops), 3, "gone when the drop returns");
    assert_eq!(Counts::get(&script.counts.weights_dropped), 1);
}

/// What is advertised there and not built: priorities, deadlines, and scaling by the wait that is expected.
#[test]
fn kod_11_what_the_configuration_offers_has_an_effect() {
    let gate = Gate::new();
    let budget = MemoryBudget::fixed(ByteSize::gib(1));
    let clock = Clock::manual();
    let pool =
        Pool::<Scripted>::builder().config(config()).clock(clock.clone()).budget(budget).build().unwrap();
    let mut grows = KeyConfig::of(pool.config());
    grows.max_workers = 2;
    let script = Script::new().bytes(0, 0);
    let script =
        Script { footprint: Footprint { per_worker: ByteSize::new(1), ..script.footprint }, ..script };
    pool.register_with("grows", script, grows).unwrap();
    let blocked = pool.submit("grows", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    let queued = pool.submit_with("grows", Act::Answer(1), SubmitOptions::new().priority(1)).unwrap();
    clock.advance(Duration::from_secs(1));
    assert_eq!(answer(queued).unwrap(), 1, "a second worker, because the wait was longer than its start");
    assert_eq!(pool.key_status("grows").unwrap().ready, 2);
    gate.open();
    answer(blocked).unwrap();
    assert!(pool.wait_idle(PATIENCE));
}
