//! What a worker does with its model, from the first job to the last.

use std::sync::Arc;

use crossbeam_channel::select;

use super::breaker::{Breaker, Circuit};
use super::error::PoolError;
use super::events::What;
use super::handle::{Message, Seat};
use super::job::{Job, Running, end_or_retry};
use super::lane::Lane;
use super::queue::Waiting;
use super::slot::Pushed;
use super::spin::awake;
use super::state::{Pending, WorkerState};
use super::supervisor::Exit;
use crate::capability::{Capability, Model, ModelError, Outbox, Slot, Update};
use crate::clock::Timestamp;
use crate::contain::contain;

/// A job out of the model, and how that went.
type Ended<C> = (Running<C>, Result<<C as Capability>::Output, ModelError>);

pub(super) struct Worker<'a, C: Capability> {
    lane: &'a Arc<Lane<C>>,
    seat: &'a Arc<Seat<C>>,
    model: Box<dyn Model<C>>,
    outbox: Outbox<C>,
    /// What a step ended, between taking it out of the model's books and telling the callers.
    ended: Vec<Ended<C>>,
    breaker: Breaker,
    /// Jobs in the model.
    running: usize,
}

impl<'a, C: Capability> Worker<'a, C> {
    pub(super) fn new(lane: &'a Arc<Lane<C>>, seat: &'a Arc<Seat<C>>, model: Box<dyn Model<C>>) -> Self {
        let config = &lane.pool.config;
        let breaker = Breaker::new(config.circuit_threshold, config.circuit_cooldown);
        Self { lane, seat, model, outbox: Outbox::new(), ended: Vec::new(), breaker, running: 0 }
    }

    /// Takes in, steps, answers, and again, until drained, crashed, or given up as stuck.
    pub(super) fn serve(mut self) -> Exit {
        match contain(|| self.work()).unwrap_or_else(Err) {
            Ok(()) => retire(self.model),
            Err(message) => self.crash(message),
        }
    }

    /// The error is a panic's message.
    fn work(&mut self) -> Result<(), Arc<str>> {
        loop {
            let now = self.take_in()?;
            if self.running > 0 {
                self.step(now)?;
            }
            if self.running == 0 && self.is_done() {
                return Ok(());
            }
        }
    }

    /// Fills the model from the channel, then from the lane's queue. Sleeps when there is nothing that this
    /// worker may take: none anywhere, or a rate limit governs the queue, or the worker's circuit is open.
    /// Returns when it took something in, if it did.
    fn take_in(&mut self) -> Result<Option<Timestamp>, Arc<str>> {
        let mut now = None;
        loop {
            let message = match self.seat.backlog.try_recv() {
                Ok(message) => message,
                Err(_) if self.running == 0 && self.has_nothing_to_take() => {
                    now = None;
                    self.sleep()
                }
                Err(_) => break,
            };
            if let Message::Job(job) = message {
                // One reading for all that is taken in together.
                let now = *now.get_or_insert_with(|| self.lane.pool.clock.now());
                self.admit(job, now)?;
            } else if self.is_done() {
                break;
            }
        }
        while let Some(job) = self.lane.pull(self.seat) {
            let now = *now.get_or_insert_with(|| self.lane.pool.clock.now());
            self.admit(job, now)?;
        }
        Ok(now)
    }

    /// Whether the queue has nothing that this worker may take by itself.
    fn has_nothing_to_take(&self) -> bool {
        let barred = || self.lane.settings.is_limited() || self.seat.handle.cell().is_tripped();
        (self.lane.queued() == 0 || barred()) && !self.is_done()
    }

    /// Whether nothing is left but to end.
    fn is_done(&self) -> bool {
        let cell = self.seat.handle.cell();
        (cell.is_draining() && cell.pending().jobs == 0) || cell.state() == WorkerState::Failed
    }

    /// Waits for a message; while its circuit is open, no longer than that.
    fn sleep(&mut self) -> Message<C> {
        let backlog = &self.seat.backlog;
        let Circuit::Open { until } = self.breaker.state() else {
            let soon = awake(self.lane.patience(), || backlog.try_recv().ok());
            return soon.or_else(|| backlog.recv().ok()).unwrap_or(Message::Wake);
        };
        let timer = self.lane.pool.clock.timer(until);
        let message = select! {
            recv(backlog) -> message => message.unwrap_or(Message::Wake),
            recv(timer.rings) -> _ => Message::Wake,
        };
        if self.breaker.try_probe(self.lane.pool.clock.now()) {
            self.rejoin();
        }
        message
    }

    /// Gives a job to the model, unless nobody waits for it any more. The error is a panic's message.
    fn admit(&mut self, job: Job<C>, now: Timestamp) -> Result<(), Arc<str>> {
        if job.is_unwanted(now) {
            self.discharge(1, job.cost());
            job.end_unwanted(now);
            return Ok(());
        }
        let (deadline, cost) = (job.deadline(), job.cost());
        let context = job.context();
        let spare = job.spare();
        let Job { request, reply, attempt } = job;
        let running = Running { reply: Some(reply), started: now, cost, attempt, spare, reported: None };
        let slot = self.seat.admitted.lock().insert(running);
        self.running += 1;
        // A sweep, or the end of the pool, may have passed while the job was in neither place.
        self.lane.pool.look_by(deadline);
        if self.lane.pool.is_over() {
            self.end_left_behind(slot);
        }
        let model = &mut self.model;
        match contain(|| model.admit(slot, request, &context)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                self.close(slot, Err(error));
                self.answer_ended(now);
                Ok(())
            }
            Err(message) => Err(message),
        }
    }

    /// The pool has ended without this job: its caller hears that now, and the model soon.
    fn end_left_behind(&self, slot: Slot) {
        let reply = self.seat.admitted.lock().get_mut(slot).and_then(|running| running.reply.take());
        if let Some(reply) = reply {
            reply.job().slot.cancel();
            reply.end(Err(PoolError::ShuttingDown { key: self.lane.key.clone() }), None);
        }
    }

    /// One step of the model, and what comes of it, which began when jobs were taken in for it. The error is a
    /// panic's message.
    fn step(&mut self, began: Option<Timestamp>) -> Result<(), Arc<str>> {
        let clock = &self.lane.pool.clock;
        self.seat.handle.step_begins(began.unwrap_or_else(|| clock.now()));
        let (model, outbox) = (&mut self.model, &mut self.outbox);
        let stepped = contain(|| model.step(outbox));
        self.seat.handle.step_ends();
        // What was reported before a panic or an error still counts.
        let now = clock.now();
        self.deliver(now);
        match stepped {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                if let Err(message) = self.fail_all(&error) {
                    self.answer_ended(now);
                    return Err(message);
                }
            }
            Err(message) => {
                self.answer_ended(now);
                return Err(message);
            }
        }
        self.answer_ended(now);
        self.forget_unwanted(now)
    }

    /// The step failed as a whole, and with it all that the model holds. The error is a panic's message.
    fn fail_all(&mut self, error: &ModelError) -> Result<(), Arc<str>> {
        // Listed first: closing takes the lock again.
        let slots = self.seat.admitted.lock().find(|_| true);
        slots.into_iter().try_for_each(|slot| {
            self.close(slot, Err(error.clone()));
            contain(|| self.model.cancel(slot))
        })
    }

    /// Moves what the step reported to where it belongs.
    fn deliver(&mut self, now: Timestamp) {
        let seat = self.seat;
        let mut updates = std::mem::take(&mut self.outbox.updates);
        // Locked once for all that ended one after the other.
        let mut admitted = None;
        for (slot, update) in updates.drain(..) {
            let result = match update {
                Update::Event(event) => {
                    admitted = None;
                    self.event(slot, event, now);
                    continue;
                }
                Update::Finished(output) => Ok(output),
                Update::Failed(error) => Err(error),
            };
            let admitted = admitted.get_or_insert_with(|| seat.admitted.lock());
            if let Some(running) = admitted.remove(slot) {
                self.running -= 1;
                self.ended.push((running, result));
            }
        }
        drop(admitted);
        self.outbox.updates = updates;
        self.seat.handle.touch_at(now);
    }

    fn event(&self, slot: Slot, event: C::Event, now: Timestamp) {
        let job = {
            let mut admitted = self.seat.admitted.lock();
            let Some(running) = admitted.get_mut(slot) else { return };
            // From the first event on the caller has heard something: another attempt would tell it twice.
            running.spare = None;
            let Some(reply) = &running.reply else { return };
            let (job, served) = (reply.job(), &self.seat.served);
            match running.reported.replace(now) {
                None => served.first_event.record_exclusively(now.since(job.submitted)),
                // Several of one step, as of several answers, are there at once.
                Some(last) if last < now => served.between_events.record_exclusively(now.since(last)),
                Some(_) => {}
            }
            job.clone()
        };
        // Outside the lock: it wakes the reader, whose code may do anything.
        if job.event(event, now) == Pushed::TooSlow {
            let mut admitted = self.seat.admitted.lock();
            let Some(running) = admitted.get_mut(slot) else { return };
            let run = Some((running.started, now.since(running.started)));
            let reply = running.reply.take();
            drop(admitted);
            let error = PoolError::SlowConsumer { key: self.lane.key.clone(), job: job.id.clone() };
            reply.into_iter().for_each(|reply| reply.end(Err(error.clone()), run));
        }
    }

    /// Takes an ended job out of the books.
    fn close(&mut self, slot: Slot, result: Result<C::Output, ModelError>) {
        let running = self.seat.admitted.lock().remove(slot);
        if let Some(running) = running {
            self.running -= 1;
            self.ended.push((running, result));
        }
    }

    /// Tells the callers of ended jobs. The room they leave is given back first, so that a caller that
    /// submits again at once finds it.
    fn answer_ended(&mut self, now: Timestamp) {
        if self.ended.is_empty() {
            return;
        }
        self.discharge(self.ended.len(), self.ended.iter().map(|(running, _)| running.cost).sum());
        if let Some(reply) = self.ended.last().and_then(|(running, _)| running.reply.as_ref()) {
            self.lane.answered_after(now.since(reply.job().submitted));
        }
        let mut ended = std::mem::take(&mut self.ended);
        for (mut running, result) in ended.drain(..) {
            match result {
                Ok(output) => {
                    self.succeeded();
                    if let Some(reply) = running.reply.take() {
                        let ran = now.since(running.started);
                        reply.end_served(output, running.started, ran, &self.seat.served);
                    }
                }
                Err(error) => self.failed(running, error, now),
            }
        }
        self.ended = ended;
    }

    fn succeeded(&mut self) {
        if self.breaker.failures() > 0 {
            let rested = self.breaker.state() != Circuit::Closed;
            self.breaker.succeed();
            if rested {
                let worker = Some(self.seat.handle.worker_id());
                self.lane.pool.emit(&self.lane.key, What::CircuitClosed { worker });
                // It may rest still: this was under way when its circuit opened.
                self.rejoin();
            }
        }
    }

    fn failed(&mut self, running: Running<C>, error: ModelError, now: Timestamp) {
        let lane = self.lane;
        if let ModelError::Invalid(source) = error {
            // The request's fault, not the model's.
            if let Some(reply) = running.reply {
                let run = Some((running.started, now.since(running.started)));
                reply.end(Err(PoolError::InvalidRequest { key: lane.key.clone(), source }), run);
            }
            return;
        }
        if self.breaker.fail(now) {
            self.trip(now);
        }
        end_or_retry(lane, running, |job| PoolError::ModelError {
            key: lane.key.clone(),
            job,
            source: error,
        });
    }

    /// Takes itself out of dispatch for a while; when no sibling is left, so does the key.
    fn trip(&mut self, now: Timestamp) {
        let Circuit::Open { until } = self.breaker.state() else { return };
        if self.seat.handle.cell().is_tripped() {
            return;
        }
        let (worker, failures) = (self.seat.handle.worker_id(), self.breaker.failures());
        self.seat.handle.cell().trip(true);
        let rests = until.since(now);
        self.lane.pool.emit(&self.lane.key, What::CircuitOpened { worker: Some(worker), failures, rests });
        if !self.lane.roster.read().iter().any(|seat| seat.handle.cell().takes_jobs()) {
            self.lane.open_circuit(until, failures);
        }
    }

    /// Comes back into dispatch.
    fn rejoin(&self) {
        self.seat.handle.cell().trip(false);
        self.lane.close_circuit();
        self.tell_of_room();
    }

    /// Tells the model to forget what nobody waits for any more, and ends it. The error is a panic's message.
    fn forget_unwanted(&mut self, now: Timestamp) -> Result<(), Arc<str>> {
        if self.running == 0 {
            return Ok(());
        }
        let slots = self.seat.admitted.lock().find(|running| running.is_unwanted(now));
        for slot in slots {
            let Some(running) = self.seat.admitted.lock().remove(slot) else { continue };
            self.running -= 1;
            let model = &mut self.model;
            let forgot = contain(|| model.cancel(slot));
            self.discharge(1, running.cost);
            if let Some(reply) = running.reply {
                reply.end_unwanted(now);
            }
            forgot?;
        }
        Ok(())
    }

    fn discharge(&self, jobs: usize, cost: u64) {
        self.seat.handle.cell().discharge(Pending { jobs: jobs as u64, cost });
        self.tell_of_room();
    }

    /// There is room again. Where a rate limit governs, the one who owns the limiter hands out and has to
    /// know; elsewhere the worker helps itself.
    fn tell_of_room(&self) {
        if self.lane.settings.is_limited() && self.lane.queued() > 0 {
            self.lane.demand_handing_out();
        }
    }

    /// The model panicked: it is dropped, and a panic of its destructor is contained too.
    fn crash(self, message: Arc<str>) -> Exit {
        let leaving = self.seat.handle.cell().fail_leaving();
        let _ = contain(|| drop(self.model));
        if leaving { Exit::CrashedLeaving(message) } else { Exit::Crashed(message) }
    }
}

/// Drops the model of a worker that was told to go.
pub(super) fn retire<C: Capability>(model: Box<dyn Model<C>>) -> Exit {
    contain(|| drop(model)).map_or_else(Exit::CrashedLeaving, |()| Exit::Drained)
}
