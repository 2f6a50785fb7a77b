//! One generic pool, five capabilities, one budget.

use std::collections::HashSet;
use std::future::Future;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use millpond::capability::{
    Capability, ImageEmbedding, JobContext, Model, ModelError, NoEvent, Outbox, Slot, TextEmbedding,
    TextToImage, TextToText, Vision,
};
use millpond::memory::{Footprint, MemoryBudget, MemoryReading, OverBudget};
use millpond::pool::{
    BuildWith, NoWorkers, Pool, PoolConfig, PoolError, PoolMetrics, SpawnError, SubmitOptions, WorkerHandle,
};
use millpond::{ByteSize, Clock, Timestamp, WorkerId};

use crate::support::{Act, Counts, Gate, Script, config, pool, pool_within};
use crate::{SECOND, until};

/// A model of any capability that serves nothing.
struct Idle;

impl<C: Capability> Model<C> for Idle {
    fn admit(&mut self, _: Slot, _: C::Request, _: &JobContext) -> Result<(), ModelError> {
        Err(ModelError::failed("this one only sits there"))
    }

    fn step(&mut self, _: &mut Outbox<C>) -> Result<(), ModelError> {
        Ok(())
    }

    fn cancel(&mut self, _: Slot) {}
}

fn idle_of(bytes: u64) -> BuildWith<fn() -> Idle> {
    let footprint = Footprint { weights: ByteSize::new(bytes), per_worker: ByteSize::ZERO };
    BuildWith::new((|| Idle) as fn() -> Idle).footprint(footprint)
}

/// The same code for every capability: a pool with one loaded key of 100 bytes.
fn loaded<C: Capability>(budget: &MemoryBudget, clock: &Clock) -> Pool<C> {
    let pool = Pool::<C>::builder().config(config()).budget(budget.clone()).clock(clock.clone());
    let pool = pool.build().unwrap();
    pool.register("model", idle_of(100)).unwrap();
    pool.preload("model").unwrap();
    pool
}

#[test]
fn s4_1_one_generic_pool_for_five_capabilities() {
    let (budget, clock) = (MemoryBudget::fixed(ByteSize::kib(1)), Clock::manual());
    let pools = (
        loaded::<TextEmbedding>(&budget, &clock),
        loaded::<TextToText>(&budget, &clock),
        loaded::<ImageEmbedding>(&budget, &clock),
        loaded::<Vision>(&budget, &clock),
        loaded::<TextToImage>(&budget, &clock),
    );
    let statuses = [pools.0.status(), pools.1.status(), pools.2.status(), pools.3.status(), pools.4.status()];
    let names: HashSet<&str> = statuses.iter().map(|status| status.name.as_str()).collect();
    let expected = ["text-embedding", "text-to-text", "image-embedding", "vision", "text-to-image"];
    assert_eq!(names, HashSet::from(expected));
    assert!(statuses.iter().all(|status| status.workers == 1));
    assert_eq!(budget.reserved(), ByteSize::new(500));
}

#[test]
fn s4_1_the_pool_names_no_model_and_no_capability() {
    fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                sources(&entry.path(), found);
            } else if entry.path().extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(entry.path()).unwrap();
                found.push((entry.path().display().to_string(), text));
            }
        }
    }
    let mut found = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/pool"), &mut found);
    assert!(found.len() > 20, "src/pool is where the pool is");
    let foreign =
        ["candle", "tokenizers", "safetensors", "Embedding", "TextTo", "Vision", "Bert", "crate::arch"];
    for (path, source) in found {
        for word in foreign {
            assert!(!source.contains(word), "{path} speaks of {word}");
        }
    }
}

/// The eight errors of the founding document, each brought about for real.
fn eight_errors() -> Vec<PoolError> {
    let gate = Gate::new();
    let script = Script::new().bytes(100, 10);
    let (pool, clock) = pool_within(config(), &script, &MemoryBudget::fixed(ByteSize::new(500)));
    pool.register("too large", Script::new().bytes(400, 101)).unwrap();
    pool.register("broken", Script::new().failing_loads(1)).unwrap();
    let no_workers = pool.submit_wait("nobody", Act::Answer(1)).unwrap_err();
    let model_error = pool.submit_wait("model", Act::Fail).unwrap_err();
    let memory = pool.submit_wait("too large", Act::Answer(1)).unwrap_err();
    let spawn_failed = pool.submit_wait("broken", Act::Answer(1)).unwrap_err();
    let slow = pool.submit("model", Act::Block(gate.clone())).unwrap();
    gate.wait_entered();
    let worker = pool.workers("model").unwrap()[0].worker_id();
    let busy = pool.submit_with("model", Act::Answer(1), SubmitOptions::new().worker(worker));
    clock.advance(30 * SECOND);
    let timeout = slow.wait().unwrap_err();
    gate.open();
    let recv_error = polled_after_its_end(pool.submit("model", Act::Answer(1)).unwrap());
    pool.begin_shutdown();
    let shutting_down = pool.submit("model", Act::Answer(1)).unwrap_err().error;
    let send_error = busy.unwrap_err().error;
    vec![no_workers, timeout, send_error, recv_error, model_error, shutting_down, memory, spawn_failed]
}

fn polled_after_its_end<F: Future<Output = Result<u64, PoolError>> + Unpin>(mut future: F) -> PoolError {
    let mut context = Context::from_waker(Waker::noop());
    let mut poll = || std::pin::Pin::new(&mut future).poll(&mut context);
    loop {
        match poll() {
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => return error,
            Poll::Pending => std::thread::yield_now(),
        }
    }
}

#[test]
fn s4_2_eight_errors_with_their_data() {
    let errors = eight_errors();
    let codes: Vec<_> = errors.iter().map(PoolError::code).collect();
    let expected = [
        "no_workers",
        "timeout",
        "send_error",
        "recv_error",
        "model_error",
        "shutting_down",
        "memory_exhausted",
        "spawn_failed",
    ];
    assert_eq!(codes, expected);
    let keys: Vec<_> = errors.iter().map(|error| error.key().as_str()).collect();
    assert_eq!(keys, ["nobody", "model", "model", "model", "model", "model", "too large", "broken"]);
    for error in &errors {
        let as_error: &(dyn std::error::Error + Send + Sync) = error;
        assert!(as_error.to_string().contains(error.key().as_str()), "{as_error}");
        assert_eq!(error.clone().to_string(), error.to_string());
    }
    assert!(matches!(&errors[0], PoolError::NoWorkers { reason: NoWorkers::Unregistered, .. }));
    assert!(matches!(&errors[1], PoolError::Timeout { waited, .. } if *waited == 30 * SECOND));
    assert!(matches!(&errors[4], PoolError::ModelError { source: ModelError::Failed(_), .. }));
    let PoolError::MemoryExhausted { source, .. } = &errors[6] else { panic!("{}", errors[6]) };
    assert_eq!((source.need, source.limit), (ByteSize::new(501), ByteSize::new(500)));
    assert!(matches!(&errors[7], PoolError::SpawnFailed { source: SpawnError::Load(_), .. }));
}

#[test]
fn s4_3_defaults_of_the_configuration() {
    let config = PoolConfig::default();
    assert_eq!(config.request_timeout, 30 * SECOND);
    assert_eq!(config.shutdown_timeout, 5 * SECOND);
    assert_eq!(config.maintenance_interval, 60 * SECOND);
    assert_eq!(config.cooldown_idle, Duration::from_mins(1));
}

#[test]
fn s4_3_the_defaults_govern() {
    let mut config = PoolConfig::default();
    config.initial_workers = 1;
    let gate = Gate::new();
    let (pool, clock) = pool(config, &Script::new());
    let slow = pool.submit("model", Act::Linger(gate.clone())).unwrap();
    gate.wait_entered();
    clock.advance(Duration::from_millis(29_999));
    pool.maintain();
    assert!(!slow.is_ready());
    clock.advance(Duration::from_millis(1));
    assert_eq!(slow.wait().unwrap_err().code(), "timeout");
    pool.submit_wait("model", Act::Answer(1)).unwrap();
    // Idle for its minute, and found so by the maintenance that comes every minute.
    clock.advance(60 * SECOND);
    until(|| pool.workers("model").unwrap().is_empty());
    assert_eq!(pool.metrics().workers_evicted, 1);
}

#[test]
fn s4_4_metrics_lose_no_count_to_concurrency() {
    let (pool, clock) = pool(config().workers(4), &Script::new());
    until(|| pool.preload("model").is_ok() && pool.key_status("model").unwrap().ready == 4);
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let pool = pool.clone();
            std::thread::spawn(move || {
                for n in 0..250 {
                    assert_eq!(pool.submit_wait("model", Act::Answer(n)).unwrap(), n);
                }
            })
        })
        .collect();
    for caller in callers {
        caller.join().unwrap();
    }
    pool.submit_wait("model", Act::Fail).unwrap_err();
    let gate = Gate::new();
    let late = [(); 2].map(|()| pool.submit("model", Act::Linger(gate.clone())).unwrap());
    for _ in &late {
        gate.wait_entered();
    }
    clock.advance(30 * SECOND);
    assert!(late.into_iter().all(|ticket| ticket.wait().is_err()));
    pool.resize("model", 1).unwrap();
    until(|| pool.workers("model").unwrap().len() == 1);
    let PoolMetrics {
        total_requests,
        total_completed,
        total_timeouts,
        total_errors,
        workers_spawned,
        workers_evicted,
        ..
    } = pool.metrics();
    assert_eq!((total_requests, total_completed, total_timeouts, total_errors), (1003, 1000, 2, 1));
    assert_eq!((workers_spawned, workers_evicted), (4, 3));
}

#[test]
fn s4_5_a_handle_tells_what_is_pending_when_it_was_used_and_which_worker_it_is() {
    let gate = Gate::new();
    let (pool, clock) = pool(config(), &Script::new().capacity(3));
    pool.preload("model").unwrap();
    let worker = pool.workers("model").unwrap().remove(0);
    let seconds = |worker: &WorkerHandle| worker.last_used().since(Timestamp::default()).as_secs();
    assert_eq!((worker.pending_requests(), seconds(&worker)), (0, 0));
    clock.advance(7 * SECOND);
    let tickets = [(); 3].map(|()| pool.submit("model", Act::Linger(gate.clone())).unwrap());
    for _ in &tickets {
        gate.wait_entered();
    }
    assert_eq!(worker.pending_requests(), 3);
    assert_eq!(worker.idle(), Duration::ZERO);
    for _ in &tickets {
        gate.open();
    }
    assert!(tickets.into_iter().all(|ticket| ticket.wait().is_ok()));
    assert_eq!((worker.pending_requests(), seconds(&worker)), (0, 7));
    clock.advance(5 * SECOND);
    assert_eq!((worker.idle(), seconds(&worker)), (5 * SECOND, 7), "time alone is no use of it");
    worker.touch();
    assert_eq!((worker.idle(), seconds(&worker)), (Duration::ZERO, 12));
}

#[test]
fn s4_5_worker_numbers_are_never_used_twice() {
    let (pool, _) = pool(config(), &Script::new());
    pool.register("other", Script::new()).unwrap();
    let mut seen: Vec<WorkerId> = Vec::new();
    for key in ["model", "other", "model", "other", "model"] {
        pool.preload(key).unwrap();
        seen.push(pool.workers(key).unwrap()[0].worker_id());
        pool.unload(key).unwrap();
    }
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), 5, "{seen:?}");
}

#[test]
fn s4_6_the_pool_by_its_keys_workers_memory_configuration_and_phase() {
    let (pool, _) = pool(config().workers(2), &Script::new().bytes(1000, 10));
    pool.register("other", Script::new().bytes(200, 5)).unwrap();
    let mut keys = pool.keys();
    keys.sort();
    assert_eq!(keys, ["model".into(), "other".into()]);
    assert!(!pool.has_workers("model") && !pool.has_workers("nobody"));
    assert_eq!(pool.reserved_memory(), ByteSize::ZERO);

    pool.preload("model").unwrap();
    until(|| pool.key_status("model").unwrap().ready == 2);
    assert!(pool.has_workers("model") && !pool.has_workers("other"));
    assert_eq!(pool.workers("model").unwrap().len(), 2);
    assert_eq!(pool.reserved_memory(), ByteSize::new(1020), "weights once and each worker's own");
    pool.preload("other").unwrap();
    until(|| pool.key_status("other").unwrap().ready == 2);
    assert_eq!(pool.reserved_memory(), ByteSize::new(1230));
    pool.unload("model").unwrap();
    assert_eq!(pool.reserved_memory(), ByteSize::new(210));
    assert_eq!(pool.reserved_memory(), pool.budget().reserved());

    assert_eq!((pool.config().max_workers, pool.metrics().workers_spawned), (2, 4));
    assert!(!pool.is_shutting_down());
    pool.begin_shutdown();
    assert!(pool.is_shutting_down());
    assert_eq!(pool.preload("model").unwrap_err().code(), "shutting_down");
}

/// Cannot leave its thread, and nothing else can hold it: exclusively owned by its worker.
struct Tied(Rc<AtomicU64>);

struct Numbers;

impl Capability for Numbers {
    const NAME: &'static str = "numbers";
    type Request = u64;
    type Event = NoEvent;
    type Output = u64;
}

impl Model<Numbers> for Tied {
    fn admit(&mut self, _: Slot, request: u64, _: &JobContext) -> Result<(), ModelError> {
        self.0.store(request, Ordering::Relaxed);
        Ok(())
    }

    fn step(&mut self, out: &mut Outbox<Numbers>) -> Result<(), ModelError> {
        out.finish(Slot(0), self.0.load(Ordering::Relaxed));
        Ok(())
    }

    fn cancel(&mut self, _: Slot) {}
}

#[test]
fn s4_7_workers_own_their_models_and_share_only_weights() {
    let pool = Pool::<Numbers>::new(PoolConfig::default().workers(2)).unwrap();
    pool.register("tied", BuildWith::new(|| Tied(Rc::default()))).unwrap();
    assert_eq!(pool.submit_all("tied", 0..100).unwrap(), (0..100).collect::<Vec<_>>());

    let script = Script::new().bytes(1000, 10);
    let (pool, _) = pool_within(config().workers(4), &script, &MemoryBudget::fixed(ByteSize::new(1040)));
    pool.preload("model").unwrap();
    until(|| pool.key_status("model").unwrap().ready == 4);
    let Counts { loads, builds, .. } = &*script.counts;
    assert_eq!((Counts::get(loads), Counts::get(builds)), (1, 4), "four models, one set of weights");
}

#[test]
fn s4_7_nothing_is_loaded_beyond_80_percent_of_the_memory() {
    let reading = || MemoryReading {
        total: ByteSize::new(1000),
        cgroup_limit: ByteSize::MAX,
        available: ByteSize::new(1000),
        resident: ByteSize::ZERO,
    };
    assert!((MemoryBudget::DEFAULT_FRACTION - 0.8).abs() < f64::EPSILON);
    let budget = MemoryBudget::new(MemoryBudget::DEFAULT_FRACTION, reading);
    let (fitting, beyond) = (Script::new().bytes(790, 10), Script::new().bytes(790, 11));
    let (pool, _) = pool_within(config(), &fitting, &budget);
    pool.register("beyond", beyond.clone()).unwrap();
    let error = pool.submit_wait("beyond", Act::Answer(1)).unwrap_err();
    let PoolError::MemoryExhausted { source: OverBudget { need, limit, .. }, .. } = error else {
        panic!("{error}")
    };
    assert_eq!((need, limit), (ByteSize::new(801), ByteSize::new(800)));
    assert_eq!((Counts::get(&beyond.counts.loads), pool.metrics().workers_spawned), (0, 0), "refused unread");
    assert_eq!(pool.submit_wait("model", Act::Answer(1)).unwrap(), 1);
    assert_eq!(budget.reserved(), ByteSize::new(800));
}

#[test]
fn s4_8_five_pools_have_one_budget() {
    let (budget, clock) = (MemoryBudget::fixed(ByteSize::new(250)), Clock::manual());
    let texts = loaded::<TextEmbedding>(&budget, &clock);
    let images = loaded::<ImageEmbedding>(&budget, &clock);
    texts.pin("model", true).unwrap();
    images.pin("model", true).unwrap();
    assert_eq!((texts.reserved_memory(), images.reserved_memory()), (ByteSize::new(100), ByteSize::new(100)));
    // In a pool whose own books are empty: what others hold counts.
    let (pool, _) = pool_within(config(), &Script::new().bytes(90, 10), &budget);
    let error = pool.preload("model").unwrap_err();
    let PoolError::MemoryExhausted { source, .. } = &error else { panic!("{error}") };
    assert_eq!((source.need, source.free), (ByteSize::new(100), ByteSize::new(50)));
    assert!(error.to_string().contains("text-embedding/model"), "who holds the rest: {error}");
    drop(texts);
    pool.preload("model").unwrap();
    assert_eq!(budget.reserved(), ByteSize::new(200));
}

#[test]
fn s4_8_bytes_come_back_once_and_by_themselves() {
    let budget = MemoryBudget::fixed(ByteSize::new(100));
    let mut held = budget.try_reserve("weights", ByteSize::new(60)).unwrap();
    assert!(budget.try_reserve("more", ByteSize::new(41)).is_err());
    held.settle(ByteSize::new(10)).unwrap();
    assert_eq!(budget.reserved(), ByteSize::new(10));
    drop(held);
    assert_eq!(budget.reserved(), ByteSize::ZERO, "never below, never twice");
}

#[test]
fn s4_8_last_use_is_on_a_clock_that_never_jumps() {
    let clock = Clock::system();
    let (before, after) = (clock.now(), clock.now());
    assert!(before <= after);
    let far = after.saturating_add(Duration::MAX);
    assert_eq!(far, Timestamp::NEVER, "and no timeout overflows it");
    assert_eq!(before.since(after), Duration::ZERO);
}
