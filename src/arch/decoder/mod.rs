//! Decoders: networks that read a text from left to right and say what comes next, or what it was about.
//!
//! One forward pass takes tokens of many texts, each at its own place in its own text: a step decodes one
//! token of every running text and reads a part of a new one beside them. What a text has been read up to is
//! kept as keys and values in blocks of sixteen tokens, which texts with a common beginning share. A text that is
//! to be embedded is read whole in one step, and nothing of it is kept (`reading`).
//!
//! What goes in need not be a token's vector: rows made of pictures have ids above the vocabulary's (`inlays`), so that
//! whoever plans texts knows ids only.

mod blocks;
mod config;
mod experts;
mod facts;
mod forms;
mod generator;
mod gguf;
mod inlays;
mod layer;
mod names;
mod network;
mod plan;
mod probe;
mod projection;
mod reading;
mod runner;
mod scheduler;
mod tensors;
mod weight_format;
mod weights;
mod writing;

pub use config::{DecoderConfig, DecoderFamily};
pub use generator::TextGenerator;
pub(crate) use inlays::{Inlay, InlayKey, Inlays};
pub(crate) use network::Body;
pub use plan::{DecoderOptions, DecoderPlan};
pub use probe::{Continuation, DecoderProbe, ProbeLimits, ProbeRun};
pub(crate) use scheduler::{NewText, Place, Places};
pub use weights::DecoderWeights;
pub(crate) use writing::{PromptTokens, Writing};
