//! The pool, driven by scripted models on a clock that the tests own.

#[path = "../support/mod.rs"]
mod support;

mod circuits;
mod deadlines;
mod lifecycle;
mod memory;
mod panics;
mod shutdowns;
mod supervisor;
