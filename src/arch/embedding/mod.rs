//! Text embedding, whichever network reads the texts.
//!
//! One forward pass takes any number of texts of any lengths, their tokens laid end to end, with no padding. The
//! network, an encoder or a decoder, gives each token a vector; what sentence-transformers' files say makes one of
//! a text's. [`NetworkConfig`] and `Network` are the two kinds of network; all else is the same for both.
//!
//! [`EmbeddingPlan`] is what the small files of a model folder say, read before any weight; [`EmbeddingWeights`]
//! adds tokenizer and weights and is shared; [`TextEmbedder`] is the model one worker owns.

mod embedder;
mod network;
mod pass;
mod plan;
mod weights;

pub use embedder::TextEmbedder;
pub use network::NetworkConfig;
pub use plan::{EmbeddingPlan, MAX_TEXT_BYTES, estimated_cost, footprint};
pub use weights::EmbeddingWeights;
