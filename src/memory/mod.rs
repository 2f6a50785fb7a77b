//! One ledger for all the memory that models take.
//!
//! A [`MemoryBudget`] is shared by every pool of an engine. Whoever wants to load something first obtains a
//! [`Reservation`] for its predicted [`Footprint`]; there is no other way to be counted, and dropping the
//! reservation is the only way to be uncounted. The limit comes from a [`MemoryProbe`]: 80 % (by default)
//! of the smaller of the machine's memory and the process's cgroup limit, and never more than is available
//! at the moment; a cap on it can be set at any time.
//!
//! Prediction is corrected by measurement: once a load is done its reservation is
//! [settled](Reservation::settle) at the size it was seen to have.

mod budget;
mod footprint;
mod probe;
#[cfg(all(test, loom))]
mod proofs;
#[cfg(all(test, not(loom)))]
mod properties;
mod reclaim;
mod status;

pub use budget::{MemoryBudget, Reservation};
pub use footprint::Footprint;
pub use probe::{MemoryProbe, MemoryReading, SystemProbe};
pub(crate) use reclaim::{Hold, Insistence, Reclaim};
pub use status::{Holder, MemoryStatus, OverBudget};
