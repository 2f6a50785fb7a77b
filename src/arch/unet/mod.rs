//! The denoiser of Stable Diffusion 1, 2 and XL: a network in the shape of a U, whose first half makes pictures
//! smaller and whose second half makes them large again, with what the first half saw beside. Ronneberger et al.,
//! "U-Net", arXiv 1505.04597; for latents and prompts: Rombach et al., arXiv 2112.10752; XL: Podell et al., arXiv
//! 2307.01952. Reference: `UNet2DConditionModel` of Hugging Face diffusers.
//!
//! A pixel is a row, as a token is: linear layers and attention are those of texts.

#[cfg(test)]
mod agreement;
mod config;
mod embedding;
mod levels;
mod network;
mod sizes;
mod transformer;

pub(crate) use config::UnetConfig;
pub(crate) use network::Unet;
