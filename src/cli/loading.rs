//! A bar for a model that loads, where somebody watches.

use std::thread::{self, Builder};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};

use super::failure::Failure;
use super::progress;
use crate::capability::Capabilities;
use crate::engine::Engine;
use crate::id::ByteSize;
use crate::memory::{MemoryProbe, SystemProbe};

/// How often the bar moves.
const GLANCE: Duration = Duration::from_millis(100);

/// What is smaller is there before anybody sees a bar.
const SMALL: ByteSize = ByteSize::mib(64);

/// Loads the model under `key` now and shows how far it is: by how much the process has grown, of what it is expected
/// to grow by. Where nobody watches, or the model is small, it loads with its first request.
pub(super) fn show(engine: &Engine, key: &str, capability: Capabilities) -> Result<(), Failure> {
    let facts = engine.facts(key);
    let footprint =
        facts.iter().find(|facts| facts.capability == capability).and_then(|facts| facts.footprint);
    let Some(footprint) = footprint.filter(|footprint| footprint.weights >= SMALL) else { return Ok(()) };
    let bar = progress::loading(key, footprint.weights);
    if bar.is_hidden() {
        return Ok(());
    }
    let loaded = thread::scope(|scope| {
        let (done, ended) = bounded::<()>(0);
        let watched = bar.clone();
        let watch = move || {
            let probe = SystemProbe::new();
            let before = probe.read().resident;
            while ended.recv_timeout(GLANCE) == Err(RecvTimeoutError::Timeout) {
                let grown = probe.read().resident.saturating_sub(before);
                watched.set_position(grown.min(footprint.weights).bytes());
            }
        };
        Builder::new().name("loading".to_owned()).spawn_scoped(scope, watch).map_err(Failure::Thread)?;
        let loaded = engine.preload(key, capability).map_err(|error| crate::Error::from(error).into());
        drop(done);
        loaded
    });
    bar.finish_and_clear();
    loaded
}
