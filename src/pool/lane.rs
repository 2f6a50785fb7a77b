//! Everything about one registry key: its loader, its workers, its queue, its counts.
//!
//! Any thread may put a job in and any worker may take one out. Only the supervisor changes the roster.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crossbeam_utils::CachePadded;

use super::dispatch;
use super::error::{NoWorkers, PoolError};
use super::handle::{Message, Seat};
use super::job::Job;
use super::key_config::KeyConfig;
use super::lanes::LaneId;
use super::load::{Account, SharedLoad};
use super::loader::AnyLoader;
use super::queue::{Queue, Refused, Waiting};
use super::reply::{JobShared, Outcome};
use super::settings::Settings;
use super::shared::Shared;
use super::spin::SOON;
use super::stats::LaneCounters;
use super::supervisor::Command;
use crate::capability::Capability;
use crate::clock::Timestamp;
use crate::id::{ByteSize, RegistryKey, WorkerId};
use crate::sync::{AtomicBool, AtomicUsize, Mutex, RwLock};

/// How often, at most, a lane that has workers asks for more.
const SCALE_PAUSE: Duration = Duration::from_millis(5);

pub(crate) struct Lane<C: Capability> {
    pub(crate) id: LaneId,
    pub(crate) key: RegistryKey,
    pub(crate) loader: Box<dyn AnyLoader<C>>,
    pub(crate) pool: Arc<Shared>,
    pub(crate) settings: Settings,
    /// Written by workers with every job: on cache lines of its own, as is what callers write.
    pub(crate) counters: CachePadded<LaneCounters>,
    /// Written by the supervisor alone.
    pub(crate) roster: CachePadded<RwLock<Vec<Arc<Seat<C>>>>>,
    /// Workers out of rotation whose threads go on: they may still hold jobs, and memory. Written by the
    /// supervisor alone; where both locks are taken, the roster's is first.
    pub(crate) strays: Mutex<Vec<Arc<Seat<C>>>>,
    /// The weights while any worker holds them. Written by the supervisor alone.
    pub(crate) load: Mutex<Weak<SharedLoad>>,
    /// What the weights have reserved, until they are gone. Written with `load`.
    pub(crate) account: Mutex<Weak<Account>>,
    queue: CachePadded<Mutex<Queue<Job<C>>>>,
    /// Jobs in `queue` that a worker could take; written under its lock. Lets both sides pass an empty
    /// queue without the lock. Sequentially consistent: see the pool's README.
    queued: CachePadded<AtomicUsize>,
    /// Until when nothing is accepted because of failures; 0 when work flows.
    circuit_until: AtomicU64,
    circuit_failures: AtomicU32,
    /// A demand is on its way to the supervisor.
    demanded: AtomicBool,
    next_demand: AtomicU64,
    /// Whether the last answer came soon after its request was submitted. Written by workers.
    brisk: AtomicBool,
    /// Whether its key was taken off. Set once.
    retired: AtomicBool,
}

/// Where a job may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// To a worker, or into the queue.
    Anywhere,
    /// To a worker that has room now, or nowhere.
    NowOrNever,
    /// To this worker.
    To(WorkerId),
}

impl<C: Capability> Lane<C> {
    pub(crate) fn new(
        key: RegistryKey,
        loader: Box<dyn AnyLoader<C>>,
        pool: Arc<Shared>,
        config: KeyConfig,
    ) -> Self {
        Self {
            queue: CachePadded::new(Mutex::new(Queue::new(config.queue_capacity))),
            settings: Settings::new(config),
            id: pool.next_lane(),
            key,
            loader,
            pool,
            counters: CachePadded::default(),
            roster: CachePadded::default(),
            strays: Mutex::default(),
            load: Mutex::default(),
            account: Mutex::default(),
            queued: CachePadded::default(),
            circuit_until: AtomicU64::new(0),
            circuit_failures: AtomicU32::new(0),
            demanded: AtomicBool::new(false),
            next_demand: AtomicU64::new(0),
            brisk: AtomicBool::new(false),
            retired: AtomicBool::new(false),
        }
    }

    /// Finds a place for a job, or hands it back with the reason:
    ///
    /// 1. Addressed to one worker: that worker, or refused.
    /// 2. The circuit is open: refused.
    /// 3. Nobody waits and no rate limit governs: the least busy worker that has room.
    /// 4. It will not wait: refused.
    /// 5. The queue: full or closed, refused.
    /// 6. Room may have come up meanwhile: hand out what waits. Otherwise ask the supervisor for more.
    pub(crate) fn accept(&self, job: Job<C>, route: Route) -> Result<(), (Job<C>, PoolError)> {
        // 1
        if let Route::To(worker) = route {
            return self.send_to(worker, job);
        }
        // 2
        if let Some(error) = self.circuit_error() {
            return Err((job, error));
        }
        // 3
        let limited = self.settings.is_limited();
        let job = if limited || self.queued.load(Ordering::SeqCst) > 0 {
            job
        } else {
            match self.offer(job) {
                Ok(()) => return Ok(()),
                Err(job) => job,
            }
        };
        // 4
        let reject = self.settings.rejects_when_busy() && !self.roster.read().is_empty();
        if route == Route::NowOrNever || reject {
            let error = PoolError::NoWorkers { key: self.key.clone(), reason: NoWorkers::NoneFree };
            return Err((job, error));
        }
        // 5
        let (deadline, order) = (job.deadline(), job.order());
        self.enqueue(job)?;
        self.pool.look_by(deadline);
        if self.pool.is_over() {
            // The key was made known while the pool closed its keys.
            self.end_left_behind(order);
        }
        // 6
        if limited {
            self.demand_handing_out();
        } else {
            self.flush();
            self.demand();
        }
        Ok(())
    }

    fn enqueue(&self, job: Job<C>) -> Result<(), (Job<C>, PoolError)> {
        let pushed = self.with_queue(|queue| queue.push(job));
        pushed.map_err(|(job, refused)| {
            let key = self.key.clone();
            let error = match refused {
                Refused::Full => PoolError::QueueFull { key, capacity: self.settings.queue_capacity() },
                Refused::Closed => PoolError::ShuttingDown { key },
            };
            (job, error)
        })
    }

    /// Hands a job to the least busy worker that has room, or hands it back.
    pub(crate) fn offer(&self, job: Job<C>) -> Result<(), Job<C>> {
        let roster = self.roster.read();
        let warm = job.session().and_then(|session| self.pool.sessions.last_worker(session));
        let preferred = warm.and_then(|id| roster.iter().position(|seat| seat.handle.worker_id() == id));
        let cost = job.cost();
        loop {
            let loads = roster.iter().map(|seat| seat.handle.load(cost));
            let Some(index) = dispatch::pick(loads, preferred) else { return Err(job) };
            let seat = &roster[index];
            // The choice was advice; the charge decides.
            if seat.handle.try_charge(cost) {
                if !self.hand_over(seat, job) {
                    let seat = seat.clone();
                    drop(roster);
                    self.rescue(&seat);
                }
                return Ok(());
            }
        }
    }

    /// Sends a job to a worker that has been charged for it. Where the roster is held, it is held until the job
    /// is sent. Returns whether the worker was alive then; if not, its backlog is to be rescued, and since
    /// that may end jobs, whose callbacks may do anything, with no lock held.
    #[must_use]
    pub(crate) fn hand_over(&self, seat: &Seat<C>, job: Job<C>) -> bool {
        if let Some(session) = job.session() {
            self.pool.sessions.served_by(session, seat.handle.worker_id());
        }
        // Cannot fail: the seat holds the receiving end.
        let _ = seat.mailbox.send(Message::Job(job));
        // The worker may have died between the charge and the send, after its backlog was taken out. Then
        // this sees it failed; or the one who takes out the backlog after failing it sees the job.
        seat.handle.state() != super::WorkerState::Failed
    }

    fn send_to(&self, worker: WorkerId, job: Job<C>) -> Result<(), (Job<C>, PoolError)> {
        let roster = self.roster.read();
        let key = self.key.clone();
        let Some(seat) = roster.iter().find(|seat| seat.handle.worker_id() == worker).cloned() else {
            return Err((job, PoolError::NoWorkers { key, reason: NoWorkers::NoSuchWorker }));
        };
        if !seat.handle.try_charge(job.cost()) {
            return Err((job, PoolError::SendError { key, worker }));
        }
        let alive = self.hand_over(&seat, job);
        drop(roster);
        if !alive {
            self.rescue(&seat);
        }
        Ok(())
    }

    /// Takes the first waiting job for a worker that has room for it. Not where a rate limit governs: there
    /// the supervisor hands out.
    pub(crate) fn pull(&self, seat: &Seat<C>) -> Option<Job<C>> {
        if self.queued.load(Ordering::SeqCst) == 0 || self.settings.is_limited() {
            return None;
        }
        let mut queue = self.queue.lock();
        let cost = queue.peek()?.cost();
        if !seat.handle.try_charge(cost) {
            return None;
        }
        let job = queue.pop();
        self.queued.store(queue.ready(), Ordering::SeqCst);
        drop(queue);
        self.tell_of_last();
        if let Some(session) = job.as_ref().and_then(Job::session) {
            self.pool.sessions.served_by(session, seat.handle.worker_id());
        }
        job
    }

    /// Hands waiting jobs to workers while there is room.
    pub(crate) fn flush(&self) {
        while self.queued.load(Ordering::SeqCst) > 0 && (self.hand_out_one() || self.has_room()) {}
    }

    /// Whether some worker would take the first waiting job. Asked again after a job was put back: room that
    /// came up while the job was out of the queue found the queue empty.
    pub(crate) fn has_room(&self) -> bool {
        let Some(cost) = self.queue.lock().peek().map(Job::cost) else { return false };
        self.roster.read().iter().any(|seat| seat.handle.load(cost).takes)
    }

    /// Asks the supervisor for more workers: at once when there are none, now and then when there are.
    pub(crate) fn demand(&self) {
        if self.queued.load(Ordering::SeqCst) == 0 {
            return;
        }
        let workers = self.roster.read().len();
        if workers > 0 {
            let now = self.pool.clock.now();
            if workers >= self.settings.max_workers() || now.0 < self.next_demand.load(Ordering::Relaxed) {
                return;
            }
            self.next_demand.store(now.saturating_add(SCALE_PAUSE).0, Ordering::Relaxed);
        }
        if !self.demanded.swap(true, Ordering::AcqRel) {
            self.pool.tell(Command::Demand(self.id));
        }
    }

    /// Asks the supervisor to hand out what waits, as far as the rate limit allows.
    pub(crate) fn demand_handing_out(&self) {
        if !self.demanded.swap(true, Ordering::AcqRel) {
            self.pool.tell(Command::Demand(self.id));
        }
    }

    /// A job was taken out of the queue. With the last one of a key that was taken off the supervisor has to act.
    pub(crate) fn tell_of_last(&self) {
        if self.is_retired() && self.queued() == 0 {
            self.demand_handing_out();
        }
    }

    /// Its key was taken off: once what it has is served, its workers go.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
        self.pool.tell(Command::Retire(self.id));
    }

    #[inline]
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// The supervisor has heard the demand; whatever is queued from now on may demand anew.
    pub(crate) fn demand_heard(&self) {
        self.demanded.swap(false, Ordering::AcqRel);
    }

    /// Looks into the queue under its lock.
    pub(crate) fn with_queue<R>(&self, look: impl FnOnce(&mut Queue<Job<C>>) -> R) -> R {
        let mut queue = self.queue.lock();
        let result = look(&mut queue);
        self.queued.store(queue.ready(), Ordering::SeqCst);
        result
    }

    /// Ends every waiting job with the same error.
    pub(crate) fn fail_queue(&self, error: &PoolError) {
        for job in self.with_queue(Queue::take_all) {
            job.end(error.clone());
        }
    }

    /// Counts a job that ended otherwise than by its worker serving it.
    pub(crate) fn count(&self, job: &JobShared<C>, outcome: &Outcome<C>, run: Option<(Timestamp, Duration)>) {
        let counters = &*self.counters;
        match outcome {
            Ok(_) => &counters.served.completed,
            Err(PoolError::Timeout { .. }) => &counters.timed_out,
            Err(PoolError::Canceled { .. }) => &counters.canceled,
            Err(_) => &counters.failed,
        }
        .increment();
        if let Some((started, ran)) = run {
            counters.served.queue_time.record(started.since(job.submitted));
            counters.served.run_time.record(ran);
        }
    }

    /// Hands out what waits, where that is anyone's business: with a rate limit it is the supervisor's.
    pub(crate) fn flush_unless_limited(&self) {
        if !self.settings.is_limited() {
            self.flush();
        }
    }

    /// What the weights have reserved; zero when they are not loaded.
    pub(crate) fn weights_bytes(&self) -> ByteSize {
        let account = self.account.lock().upgrade();
        account.map_or(ByteSize::ZERO, |account| account.bytes())
    }

    pub(crate) fn queued(&self) -> usize {
        self.queued.load(Ordering::SeqCst)
    }

    /// A request was answered so long after it was submitted.
    pub(crate) fn answered_after(&self, latency: Duration) {
        let brisk = latency <= SOON;
        if self.brisk.load(Ordering::Relaxed) != brisk {
            self.brisk.store(brisk, Ordering::Relaxed);
        }
    }

    /// How long it pays to stay awake for what this lane does next.
    pub(crate) fn patience(&self) -> Duration {
        if self.brisk.load(Ordering::Relaxed) { SOON } else { Duration::ZERO }
    }

    /// Refuses requests until `until` because of `failures` in a row.
    pub(crate) fn open_circuit(&self, until: Timestamp, failures: u32) {
        self.circuit_failures.store(failures, Ordering::Release);
        self.circuit_until.store(until.0.max(1), Ordering::Release);
    }

    pub(crate) fn close_circuit(&self) {
        self.circuit_until.store(0, Ordering::Release);
    }

    fn circuit_error(&self) -> Option<PoolError> {
        let retry_after = self.circuit_open_for()?;
        let failures = self.circuit_failures.load(Ordering::Acquire);
        Some(PoolError::CircuitOpen { key: self.key.clone(), failures, retry_after })
    }

    /// How much longer the circuit is open. A circuit that has rested lets requests through: they are what
    /// makes the supervisor probe.
    pub(crate) fn circuit_open_for(&self) -> Option<Duration> {
        let until = self.circuit_until.load(Ordering::Acquire);
        if until == 0 {
            return None;
        }
        Some(Timestamp(until).since(self.pool.clock.now())).filter(|rest| !rest.is_zero())
    }
}
