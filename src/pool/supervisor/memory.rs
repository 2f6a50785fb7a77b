//! Finding memory: who could give some back, anywhere under the budget, and asking for it.

use std::sync::Arc;
use std::time::Duration;

use super::Supervisor;
use super::watch::Watch;
use crate::capability::Capability;
use crate::clock::Timestamp;
use crate::id::ByteSize;
use crate::memory::{Hold, Insistence, OverBudget, Reclaim};
use crate::pool::error::PoolError;
use crate::pool::events::EvictReason;
use crate::pool::evict::{self, Candidate};
use crate::pool::handle::Seat;
use crate::pool::lane::Lane;
use crate::pool::lanes::Lanes;
use crate::pool::shared::Shared;
use crate::pool::state::WorkerState;

/// How often a key that waits for memory looks whether some holder has become idle.
const ASK_AGAIN: Duration = Duration::from_millis(10);

impl<C: Capability> Supervisor<C> {
    /// A key without workers did not fit. Decides what comes of it:
    ///
    /// 1. It can never fit, or only pinned keys hold the memory: what waits is refused. Not while anyone is
    ///    still loading: what that has reserved may not be listed as held yet.
    /// 2. Enough has come back meanwhile or is on its way: wait for it.
    /// 3. Enough is idle: ask for the best choice of it.
    /// 4. Others are busy, and have been for longer than patience lasts: the one loaded longest must finish
    ///    what it has and go, so that no key waits for ever for its turn.
    /// 5. Otherwise wait and ask again.
    pub(super) fn seek_memory(&mut self, watch: &mut Watch<C>, over: OverBudget) {
        let now = self.shared.clock.now();
        // 1
        if over.need > over.limit {
            return Self::refuse_memory(watch, over);
        }
        let reclaimers = self.shared.budget.reclaimers();
        let holds = holds_of_all(&reclaimers);
        let returning: ByteSize = reclaimers.iter().map(|reclaimer| reclaimer.coming_back()).sum();
        // Read last: what came back while the holders were asked, and so was not named by them, is free now.
        let Err(over) = self.shared.budget.would_fit(over.need) else { return watch.due_by(now) };
        let missing = over.need.saturating_sub(over.free).saturating_sub(returning);
        let reclaimable: ByteSize =
            holds.iter().filter(|(_, hold)| hold.whole).map(|(_, hold)| hold.bytes).sum();
        // 1
        if reclaimable < missing && self.shared.budget.promised() == ByteSize::ZERO {
            return Self::refuse_memory(watch, over);
        }
        let since = watch.short_of_memory.as_ref().map_or(now, |(since, _)| *since);
        watch.short_of_memory = Some((since, over));
        watch.due_by(now.saturating_add(ASK_AGAIN));
        // 2
        if missing == ByteSize::ZERO {
            return;
        }
        // 3
        if let Some(chosen) = choose(&holds, missing, self.shared.config.min_residence) {
            for (owner, hold) in chosen {
                reclaimers[*owner].give_up(hold, Insistence::IfIdle);
            }
            return;
        }
        // 4
        if now.since(since) >= self.shared.config.memory_patience {
            // Not one that is still loading: it has not had its turn.
            let served = holds.iter().filter(|(_, hold)| hold.whole && !hold.residence.is_zero());
            let oldest = served.max_by_key(|(_, hold)| hold.residence);
            if let Some((owner, hold)) = oldest {
                reclaimers[*owner].give_up(hold, Insistence::FinishFirst);
                watch.short_of_memory = watch.short_of_memory.take().map(|(_, over)| (now, over));
            }
        }
        // 5
    }

    fn refuse_memory(watch: &mut Watch<C>, source: OverBudget) {
        watch.short_of_memory = None;
        let error = PoolError::MemoryExhausted { key: watch.lane.key.clone(), source };
        watch.lane.fail_queue(&error);
        watch.answer_preloads(&Err(error));
    }

    /// The budget may have fallen below what is reserved: lets idle workers go until it fits again. What is
    /// busy stays; nothing new is granted meanwhile.
    pub(super) fn fit_shrunken_budget(&mut self) {
        let overdraft = self.shared.budget.overdraft();
        if overdraft == ByteSize::ZERO {
            return;
        }
        let reclaimers = self.shared.budget.reclaimers();
        let returning: ByteSize = reclaimers.iter().map(|reclaimer| reclaimer.coming_back()).sum();
        let excess = overdraft.saturating_sub(returning);
        if excess == ByteSize::ZERO {
            return;
        }
        let holds = holds_of_all(&reclaimers);
        let chosen = choose(&holds, excess, Duration::ZERO);
        // All that is idle, if even that is not enough.
        let everything = || holds.iter().filter(|(_, hold)| hold.idle.is_some()).collect();
        for (owner, hold) in chosen.unwrap_or_else(everything) {
            reclaimers[*owner].give_up(hold, Insistence::IfIdleBudgetShrank);
        }
    }
}

/// What anyone under the budget could give up, with the number of who holds it.
fn holds_of_all(reclaimers: &[Arc<dyn Reclaim>]) -> Vec<(usize, Hold)> {
    let of_one = |(owner, reclaimer): (usize, &Arc<dyn Reclaim>)| {
        reclaimer.holds().into_iter().map(move |hold| (owner, hold))
    };
    reclaimers.iter().enumerate().flat_map(of_one).collect()
}

/// The best choice among what is idle and has been loaded for at least `min_residence`.
fn choose(holds: &[(usize, Hold)], need: ByteSize, min_residence: Duration) -> Option<Vec<&(usize, Hold)>> {
    let eligible: Vec<&(usize, Hold)> =
        holds.iter().filter(|(_, hold)| hold.idle.is_some() && hold.residence >= min_residence).collect();
    let mut lanes: Vec<(usize, &str)> = Vec::new();
    let candidates: Vec<Candidate> = eligible
        .iter()
        .map(|(owner, hold)| {
            let name = (*owner, hold.key.as_str());
            let lane = lanes.iter().position(|lane| *lane == name).unwrap_or_else(|| {
                lanes.push(name);
                lanes.len() - 1
            });
            let idle = hold.idle.unwrap_or_default();
            Candidate { lane, whole: hold.whole, bytes: hold.bytes.bytes(), idle, reload: hold.reload }
        })
        .collect();
    let chosen = evict::choose(&candidates, need.bytes())?;
    Some(chosen.into_iter().map(|index| eligible[index]).collect())
}

/// A pool as others under the same budget see it.
pub(crate) struct Holdings<C: Capability> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) lanes: Arc<Lanes<C>>,
}

impl<C: Capability> Holdings<C> {
    fn loaded_lanes(&self) -> Vec<Arc<Lane<C>>> {
        let loaded =
            |lane: &Arc<Lane<C>>| !lane.roster.read().is_empty() || lane.weights_bytes() > ByteSize::ZERO;
        self.lanes.all().into_iter().filter(loaded).collect()
    }

    /// What one lane holds: each surplus worker by itself, and all of it.
    fn holds_of(lane: &Lane<C>, now: Timestamp, holds: &mut Vec<Hold>) {
        let roster = lane.roster.read();
        // What leaves is coming back already; what is loading is busy.
        let stays = |seat: &&Arc<Seat<C>>| {
            let state = seat.handle.state();
            matches!(state, WorkerState::Loading | WorkerState::Ready | WorkerState::Busy)
        };
        let all: Vec<_> = roster.iter().filter(stays).collect();
        if lane.settings.is_pinned() && !lane.is_retired() || all.is_empty() {
            return;
        }
        let hold = |seats: &[&Arc<Seat<C>>], whole: bool, shared: ByteSize, reload: Duration| Hold {
            key: lane.key.clone(),
            workers: seats.iter().map(|seat| seat.handle.worker_id()).collect(),
            whole,
            bytes: seats.iter().map(|seat| seat.reserved()).sum::<ByteSize>().saturating_add(shared),
            idle: seats.iter().map(|seat| idle_for(seat, now)).min().flatten(),
            residence: seats
                .iter()
                .map(|seat| now.since(seat.handle.ready_at().unwrap_or(now)))
                .min()
                .unwrap_or_default(),
            reload,
        };
        let load_time = lane.counters.load_time.snapshot().mean();
        holds.push(hold(&all, true, lane.weights_bytes(), load_time.max(Duration::from_millis(1))));
        if all.len() > 1 {
            let singles = all.iter().filter(|seat| idle_for(seat, now).is_some()).take(all.len() - 1);
            holds.extend(singles.map(|seat| hold(&[seat], false, ByteSize::ZERO, Duration::from_millis(1))));
        }
    }
}

fn idle_for<C: Capability>(seat: &Seat<C>, now: Timestamp) -> Option<Duration> {
    (seat.handle.state() == WorkerState::Ready).then(|| now.since(seat.handle.last_used()))
}

impl<C: Capability> Reclaim for Holdings<C> {
    fn holds(&self) -> Vec<Hold> {
        let now = self.shared.clock.now();
        let mut holds = Vec::new();
        for lane in self.loaded_lanes() {
            Self::holds_of(&lane, now, &mut holds);
        }
        holds
    }

    fn coming_back(&self) -> ByteSize {
        let lanes = self.loaded_lanes();
        let of_lane = |lane: &Arc<Lane<C>>| {
            let roster = lane.roster.read();
            // One that failed and is still listed has crashed: it is on its way out too.
            let leaving = |seat: &&Arc<Seat<C>>| {
                let state = seat.handle.state();
                matches!(state, WorkerState::Draining | WorkerState::Failed | WorkerState::Stopped)
            };
            let own: ByteSize = roster.iter().filter(leaving).map(|seat| seat.reserved()).sum();
            // One that hangs keeps the weights.
            if roster.iter().all(|seat| leaving(&seat)) && lane.strays.lock().is_empty() {
                own.saturating_add(lane.weights_bytes())
            } else {
                own
            }
        };
        lanes.iter().map(of_lane).sum()
    }

    fn give_up(&self, hold: &Hold, insistence: Insistence) {
        // Not by the key alone, which may be another model's by now.
        let lanes = self.lanes.all().into_iter().filter(|lane| lane.key == hold.key);
        let named = |seat: &Arc<Seat<C>>| hold.workers.contains(&seat.handle.worker_id());
        let seats = lanes.flat_map(|lane| {
            let seats: Vec<_> = lane.roster.read().iter().filter(|seat| named(seat)).cloned().collect();
            seats.into_iter().map(move |seat| (lane.clone(), seat))
        });
        let (tell, reason): (fn(&Seat<C>) -> bool, _) = match insistence {
            Insistence::IfIdle => (Seat::try_evict, EvictReason::MakeRoom),
            Insistence::IfIdleBudgetShrank => (Seat::try_evict, EvictReason::BudgetShrank),
            Insistence::FinishFirst => (Seat::drain, EvictReason::MakeRoom),
        };
        seats.for_each(|(lane, seat)| lane.let_go(&seat, reason, tell));
    }
}
