//! A model that does what each request says, and gates that let a test decide when.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test binary uses its own part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use millpond::capability::{Capability, Capacity, JobContext, Model, ModelError, Outbox, Slot};
use millpond::memory::{Footprint, MemoryBudget};
use millpond::pool::{LoadError, Loader, Pool, PoolConfig, PoolError, PoolEvent, Ticket, What};
use millpond::{ByteSize, Clock};

/// Requests say what happens to them.
#[derive(Clone, Copy, Debug)]
pub struct Scripted;

impl Capability for Scripted {
    const NAME: &'static str = "scripted";
    type Request = Act;
    type Event = u32;
    type Output = u64;
}

/// What a request makes the model do.
#[derive(Clone, Debug)]
pub enum Act {
    /// Answers at once.
    Answer(u64),
    /// Reports 0..n as events, one a step, then answers n.
    Count(u32),
    /// Says that it has begun, waits until the gate opens, then answers. The step blocks: siblings wait.
    Block(Gate),
    /// As `Block`, and then does the other.
    BlockThen(Gate, Box<Act>),
    /// Stays admitted, step by step, until the gate opens; then answers. Steps do not block.
    Linger(Gate),
    /// Fails in a way that may pass.
    Fail,
    /// Fails on the first `n` attempts, then answers with the number of the attempt.
    FailTimes(u32),
    /// Is refused by the model.
    Invalid,
    /// Panics in the step.
    Panic,
    /// Panics when it is admitted.
    PanicInAdmit,
    /// Panics in the destructor of the model, which this request ends.
    PanicInDrop,
    /// Panics in the step with a payload that is no text and panics itself when it is dropped.
    PanicWithBomb,
    /// Stays admitted; the model panics when it is told to forget it.
    PanicInCancel(Gate),
    /// Fails the step as a whole, and with it everything admitted.
    FailStep,
    /// Passes the gate when the pool copies it for a second attempt; then blocks in the step at the other.
    Copied(CopyGate, Gate),
    /// Panics when the request is dropped.
    Fragile(Fragile),
    /// Fails with an error that panics when it is shown.
    FailUnspeakably,
    /// Reports an event with every step until the gate opens; then answers.
    Chatter(Gate),
}

/// Passes its gate when it is cloned.
#[derive(Debug)]
pub struct CopyGate(pub Gate);

impl Clone for CopyGate {
    fn clone(&self) -> Self {
        self.0.pass();
        Self(self.0.clone())
    }
}

/// Panics when it is dropped.
#[derive(Clone, Debug)]
pub struct Fragile;

impl Drop for Fragile {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "scripted panic of a request");
    }
}

/// An error that panics when it is shown.
#[derive(Debug)]
pub struct Unspeakable;

impl std::fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("scripted panic of an error")
    }
}

impl std::error::Error for Unspeakable {}

/// A panic's payload that cannot be dropped in peace.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("scripted panic of a payload");
    }
}

/// Holds a request at one point until the test lets it go on. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate {
    entered: (Sender<()>, Receiver<()>),
    open: (Sender<()>, Receiver<()>),
}

impl Gate {
    pub fn new() -> Self {
        Self { entered: unbounded(), open: unbounded() }
    }

    /// Blocks until some request has reached the gate.
    pub fn wait_entered(&self) {
        self.entered.1.recv_timeout(PATIENCE).expect("the gate is reached");
    }

    /// Lets one request pass, now or when it comes.
    pub fn open(&self) {
        self.open.0.send(()).expect("the gate exists");
    }

    /// Reaches the gate and waits there.
    pub fn pass(&self) {
        self.entered.0.send(()).expect("the gate exists");
        self.open.1.recv().expect("the gate exists");
    }

    pub fn is_open(&self) -> bool {
        self.open.1.try_recv().is_ok()
    }

    fn enter(&self) {
        self.entered.0.send(()).expect("the gate exists");
    }
}

/// Loads [`ScriptedModel`]s and counts what becomes of them.
#[derive(Clone, Debug)]
pub struct Script {
    pub capacity: Capacity,
    pub footprint: Footprint,
    pub counts: Arc<Counts>,
    /// Passed by every load of weights.
    pub load_gate: Option<Gate>,
    /// Passed by every build of a model.
    pub build_gate: Option<Gate>,
    /// Passed by the weights when they are dropped.
    pub drop_gate: Option<Gate>,
    /// How many loads fail before the first succeeds.
    pub failing_loads: Arc<AtomicUsize>,
    pub failing_builds: Arc<AtomicUsize>,
    /// How many loads panic before one does not.
    pub panicking_loads: Arc<AtomicUsize>,
    /// Whether loads fail with an error that cannot be shown.
    pub unspeakable: bool,
}

#[derive(Debug, Default)]
pub struct Counts {
    pub loads: AtomicUsize,
    pub builds: AtomicUsize,
    pub drops: AtomicUsize,
    pub weights_dropped: AtomicUsize,
    pub admitted: AtomicUsize,
    pub canceled: AtomicUsize,
    pub steps: AtomicUsize,
}

impl Counts {
    pub fn get(counter: &AtomicUsize) -> usize {
        counter.load(Ordering::SeqCst)
    }
}

fn count(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::SeqCst);
}

impl Script {
    pub fn new() -> Self {
        Self {
            capacity: Capacity::ONE,
            footprint: Footprint::default(),
            counts: Arc::default(),
            load_gate: None,
            build_gate: None,
            drop_gate: None,
            failing_loads: Arc::default(),
            failing_builds: Arc::default(),
            panicking_loads: Arc::default(),
            unspeakable: false,
        }
    }

    pub fn capacity(mut self, jobs: u32) -> Self {
        self.capacity = Capacity::jobs(jobs);
        self
    }

    /// Weights and per-worker memory, in bytes.
    pub fn bytes(mut self, weights: u64, per_worker: u64) -> Self {
        self.footprint = Footprint { weights: ByteSize::new(weights), per_worker: ByteSize::new(per_worker) };
        self
    }

    pub fn load_gate(mut self, gate: &Gate) -> Self {
        self.load_gate = Some(gate.clone());
        self
    }

    pub fn build_gate(mut self, gate: &Gate) -> Self {
        self.build_gate = Some(gate.clone());
        self
    }

    pub fn drop_gate(mut self, gate: &Gate) -> Self {
        self.drop_gate = Some(gate.clone());
        self
    }

    pub fn panicking_loads(self, n: usize) -> Self {
        self.panicking_loads.store(n, Ordering::SeqCst);
        self
    }

    pub fn failing_loads(self, n: usize) -> Self {
        self.failing_loads.store(n, Ordering::SeqCst);
        self
    }
}

#[derive(Debug)]
pub struct Weights(Arc<Counts>, Option<Gate>);

impl Drop for Weights {
    fn drop(&mut self) {
        if let Some(gate) = &self.1 {
            gate.pass();
        }
        count(&self.0.weights_dropped);
    }
}

fn fails(failing: &AtomicUsize) -> bool {
    failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
}

impl Loader<Scripted> for Script {
    type Weights = Weights;
    type Model = ScriptedModel;

    fn footprint(&self) -> Result<Footprint, LoadError> {
        Ok(self.footprint)
    }

    fn load(&self) -> Result<Weights, LoadError> {
        count(&self.counts.loads);
        if let Some(gate) = &self.load_gate {
            gate.pass();
        }
        assert!(!fails(&self.panicking_loads), "scripted panic in load");
        if fails(&self.failing_loads) {
            return Err(if self.unspeakable {
                LoadError::failed(Unspeakable)
            } else {
                LoadError::failed("scripted to fail")
            });
        }
        Ok(Weights(self.counts.clone(), self.drop_gate.clone()))
    }

    fn build(&self, _: &Arc<Weights>) -> Result<ScriptedModel, LoadError> {
        count(&self.counts.builds);
        if let Some(gate) = &self.build_gate {
            gate.pass();
        }
        if fails(&self.failing_builds) {
            return Err(LoadError::failed("scripted to fail"));
        }
        Ok(ScriptedModel {
            counts: self.counts.clone(),
            capacity: self.capacity,
            admitted: Vec::new(),
            bomb: false,
        })
    }
}

#[derive(Debug)]
pub struct ScriptedModel {
    counts: Arc<Counts>,
    capacity: Capacity,
    admitted: Vec<(Slot, Act, u32, u32)>,
    bomb: bool,
}

impl Model<Scripted> for ScriptedModel {
    fn capacity(&self) -> Capacity {
        self.capacity
    }

    fn admit(&mut self, slot: Slot, act: Act, job: &JobContext) -> Result<(), ModelError> {
        count(&self.counts.admitted);
        match &act {
            Act::PanicInAdmit => panic!("scripted panic in admit"),
            Act::Linger(gate) | Act::PanicInCancel(gate) => gate.enter(),
            _ => {}
        }
        self.admitted.push((slot, act, job.attempt, 0));
        Ok(())
    }

    fn step(&mut self, out: &mut Outbox<Scripted>) -> Result<(), ModelError> {
        count(&self.counts.steps);
        if self.admitted.iter().any(|(_, act, ..)| matches!(act, Act::FailStep)) {
            return Err(ModelError::failed("scripted to fail the step"));
        }
        let mut admitted = std::mem::take(&mut self.admitted);
        admitted.retain_mut(|(slot, act, attempt, done)| {
            if let Act::BlockThen(gate, then) = act {
                gate.pass();
                *act = (**then).clone();
            }
            let result = match act {
                Act::Answer(value) => Ok(*value),
                Act::Count(n) if *done < *n => {
                    out.event(*slot, *done);
                    *done += 1;
                    return true;
                }
                Act::Count(n) => Ok(u64::from(*n)),
                Act::Block(gate) | Act::Copied(_, gate) => {
                    gate.pass();
                    Ok(0)
                }
                Act::FailUnspeakably => Err(ModelError::failed(Unspeakable)),
                Act::Linger(gate) | Act::PanicInCancel(gate) if !gate.is_open() => {
                    std::thread::yield_now();
                    return true;
                }
                Act::Linger(_) | Act::PanicInCancel(_) | Act::Fragile(_) => Ok(0),
                Act::Chatter(gate) if !gate.is_open() => {
                    out.event(*slot, *done);
                    *done += 1;
                    std::thread::yield_now();
                    return true;
                }
                Act::Chatter(_) => Ok(u64::from(*done)),
                Act::Fail => Err(ModelError::failed("scripted to fail")),
                Act::FailTimes(n) if *attempt <= *n => Err(ModelError::failed("scripted to fail")),
                Act::FailTimes(_) => Ok(u64::from(*attempt)),
                Act::Invalid => {
                    Err(millpond::capability::InvalidRequest::new("act", "scripted to be invalid").into())
                }
                Act::Panic | Act::PanicInAdmit | Act::FailStep | Act::BlockThen(..) => {
                    panic!("scripted panic")
                }
                Act::PanicWithBomb => std::panic::panic_any(Bomb),
                Act::PanicInDrop => {
                    self.bomb = true;
                    Ok(0)
                }
            };
            match result {
                Ok(value) => out.finish(*slot, value),
                Err(error) => out.fail(*slot, error),
            }
            false
        });
        self.admitted = admitted;
        Ok(())
    }

    fn cancel(&mut self, slot: Slot) {
        count(&self.counts.canceled);
        let bomb =
            |(other, act, ..): &(Slot, Act, u32, u32)| *other == slot && matches!(act, Act::PanicInCancel(_));
        assert!(!self.admitted.iter().any(bomb), "scripted panic in cancel");
        self.admitted.retain(|(other, ..)| *other != slot);
    }
}

impl Drop for ScriptedModel {
    fn drop(&mut self) {
        count(&self.counts.drops);
        assert!(!self.bomb, "scripted panic in drop");
    }
}

/// One worker, no maintenance by itself, a clock that stands still.
pub fn config() -> PoolConfig {
    PoolConfig::default().workers(1)
}

/// A pool of scripted models under `key` `"model"`, on a manual clock.
pub fn pool(config: PoolConfig, script: &Script) -> (Pool<Scripted>, Clock) {
    pool_within(config, script, &MemoryBudget::fixed(ByteSize::gib(1)))
}

pub fn pool_within(config: PoolConfig, script: &Script, budget: &MemoryBudget) -> (Pool<Scripted>, Clock) {
    let clock = Clock::manual();
    let pool =
        Pool::builder().config(config).clock(clock.clone()).budget(budget.clone()).build().expect("a thread");
    pool.register("model", script.clone()).expect("a free key");
    (pool, clock)
}

/// The answer of a request that must have one: a lost one fails the test instead of stopping it.
pub fn answer(ticket: Ticket<Scripted>) -> Result<u64, PoolError> {
    ticket.wait_timeout(PATIENCE).expect("every accepted request is answered")
}

/// Far longer than anything takes here; only what would wait for ever waits as long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Runs what must come to an end on a thread of its own, so that the test fails if it does not.
pub fn ends<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, end) = bounded(1);
    let thread = std::thread::spawn(move || drop(done.send(act())));
    let result = end.recv_timeout(PATIENCE).expect("it comes to an end");
    thread.join().expect("it has ended");
    result
}

/// Waits for the event that `is` picks; those before it are passed over.
pub fn event(events: &Receiver<PoolEvent>, is: impl Fn(&What) -> bool) -> What {
    loop {
        let event = events.recv_timeout(PATIENCE).expect("the event comes");
        if is(&event.what) {
            return event.what;
        }
    }
}

/// Repeats a question that costs the pool nothing until it is answered with yes.
pub fn eventually(question: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !question() {
        assert!(Instant::now() < until, "it comes true");
        std::thread::yield_now();
    }
}

/// Threads of this process now, by what Linux says.
pub fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

/// A channel for callbacks to report to.
pub fn reports<T>() -> (Sender<T>, Receiver<T>) {
    bounded(1 << 16)
}
