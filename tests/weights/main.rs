//! What `weights` promises: hostile files and names end in typed errors, honest ones in shared tensors.
#![cfg(feature = "candle")]
#![allow(missing_docs)]

mod fixture;
mod headers;
#[cfg(feature = "hub")]
mod hub;
#[cfg(feature = "hub")]
mod hub_faults;
#[cfg(feature = "hub")]
mod hub_server;
mod names;
mod shards;
mod store;
