//! What `weights` promises: hostile files and names end in typed errors, honest ones in shared tensors.
#![cfg(feature = "candle")]
#![allow(missing_docs)]

mod fixture;
mod gguf_fixture;
mod gguf_headers;
mod gguf_tokens;
mod gguf_values;
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
