//! The command as its users meet it: the real binary, its output, its exit codes.
#![cfg(feature = "cli")]

mod describe;
mod embed;
mod embed_image;
mod failures;
mod generate;
mod signals;
mod support;
mod verbs;
