//! Looks at the pools, and remembers what it saw last.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::Receiver;

use super::frame::{Happened, Look, Rate, Sample};
use crate::capability::{Capability, TextToText, Vision};
use crate::clock::Clock;
use crate::engine::{Engine, EngineStatus};
use crate::id::RegistryKey;
use crate::pool::{KeyStatus, Pool, PoolEvent, PoolStatus, What, WorkerState};

/// How many events of a pool may come between two beats.
const EVENTS_BETWEEN: usize = 2048;
/// A worker that has been idle for less has served since the last look.
const JUST_NOW: Duration = Duration::from_millis(1100);

/// Looks at the pools of one engine.
pub(super) struct Watch {
    pools: Vec<Hears>,
    clock: Clock,
    seen: HashMap<(String, RegistryKey), Counts>,
    looked: Instant,
    /// What has been taken in since the last look.
    events: Vec<Happened>,
}

/// What one pool tells.
struct Hears {
    capability: &'static str,
    events: Receiver<PoolEvent>,
}

/// What of a key is counted, so that it grows.
#[derive(Clone, Copy, Default)]
struct Counts {
    ended: u64,
    tokens: u64,
}

impl Watch {
    pub(super) fn new(engine: &Engine) -> Self {
        let pools = vec![
            hear(engine.text_embedding()),
            hear(engine.text_to_text()),
            hear(engine.image_embedding()),
            hear(engine.vision()),
            hear(engine.text_to_image()),
        ];
        let clock = engine.text_embedding().clock().clone();
        Self { pools, clock, seen: HashMap::new(), looked: Instant::now(), events: Vec::new() }
    }

    /// Takes in what the pools have told since the last time. A flood of refusals becomes one line.
    pub(super) fn take_in(&mut self) {
        let (now, unix) = (self.clock.now(), unix_ms());
        for Hears { capability, events } in &self.pools {
            for PoolEvent { at, key, what } in events.try_iter() {
                let refusal = matches!(what, What::Rejected { .. });
                let same = |told: &&mut Happened| {
                    told.capability == *capability && told.key == key && told.what == what
                };
                if refusal && let Some(told) = self.events.iter_mut().find(same) {
                    told.times = told.times.saturating_add(1);
                    continue;
                }
                let at = unix.saturating_sub(now.since(at).as_millis() as u64);
                self.events.push(Happened { at, capability, key, times: 1, what });
            }
        }
    }

    /// What the pools are doing, and what came since the last look.
    pub(super) fn look(&mut self, status: &EngineStatus) -> Look {
        let at = unix_ms();
        let seconds = self.looked.elapsed().as_secs_f64().max(1e-3);
        self.looked = Instant::now();
        let (mut rates, mut workers, mut seen) = (Vec::new(), BTreeMap::new(), HashMap::new());
        for pool in &status.pools {
            for key in &pool.keys {
                let (name, counts) = ((pool.name.clone(), key.key.clone()), counts(pool, key));
                let before = self.seen.get(&name).copied().unwrap_or_default();
                rates.push(rate(pool, key, counts, before, seconds));
                workers.extend(states(pool, key, counts.ended > before.ended));
                seen.insert(name, counts);
            }
        }
        self.seen = seen;
        let sample = Sample {
            at,
            running: status.pools.iter().map(|pool| pool.in_flight).sum(),
            queued: status.pools.iter().map(|pool| pool.queue_depth).sum(),
            reserved: status.memory.reserved,
            requests_per_second: rates.iter().map(|rate| rate.requests_per_second).sum(),
            tokens_per_second: rates.iter().map(|rate| rate.tokens_per_second).sum(),
            workers,
        };
        let mut events = std::mem::take(&mut self.events);
        events.sort_by_key(|event| event.at);
        Look { at, sample, rates, events }
    }
}

fn hear<C: Capability>(pool: &Pool<C>) -> Hears {
    Hears { capability: C::NAME, events: pool.events(EVENTS_BETWEEN) }
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

fn counts(pool: &PoolStatus, key: &KeyStatus) -> Counts {
    let writes = [TextToText::NAME, Vision::NAME].contains(&&*pool.name);
    let tokens = if writes { key.first_event_time.count + key.between_events_time.count } else { 0 };
    Counts { ended: key.completed + key.failed + key.canceled, tokens }
}

fn rate(pool: &PoolStatus, key: &KeyStatus, now: Counts, before: Counts, seconds: f64) -> Rate {
    let per_second = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
    Rate {
        capability: pool.name.clone(),
        key: key.key.clone(),
        requests_per_second: per_second(now.ended, before.ended),
        tokens_per_second: per_second(now.tokens, before.tokens),
    }
}

fn states(pool: &PoolStatus, key: &KeyStatus, served: bool) -> impl Iterator<Item = (String, WorkerState)> {
    key.workers.iter().map(move |worker| {
        let busy = served && worker.state == WorkerState::Ready && worker.idle < JUST_NOW;
        (format!("{}/{}", pool.name, worker.id.0), if busy { WorkerState::Busy } else { worker.state })
    })
}
