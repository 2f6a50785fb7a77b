//! From the smaller space that denoisers work in to pictures: the half of an autoencoder of convolutions that makes
//! them. Kingma and
//! Welling, "Auto-Encoding Variational Bayes", arXiv 1312.6114; Rombach et al., arXiv 2112.10752. Reference:
//! `AutoencoderKL` of Hugging Face diffusers.

#[cfg(test)]
mod agreement;
mod attention;
mod config;
mod decoder;
mod middle;
mod network;
mod tiles;

pub(crate) use config::AutoencoderConfig;
pub(crate) use network::Autoencoder;
pub(crate) use tiles::Tiles;
