//! The pool's protocols under every order of the steps of those who take part, checked by loom on the real
//! code. What is left out: the models themselves, sleeping on channels, and time.

mod gate;
mod lane;
mod slot;
mod state;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::Receiver;

use super::handle::{Message, Seat, WorkerHandle};
use super::job::Job;
use super::key_config::KeyConfig;
use super::lane::{Lane, Route};
use super::loader::{AnyLoader, AnyWeights, LoadError};
use super::shared::Shared;
use super::state::Pending;
use super::supervisor::Command;
use super::ticket::Ticket;
use super::{PoolConfig, SubmitOptions, new_job};
use crate::capability::{Capability, Capacity, InvalidRequest, Model};
use crate::clock::Clock;
use crate::id::{ByteSize, WorkerId};
use crate::memory::{Footprint, MemoryBudget};

struct Echo;

impl Capability for Echo {
    const NAME: &'static str = "echo";
    type Request = u64;
    type Event = u64;
    type Output = u64;
}

/// These models load nothing.
struct NoLoader;

impl AnyLoader<Echo> for NoLoader {
    fn footprint(&self) -> Result<Footprint, LoadError> {
        Ok(Footprint::default())
    }

    fn load(&self) -> Result<AnyWeights, LoadError> {
        Err(LoadError::failed("nothing to load"))
    }

    fn build(&self, _: &AnyWeights) -> Result<Box<dyn Model<Echo>>, LoadError> {
        Err(LoadError::failed("nothing to build"))
    }

    fn validate(&self, _: &u64) -> Result<(), InvalidRequest> {
        Ok(())
    }

    fn cost(&self, _: &u64) -> u64 {
        1
    }
}

/// One lane with one worker that serves one job at a time, and whoever it reports to.
#[derive(Clone)]
struct Scene {
    lane: Arc<Lane<Echo>>,
    seat: Arc<Seat<Echo>>,
    inbox: Receiver<Command>,
    /// How often any job was ended.
    ended: Arc<AtomicUsize>,
}

impl Scene {
    fn new(config: PoolConfig) -> Self {
        let (commands, inbox) = crossbeam_channel::unbounded();
        let (clock, budget) = (Clock::manual(), MemoryBudget::fixed(ByteSize::MAX));
        let reservation = budget.try_reserve("worker", ByteSize::ZERO).expect("nothing fits");
        let key_config = KeyConfig::of(&config);
        let pool = Arc::new(Shared::new(Echo::NAME, config, clock.clone(), budget, commands));
        let lane = Arc::new(Lane::new("key".into(), Box::new(NoLoader), pool, key_config));
        let handle = WorkerHandle::new(WorkerId(1), "worker".to_owned(), clock);
        assert!(handle.open(Capacity::ONE));
        let seat = Arc::new(Seat::new(handle, reservation));
        lane.roster.write().push(seat.clone());
        Self { lane, seat, inbox, ended: Arc::default() }
    }

    fn job(&self, request: u64) -> (Job<Echo>, Ticket<Echo>) {
        let ended = self.ended.clone();
        let options = SubmitOptions::new().on_complete(move |_| {
            ended.fetch_add(1, Ordering::Relaxed);
        });
        let (job, shared) = new_job(self.lane.clone(), request, options);
        (job, Ticket::new(shared))
    }

    /// Submits a request; says whether it was accepted.
    fn submit(&self, request: u64, route: Route) -> bool {
        let (job, ticket) = self.job(request);
        ticket.detach();
        self.lane.accept(job, route).map_err(|(job, _)| job.reply.forget()).is_ok()
    }

    /// Does what the worker does between steps, with a model that answers at once; returns where the worker
    /// would go to sleep.
    fn work(&self) {
        loop {
            match self.seat.backlog.try_recv() {
                Ok(Message::Job(job)) => self.finish(job),
                Ok(Message::Wake) => {}
                Err(_) if self.lane.queued() == 0 => return,
                Err(_) => match self.lane.pull(&self.seat) {
                    Some(job) => self.finish(job),
                    // Charged by someone who has not sent yet: it comes.
                    None => loom::thread::yield_now(),
                },
            }
        }
    }

    /// As the worker ends a job: its room is given back first.
    fn finish(&self, job: Job<Echo>) {
        self.seat.handle.cell().discharge(Pending { jobs: 1, cost: job.cost() });
        let answer = job.request;
        job.reply.end(Ok(answer), None);
    }

    fn ended(&self) -> usize {
        self.ended.load(Ordering::Relaxed)
    }

    /// Ends what still waits, so that nothing refers to the lane any more.
    fn close(&self) {
        for job in self.lane.with_queue(super::queue::Queue::take_all) {
            job.reply.forget();
        }
    }
}
