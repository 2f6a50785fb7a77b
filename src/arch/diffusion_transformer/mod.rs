//! Diffusion transformers: denoisers that read a noisy picture as a text of squares, together with its prompt.
//!
//! Peebles and Xie, "Scalable Diffusion Models with Transformers", arXiv 2212.09748; with the prompt's tokens beside
//! the picture's: Esser et al., "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis", arXiv
//! 2403.03206. The tokens of texts and of pictures go through layers of their own (`joint`) and meet in attention,
//! where a picture and its prompt are one text (`sequence`). What the time and the prompt as a whole say (`signals`)
//! scales and shifts what goes into each part, and gates what is added of it (`modulation`).
//!
//! SD3 has joint blocks to the end ([`Sd3`]); FLUX.1 goes on with blocks in which all tokens are alike (`single`,
//! [`Flux`]). References: `transformer_sd3.py` and `transformer_flux.py` of Hugging Face diffusers.

#[cfg(test)]
mod agreement;
mod config;
mod ends;
mod flux;
mod flux_config;
mod heads;
mod joint;
mod modulation;
mod places;
mod sd3;
mod sd3_config;
mod sequence;
mod signals;
mod single;
mod sizes;

pub(crate) use flux::Flux;
pub(crate) use flux_config::FluxConfig;
pub(crate) use sd3::Sd3;
pub(crate) use sd3_config::Sd3Config;
