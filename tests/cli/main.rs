//! The command as its users meet it: the real binary, its output, its exit codes.
#![cfg(feature = "cli")]

mod cache;
mod config;
mod describe;
mod doctor;
mod embed;
mod embed_image;
mod failures;
mod generate;
#[path = "../weights/hub_server.rs"]
#[allow(dead_code, reason = "the faults of a hub are tested where it is spoken to")]
mod hub_server;
mod list;
mod pull;
mod serve;
mod shipped;
mod signals;
mod stopping;
mod support;
mod verbs;
mod watching;
