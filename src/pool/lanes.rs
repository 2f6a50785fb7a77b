//! Which lanes there are: those that callers find under a key, and those on their way out.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use dashmap::DashMap;
use parking_lot::Mutex;

use super::lane::Lane;
use super::stats::PoolMetrics;
use crate::capability::Capability;
use crate::id::RegistryKey;

/// One lane of one pool, never used again: a key that is registered anew gets a new lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LaneId(pub(crate) u64);

/// Hashed quickly rather than against attack: keys are registered by the application, not by its callers.
type Map<K, C> = DashMap<K, Arc<Lane<C>>, foldhash::fast::RandomState>;

/// The lanes of a pool.
pub(crate) struct Lanes<C: Capability> {
    /// Those that callers find.
    by_key: Map<RegistryKey, C>,
    /// Those that are supervised: the ones above, and each that was taken off until nobody can reach it.
    by_id: Map<LaneId, C>,
    /// What lanes that are gone have counted. Locked while one goes: its counts are then never in neither place.
    gone: Mutex<PoolMetrics>,
}

impl<C: Capability> Lanes<C> {
    /// The lane under a key, cloned out of the map at once: no guard of it is held while anything else happens.
    pub(crate) fn get(&self, key: &str) -> Option<Arc<Lane<C>>> {
        self.by_key.get(key).map(|lane| lane.clone())
    }

    /// The lane of this number, whether callers find it or not.
    pub(crate) fn find(&self, id: LaneId) -> Option<Arc<Lane<C>>> {
        self.by_id.get(&id).map(|lane| lane.clone())
    }

    pub(crate) fn contains(&self, key: &RegistryKey) -> bool {
        self.by_key.contains_key(key)
    }

    /// How many callers can find.
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(crate) fn keys(&self) -> Vec<RegistryKey> {
        self.by_key.iter().map(|entry| entry.key().clone()).collect()
    }

    /// The lanes that callers find, of each key one, and those that were taken off. While a key changes hands, each of
    /// its lanes is among the one or the other or in neither.
    pub(crate) fn present_and_leaving(&self) -> [Vec<Arc<Lane<C>>>; 2] {
        let present = self.present();
        let mut leaving = self.all();
        leaving.retain(|lane| lane.is_retired() && present.iter().all(|other| other.id != lane.id));
        [present, leaving]
    }

    /// Those that callers find.
    pub(crate) fn present(&self) -> Vec<Arc<Lane<C>>> {
        self.by_key.iter().map(|entry| entry.value().clone()).collect()
    }

    /// Every lane, also those that callers do not find any more.
    pub(crate) fn all(&self) -> Vec<Arc<Lane<C>>> {
        self.by_id.iter().map(|entry| entry.value().clone()).collect()
    }

    /// Lets callers find a lane under its key, and no longer the one that was there, which comes back.
    pub(crate) fn put(&self, lane: Arc<Lane<C>>) -> Option<Arc<Lane<C>>> {
        // Supervised before anyone can submit to it.
        self.by_id.insert(lane.id, lane.clone());
        self.by_key.insert(lane.key.clone(), lane)
    }

    /// Lets callers find a key no longer. Its lane stays supervised.
    pub(crate) fn take(&self, key: &str) -> Option<Arc<Lane<C>>> {
        self.by_key.remove(key).map(|(_, lane)| lane)
    }

    /// Whether nobody but these maps and `holders` others refers to a lane that was taken off: then nobody can submit
    /// to it, and since every job refers to its lane, it has none.
    pub(crate) fn is_abandoned(lane: &Arc<Lane<C>>, holders: usize) -> bool {
        let abandoned = lane.is_retired() && Arc::strong_count(lane) == 1 + holders;
        // What those counted who let go of it before is seen from here on.
        fence(Ordering::Acquire);
        abandoned
    }

    /// Forgets a lane that nobody can reach, but not what it counted.
    pub(crate) fn forget(&self, id: LaneId) {
        let mut gone = self.gone.lock();
        let lane = self.by_id.remove(&id);
        if let Some((_, lane)) = &lane {
            gone.add(&lane.counters, &lane.served());
        }
        drop(gone);
        // The loader goes with it, whose destructor is foreign code: with no lock held.
        drop(lane);
    }

    /// What all lanes have counted so far.
    pub(crate) fn totals(&self) -> PoolMetrics {
        let gone = self.gone.lock();
        let mut totals = gone.clone();
        for lane in self.all() {
            totals.add(&lane.counters, &lane.served());
        }
        totals
    }
}

impl<C: Capability> Default for Lanes<C> {
    fn default() -> Self {
        Self { by_key: DashMap::default(), by_id: DashMap::default(), gone: Mutex::default() }
    }
}

impl<C: Capability> fmt::Debug for Lanes<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys()).finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::capability::{TaskRunner, Tasks};
    use crate::pool::{BuildWith, KeyConfig, Pool, PoolConfig};

    #[test]
    fn a_key_that_changes_hands_is_present_once_at_every_moment() {
        let pool: Pool<Tasks> = Pool::new(PoolConfig::default()).unwrap();
        pool.register_tasks("a").unwrap();
        let (lanes, shared) = (&pool.owner.lanes, pool.owner.shared.clone());
        let ids = |lanes: Vec<Arc<Lane<Tasks>>>| lanes.iter().map(|lane| lane.id).collect::<Vec<_>>();
        let now = || {
            let [present, leaving] = lanes.present_and_leaving();
            [ids(present), ids(leaving)]
        };
        let loader = Box::new(BuildWith::new(TaskRunner::default));
        let next = Arc::new(Lane::new("a".into(), loader, shared, KeyConfig::of(pool.config())));
        let before = lanes.put(next.clone()).unwrap();
        assert_eq!(now(), [vec![next.id], vec![]], "neither found nor taken off");
        before.retire();
        assert_eq!(now(), [vec![next.id], vec![before.id]]);
        next.retire();
        assert_eq!(now(), [vec![next.id], vec![before.id]], "taken off since it was found");
        lanes.take("a").unwrap();
        let [present, leaving] = now();
        assert!(present.is_empty() && leaving.contains(&next.id) && leaving.contains(&before.id));
    }
}
