//! Image embedding: pictures in, vectors out, whichever vision transformer reads them.
//!
//! [`ImagePlan`] is what the small files of a model folder say, read before any weight: the network's shape, how
//! pictures are prepared for it, whether vectors are scaled. [`ImageWeights`] adds the weights and is shared;
//! [`ImageEmbedder`] is the model one worker owns.
//!
//! One step decodes and prepares as many of the pictures admitted as its threads should compute at once, each
//! thread some, and computes them in one pass. Pictures wait as they came, encoded: what is decoded is in memory
//! for one step only.

mod embedder;
mod pass;
mod plan;
mod weights;

pub use embedder::ImageEmbedder;
pub use plan::ImagePlan;
pub use weights::ImageWeights;
