//! millpond

pub mod capability;
mod clock;
mod id;
pub mod memory;
pub mod metrics;
pub mod pool;
mod sync;
#[cfg(feature = "candle")]
pub mod weights;

pub use clock::{Clock, Timestamp};
pub use id::{ByteSize, JobId, ParseByteSizeError, RegistryKey, SessionId, WorkerId};
