//! The weights of a key: loaded once, shared by its workers, gone with the last of them.

use std::fmt;
use std::sync::OnceLock;

use parking_lot::Mutex;

use super::contain::contain;
use super::error::SpawnError;
use super::loader::{AnyLoader, AnyWeights};
use super::shared::Shared;
use super::stats::LaneCounters;
use crate::capability::Capability;
use crate::id::ByteSize;
use crate::memory::Reservation;

/// One generation of a key's weights, from before they are read until the last worker lets go.
///
/// Whichever worker comes first reads them, on its own thread; the others wait for it and share the
/// outcome, good or bad. Dropping the last reference drops the weights and gives their memory back.
pub(crate) struct SharedLoad {
    outcome: OnceLock<Result<AnyWeights, SpawnError>>,
    // Declared after `outcome`, so dropped after it: the bytes are given back when they are really free.
    reservation: Mutex<Reservation>,
}

impl SharedLoad {
    pub(crate) fn new(reservation: Reservation) -> Self {
        Self { outcome: OnceLock::new(), reservation: Mutex::new(reservation) }
    }

    /// The weights; reads them if nobody has.
    pub(crate) fn get<C: Capability>(
        &self,
        loader: &dyn AnyLoader<C>,
        pool: &Shared,
        counters: &LaneCounters,
    ) -> Result<&AnyWeights, SpawnError> {
        self.outcome.get_or_init(|| self.read(loader, pool, counters)).as_ref().map_err(Clone::clone)
    }

    fn read<C: Capability>(
        &self,
        loader: &dyn AnyLoader<C>,
        pool: &Shared,
        counters: &LaneCounters,
    ) -> Result<AnyWeights, SpawnError> {
        let began = pool.clock.now();
        let measurement = pool.budget.measure();
        let weights = contain(|| loader.load()).map_err(SpawnError::Panicked)?.map_err(SpawnError::Load)?;
        counters.load_time.record(pool.clock.now().since(began));
        let mut reservation = self.reservation.lock();
        let predicted = reservation.bytes();
        // Growth below the prediction proves little (freed pages were used again), growth above it proves
        // that the prediction was too low. Up to a twentieth is noise.
        let grown = measurement.growth().filter(|grown| grown.bytes() > predicted.bytes() / 20 * 21);
        reservation.settle(grown.unwrap_or(predicted).max(predicted)).map_err(SpawnError::TooLarge)?;
        Ok(weights)
    }

    /// Whether a further worker can use it: it is loaded or still loading.
    pub(crate) fn is_usable(&self) -> bool {
        !matches!(self.outcome.get(), Some(Err(_)))
    }

    pub(crate) fn bytes(&self) -> ByteSize {
        // While the weights are being settled the lock is held for a moment; waiting for it is harmless.
        self.reservation.lock().bytes()
    }
}

impl fmt::Debug for SharedLoad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.outcome.get() {
            None => "loading",
            Some(Ok(_)) => "loaded",
            Some(Err(_)) => "failed",
        };
        write!(f, "SharedLoad({state})")
    }
}
