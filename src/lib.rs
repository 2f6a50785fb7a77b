#![doc = include_str!("README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

/// The README's example is a test.
#[cfg(all(doctest, feature = "candle"))]
#[doc = include_str!("../README.md")]
struct Readme;

mod id;

mod clock;
mod contain;
mod sync;

pub mod capability;
pub mod memory;
pub mod metrics;

pub mod pool;

#[cfg(feature = "candle")]
pub mod image;
#[cfg(feature = "candle")]
mod kernels;
#[cfg(feature = "candle")]
mod text;
#[cfg(feature = "candle")]
pub mod weights;

#[cfg(feature = "candle")]
pub mod arch;

#[cfg(feature = "candle")]
pub mod catalog;
#[cfg(feature = "candle")]
mod engine;
#[cfg(feature = "candle")]
mod error;

#[cfg(feature = "server")]
pub mod server;

#[cfg(feature = "cli")]
pub mod cli;

pub use clock::{Clock, Timestamp};
#[cfg(feature = "candle")]
pub use engine::{
    Capabilities, DecoderLoader, DiffusionLoader, EmbeddingLoader, Engine, EngineBuilder, EngineStatus,
    ImageLoader, ModelFacts, ModelOptions, VisionLoader,
};
#[cfg(feature = "candle")]
pub use error::Error;
pub use id::{ByteSize, JobId, ParseByteSizeError, RegistryKey, SessionId, WorkerId};
#[cfg(feature = "candle")]
pub use kernels::{Dtype, KvFormat, UnknownDtype, threads};
