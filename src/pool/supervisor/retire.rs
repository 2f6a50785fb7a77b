//! Keys that were taken off: what they accepted is served, their workers go, and then they are forgotten.

use super::Supervisor;
use super::watch::Watch;
use crate::capability::Capability;
use crate::pool::error::{NoWorkers, PoolError};
use crate::pool::events::EvictReason;
use crate::pool::handle::Seat;
use crate::pool::lanes::{LaneId, Lanes};

impl<C: Capability> Supervisor<C> {
    /// Sees every key off that was taken off, as far as it has come. Looked at in every turn: each step on the way
    /// (the last job is taken up, a worker ends) is a reason for one.
    pub(super) fn see_off_retired(&mut self) {
        let retired = |(id, watch): (&LaneId, &Watch<C>)| watch.lane.is_retired().then_some(*id);
        let retired: Vec<LaneId> = self.watches.iter().filter_map(retired).collect();
        for id in retired {
            self.contained(|this| this.with_watch(id, |_, watch| watch.see_off()));
            if self.watches.get(&id).is_some_and(Watch::is_gone) {
                self.contained(|this| {
                    this.watches.remove(&id);
                    this.lanes.forget(id);
                });
            }
        }
    }
}

impl<C: Capability> Watch<C> {
    /// While requests wait, workers stay, and are started where there are none. When none waits, every worker
    /// finishes what it has and goes. A request that a caller hands in meanwhile, having found the key before, waits
    /// then for a new worker.
    fn see_off(&mut self) {
        let lane = self.lane.clone();
        self.target = None;
        let unregistered = NoWorkers::Unregistered;
        self.answer_preloads(&Err(PoolError::NoWorkers { key: lane.key.clone(), reason: unregistered }));
        if lane.with_queue(|queue| queue.len()) > 0 {
            return;
        }
        self.abandon_plans();
        for seat in lane.seats() {
            lane.let_go(&seat, EvictReason::Unregister, Seat::drain);
        }
    }

    /// Whether nothing is left of a key that was taken off: no thread, and nobody who could submit to it.
    fn is_gone(&self) -> bool {
        self.threads.is_empty() && Lanes::is_abandoned(&self.lane, 1)
    }
}
