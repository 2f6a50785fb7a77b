//! Who works for a key. Only the supervisor changes that.

use std::sync::Arc;

use super::events::{EvictReason, What};
use super::handle::Seat;
use super::lane::Lane;
use super::stats::Served;
use crate::capability::Capability;
use crate::id::WorkerId;

impl<C: Capability> Lane<C> {
    /// What all its workers have served, those that are gone included.
    pub(crate) fn served(&self) -> Served {
        // The roster is held so that no worker's counts move to the lane's between the two readings.
        let roster = self.roster.read();
        let total = Served::default();
        total.absorb(&self.counters.served);
        roster.iter().chain(self.strays.lock().iter()).for_each(|seat| total.absorb(&seat.served));
        total
    }

    /// Everyone who may hold jobs or memory: the roster, and those out of rotation.
    pub(crate) fn seats(&self) -> Vec<Arc<Seat<C>>> {
        let roster = self.roster.read();
        roster.iter().chain(self.strays.lock().iter()).cloned().collect()
    }

    /// Has a worker told to go. If that is news to it, counts it and says why it goes.
    pub(crate) fn let_go(&self, seat: &Seat<C>, reason: EvictReason, tell: impl FnOnce(&Seat<C>) -> bool) {
        // Read before: a worker that goes gives its memory back.
        let bytes = seat.reserved();
        if tell(seat) {
            self.counters.evicted.increment();
            let worker = seat.handle.worker_id();
            self.pool.emit(&self.key, What::Evicted { worker, reason, bytes });
        }
    }

    /// Takes a worker out of rotation whose thread goes on.
    pub(crate) fn set_aside(&self, worker: WorkerId) {
        let mut roster = self.roster.write();
        if let Some(index) = roster.iter().position(|seat| seat.handle.worker_id() == worker) {
            self.strays.lock().push(roster.remove(index));
        }
    }

    /// Puts a new worker on the roster.
    pub(crate) fn enlist(&self, seat: Arc<Seat<C>>) {
        self.pool.workers.insert(seat.handle.worker_id(), seat.handle.clone());
        self.roster.write().push(seat);
    }

    /// Takes a worker that is gone off the roster and its counts onto the lane's.
    pub(crate) fn dismiss(&self, worker: WorkerId) {
        self.pool.workers.remove(&worker);
        let mut roster = self.roster.write();
        let stays = |seat: &Arc<Seat<C>>| {
            let gone = seat.handle.worker_id() == worker;
            if gone {
                self.counters.served.absorb(&seat.served);
            }
            !gone
        };
        roster.retain(stays);
        self.strays.lock().retain(stays);
    }
}
