//! Looking for what should not be: work past its deadline, workers that hang, permissions not used.

use std::sync::Arc;

use super::Supervisor;
use super::watch::Watch;
use crate::capability::Capability;
use crate::clock::Timestamp;
use crate::pool::error::PoolError;
use crate::pool::events::What;
use crate::pool::handle::{Message, Seat};
use crate::pool::lane::Lane;
use crate::pool::queue::Waiting;
use crate::pool::reply::Reply;
use crate::pool::state::{Pending, WorkerState};

impl<C: Capability> Supervisor<C> {
    /// Ends everything that is past its deadline, wherever it is, and sets the alarm for what is next.
    pub(super) fn sweep_overdue(&mut self, now: Timestamp) {
        // Taken down first: whoever submits from now on sets it anew, and what was there before is seen here.
        self.shared.take_alarm();
        let mut next = Timestamp::NEVER;
        for lane in self.lanes.all() {
            next = next.min(self.sweep_queue(&lane, now));
        }
        // By thread, not by roster: a worker that is out of rotation may still hold jobs.
        let threads = self
            .watches
            .values()
            .flat_map(|watch| watch.threads.iter().map(|thread| (&watch.lane, &thread.seat)));
        let threads: Vec<_> = threads.map(|(lane, seat)| (lane.clone(), seat.clone())).collect();
        for (lane, seat) in threads {
            next = next.min(sweep_admitted(&seat, now)).min(sweep_backlog(&lane, &seat, now));
            if seat.handle.state() == WorkerState::Loading {
                let starts_until = seat.handle.spawned_at().saturating_add(self.shared.config.start_timeout);
                if starts_until <= now {
                    self.with_watch(lane.id, Self::scale);
                } else {
                    next = next.min(starts_until);
                }
            }
        }
        self.shared.look_by(next);
    }

    fn sweep_queue(&mut self, lane: &Arc<Lane<C>>, now: Timestamp) -> Timestamp {
        let (overdue, due) = lane.with_queue(|queue| {
            queue.wake_delayed(now);
            (queue.take_overdue(now), queue.next_due())
        });
        if !overdue.is_empty() {
            let reason = self.watches.get_mut(&lane.id).and_then(|watch| why_it_waited(watch, now));
            for job in overdue {
                let error = reason.clone().unwrap_or_else(|| job.reply.job().timeout());
                job.end(error);
            }
        }
        if lane.queued() > 0 {
            lane.flush_unless_limited();
            self.with_watch(lane.id, Self::scale);
        }
        due
    }

    /// Takes workers out of rotation whose step does not end. What they never began goes to others; what
    /// they hold is answered at its deadline; their memory stays reserved, because they still have it.
    pub(super) fn check_health(&mut self, now: Timestamp) {
        let limit = self.shared.config.stuck_after;
        let stuck: Vec<_> = self
            .watches
            .values()
            .flat_map(|watch| watch.threads.iter().map(|thread| (watch.lane.clone(), thread.seat.clone())))
            .filter_map(|(lane, seat)| {
                Some((seat.handle.in_step_for(now).filter(|since| *since > limit)?, lane, seat))
            })
            .collect();
        for (since, lane, seat) in stuck {
            if seat.handle.cell().serves() && seat.handle.cell().fail() {
                lane.set_aside(seat.handle.worker_id());
                lane.rescue(&seat);
                self.shared.emit(&lane.key, What::Stuck { worker: seat.handle.worker_id(), since });
                self.with_watch(lane.id, Self::scale);
            }
        }
    }

    /// Hands out what waits in a rate-limited key, as far as the limit and the workers' room allow.
    pub(super) fn hand_out_limited(watch: &mut Watch<C>) {
        let lane = watch.lane.clone();
        let Some(limiter) = &mut watch.limiter else { return };
        while lane.has_room() {
            match limiter.try_take() {
                Ok(()) => drop(lane.hand_out_one()),
                Err(at) => return watch.due_by(at),
            }
        }
    }
}

/// Why a key's jobs waited past their deadline, if it is not just that the workers were busy.
fn why_it_waited<C: Capability>(watch: &mut Watch<C>, now: Timestamp) -> Option<PoolError> {
    let key = watch.lane.key.clone();
    if let Some((_, source)) = &watch.short_of_memory {
        return Some(PoolError::MemoryExhausted { key, source: source.clone() });
    }
    let limited = watch.limiter.is_some() && watch.due > now && watch.due != Timestamp::NEVER;
    limited.then(|| PoolError::RateLimited { key, retry_after: watch.due.since(now) })
}

/// Answers overdue jobs inside a model; the worker makes the model forget them after its step.
fn sweep_admitted<C: Capability>(seat: &Seat<C>, now: Timestamp) -> Timestamp {
    let mut overdue: Vec<Reply<C>> = Vec::new();
    let mut next = Timestamp::NEVER;
    for running in seat.admitted.lock().iter_mut() {
        match &running.reply {
            Some(reply) if reply.job().deadline <= now => overdue.extend(running.reply.take()),
            Some(reply) => next = next.min(reply.job().deadline),
            None => {}
        }
    }
    overdue.into_iter().for_each(|reply| reply.end_unwanted(now));
    next
}

/// Answers overdue jobs that wait in a worker's channel, behind a long step.
fn sweep_backlog<C: Capability>(lane: &Lane<C>, seat: &Seat<C>, now: Timestamp) -> Timestamp {
    let mut next = Timestamp::NEVER;
    for _ in 0..seat.backlog.len() {
        match seat.backlog.try_recv() {
            Ok(Message::Job(job)) if job.is_unwanted(now) => {
                seat.handle.cell().discharge(Pending { jobs: 1, cost: job.cost() });
                job.end_unwanted(now);
            }
            Ok(Message::Job(job)) => {
                next = next.min(job.deadline());
                lane.send_back(seat, job);
            }
            Ok(Message::Wake) => seat.wake(),
            Err(_) => break,
        }
    }
    next
}
