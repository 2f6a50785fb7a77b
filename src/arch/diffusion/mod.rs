//! Text to image: from noise to a picture in steps, each of which takes a little of the noise away.
//!
//! Ho et al., "Denoising Diffusion Probabilistic Models", arXiv 2006.11239; in the space of an autoencoder: Rombach
//! et al., "High-Resolution Image Synthesis with Latent Diffusion Models", arXiv 2112.10752. A folder in the layout of
//! diffusers has a file that says what its parts are (`index`).
//!
//! [`DiffusionPlan`] is what its small files say, read before any weight. [`DiffusionWeights`] adds the weights and is
//! shared: encoders of prompts (`reader`, put together in `prompts`), a denoiser (`denoiser`), a decoder of pictures.
//! [`ImageGenerator`] is the model one worker owns. One step of it is one step of every picture that shares a pass
//! (`canvas`), each at its own time of its own schedule (`schedule`), from noise that is the same everywhere
//! (`noise`).

mod canvas;
mod conditioning;
mod defaults;
mod denoiser;
mod generator;
mod index;
mod noise;
mod plan;
mod prompts;
mod reader;
mod schedule;
mod timestep;
mod two_layers;
mod weights;

pub(crate) use conditioning::Conditioning;
pub use generator::ImageGenerator;
pub(crate) use index::is_pipeline;
pub use plan::DiffusionPlan;
pub(crate) use timestep::timestep_embedding;
pub(crate) use two_layers::TwoLayers;
pub use weights::DiffusionWeights;
