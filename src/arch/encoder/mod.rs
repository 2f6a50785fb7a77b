//! Encoders: networks that read a whole text at once and embed it.
//!
//! One forward pass takes any number of texts of any lengths, their tokens laid end to end, with no padding:
//! what is computed is what was asked. Linear layers and norms see one long sequence; only attention looks
//! at the texts one by one. A text's vector is therefore the same alone and in company.
//!
//! [`EncoderPlan`] is what the small files of a model folder say, read before any weight; [`EncoderWeights`]
//! adds tokenizer and weights and is shared; [`TextEmbedder`] is the model one worker owns.

mod bert;
mod config;
mod embedder;
mod packed;
mod pass;
mod plan;
mod weights;

pub use config::EncoderConfig;
pub use embedder::TextEmbedder;
pub use plan::{EncoderPlan, estimated_cost, footprint};
pub use weights::EncoderWeights;
