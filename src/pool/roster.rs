//! Who works for a key. Only the supervisor changes that.

use std::sync::Arc;

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
        roster.iter().for_each(|seat| total.absorb(&seat.served));
        total
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
        roster.retain(|seat| {
            let gone = seat.handle.worker_id() == worker;
            if gone {
                self.counters.served.absorb(&seat.served);
            }
            !gone
        });
    }
}
