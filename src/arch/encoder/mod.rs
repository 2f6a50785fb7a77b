//! Encoders: networks that read a whole text at once.
//!
//! One forward pass takes any number of texts of any lengths, their tokens laid end to end, with no padding:
//! what is computed is what was asked. Linear layers and norms see one long sequence; only attention looks
//! at the texts one by one. A text's vector is therefore the same alone and in company.
//!
//! The families differ in few things, and those are data: each has a file with a `Config` that mirrors its
//! `config.json` and comes down to an [`EncoderConfig`], and with the names of its tensors. What is computed
//! from them, `Network`, is the same code for all.

mod bert;
mod config;
mod distilbert;
mod embeddings;
mod families;
mod layer;
mod layout;
mod modernbert;
mod mpnet;
mod network;
mod nomic_bert;
mod sizes;

pub use config::EncoderConfig;
pub(crate) use config::Gate;
pub(crate) use embeddings::rows;
pub(crate) use layer::{FEED_FORWARD_ROWS, FeedForward, Layer, Orientation, SelfAttention, usual_scale};
pub(crate) use layout::Qkv;
pub(crate) use network::Network;
pub(crate) use sizes::layer_numbers;
