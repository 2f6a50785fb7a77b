//! Text to image: from noise to a picture in steps, each of which takes a little of the noise away.
//!
//! Ho et al., "Denoising Diffusion Probabilistic Models", arXiv 2006.11239; in the space of an autoencoder: Rombach
//! et al., "High-Resolution Image Synthesis with Latent Diffusion Models", arXiv 2112.10752.

mod conditioning;
mod timestep;
mod two_layers;

pub(crate) use conditioning::Conditioning;
pub(crate) use timestep::timestep_embedding;
pub(crate) use two_layers::TwoLayers;
