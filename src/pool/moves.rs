//! Jobs that were accepted before and change places: from the queue to a worker, from a dead worker back.
//!
//! On the way a job is in neither place, and whoever looks for it meanwhile does not find it: the sweep that
//! ends what is overdue, the caller that leaves, the shutdown that answers what is left. So wherever a job
//! arrives, what may have been missed is looked at again.

use std::sync::Arc;
use std::time::Duration;

use super::error::PoolError;
use super::handle::{Message, Seat};
use super::job::Job;
use super::lane::Lane;
use super::queue::{Queue, Waiting};
use super::reply::JobShared;
use super::supervisor::Command;
use crate::capability::Capability;
use crate::clock::Timestamp;

impl<C: Capability> Lane<C> {
    /// Hands the first waiting job to a worker, if one has room. Offered outside the lock, since an offer may
    /// end in putting other jobs back; its order keeps the job's place meanwhile.
    pub(crate) fn hand_out_one(&self) -> bool {
        // Looked at first: a job that is taken out in vain leaves a place that a newcomer may fill, and then
        // more wait than the queue may hold.
        if !self.has_room() {
            return false;
        }
        let Some(job) = self.with_queue(Queue::pop) else { return false };
        let deadline = job.deadline();
        match self.offer(job) {
            Ok(()) => {
                self.pool.look_by(deadline);
                self.tell_of_last();
                true
            }
            Err(job) => {
                self.put_back(job);
                false
            }
        }
    }

    /// Takes out what a dead worker never began and finds other places for it.
    pub(crate) fn rescue(&self, seat: &Seat<C>) {
        while let Ok(message) = seat.backlog.try_recv() {
            if let Message::Job(job) = message {
                self.requeue(job);
            }
        }
    }

    /// Takes in again a job that was accepted before: to a worker or the front of its class in the queue.
    pub(crate) fn requeue(&self, job: Job<C>) {
        self.put_back(job);
        self.pool.tell(Command::Demand(self.id));
    }

    /// Takes in an accepted job for another attempt after `delay`.
    pub(crate) fn retry(&self, job: Job<C>, delay: Duration) {
        self.counters.retried.increment();
        if delay.is_zero() {
            return self.requeue(job);
        }
        let at = self.pool.clock.now().saturating_add(delay);
        let shared = job.reply.job().clone();
        self.with_queue(|queue| queue.delay(job, at));
        self.arrived(&shared, at);
    }

    fn put_back(&self, job: Job<C>) {
        let shared = job.reply.job().clone();
        self.with_queue(|queue| queue.put_back(job));
        self.arrived(&shared, Timestamp::NEVER);
    }

    /// A job has come to the queue, and is to be looked at by `at` at the latest. The queue's lock orders
    /// this against those who look for jobs there: either they have seen it, or this sees what they did.
    fn arrived(&self, job: &Arc<JobShared<C>>, at: Timestamp) {
        self.pool.look_by(job.deadline.min(at));
        if job.slot.is_canceled() {
            self.remove_canceled(job);
        } else if self.pool.is_over() {
            self.end_left_behind(job.order);
        }
    }

    /// Nobody will serve what is still in the queue.
    pub(crate) fn end_left_behind(&self, order: super::queue::Order) {
        if let Some(job) = self.with_queue(|queue| queue.remove(order)) {
            job.end(PoolError::ShuttingDown { key: self.key.clone() });
        }
    }

    /// Ends a canceled job at once if it still waits here; a worker that has it will notice.
    pub(crate) fn remove_canceled(&self, job: &JobShared<C>) {
        if let Some(job) = self.with_queue(|queue| queue.remove(job.order)) {
            job.end_unwanted(self.pool.clock.now());
            self.tell_of_last();
        }
    }

    /// Returns to a worker's channel a job that is charged to it.
    pub(crate) fn send_back(&self, seat: &Seat<C>, job: Job<C>) {
        if !self.hand_over(seat, job) {
            self.rescue(seat);
        }
    }
}
