//! The weights of a key: loaded once, shared by its workers, gone with the last of them.

use std::fmt;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::error::SpawnError;
use super::loader::{AnyLoader, AnyWeights};
use super::shared::Shared;
use super::stats::LaneCounters;
use crate::capability::Capability;
use crate::contain::contain;
use crate::id::ByteSize;
use crate::memory::{OverBudget, Reservation};

/// One generation of a key's weights, from before they are read until the last worker lets go.
///
/// Whichever worker comes first reads them, on its own thread; the others wait for it and share the
/// outcome, good or bad. Dropping the last reference drops the weights and then gives their memory back.
pub(crate) struct SharedLoad {
    outcome: OnceLock<Result<AnyWeights, SpawnError>>,
    account: Arc<Account>,
}

/// What a load has reserved. Whoever only wants to know how much looks here: a reference to the load itself
/// could turn out to be the last, and its holder the one who drops the weights.
#[derive(Debug)]
pub(crate) struct Account(Mutex<Option<Reservation>>);

impl Account {
    /// Zero when the weights are gone, and not a moment earlier.
    pub(crate) fn bytes(&self) -> ByteSize {
        self.0.lock().as_ref().map_or(ByteSize::ZERO, Reservation::bytes)
    }

    fn settle(&self, actual: ByteSize) -> Result<(), OverBudget> {
        self.0.lock().as_mut().map_or(Ok(()), |reservation| reservation.settle(actual))
    }
}

impl SharedLoad {
    pub(crate) fn new(reservation: Reservation) -> Self {
        Self { outcome: OnceLock::new(), account: Arc::new(Account(Mutex::new(Some(reservation)))) }
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
        let predicted = self.account.bytes();
        // Growth below the prediction proves little (freed pages were used again), growth above it proves
        // that the prediction was too low. Up to a twentieth is noise.
        let grown = measurement.growth().filter(|grown| grown.bytes() > predicted.bytes() / 20 * 21);
        let actual = grown.unwrap_or(predicted).max(predicted);
        // The refusal is about what is missing; what it is for is all of it.
        let whole =
            |over: OverBudget| OverBudget { need: actual, free: over.free.saturating_add(predicted), ..over };
        self.account.settle(actual).map_err(|over| SpawnError::TooLarge(whole(over)))?;
        Ok(weights)
    }

    /// Whether a further worker can use it: it is loaded or still loading.
    pub(crate) fn is_usable(&self) -> bool {
        !matches!(self.outcome.get(), Some(Err(_)))
    }

    pub(crate) fn is_loading(&self) -> bool {
        self.outcome.get().is_none()
    }

    pub(crate) fn account(&self) -> &Arc<Account> {
        &self.account
    }
}

/// The weights' destructor is foreign code and may run wherever the last reference is dropped.
impl Drop for SharedLoad {
    fn drop(&mut self) {
        if let Err(message) = contain(|| drop(self.outcome.take())) {
            tracing::error!(%message, "weights panicked when they were dropped");
        }
        drop(self.account.0.lock().take());
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
