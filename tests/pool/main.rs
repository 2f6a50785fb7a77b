//! The pool, driven by scripted models on a clock that the tests own.

#[path = "../support/mod.rs"]
mod support;

mod batches;
mod cancellation;
mod circuits;
mod deadlines;
mod eviction_races;
mod keep_alive;
mod kod;
mod lifecycle;
mod memory;
mod panics;
mod queueing;
mod shutdowns;
mod supervisor;
mod unregister;
