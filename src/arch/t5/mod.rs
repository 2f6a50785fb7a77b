//! T5's encoder, which reads prompts for networks that draw.
//!
//! Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", arXiv
//! 1910.10683; version 1.1 gates its feed-forward parts, as Shazeer, arXiv 2002.05202, has it. An encoder that
//! normalises before each part, with the layers of [`encoder`](super::encoder): it knows where tokens are by their
//! distances alone, and does not scale its scores. Reference: `modeling_t5.py` of Hugging Face transformers.

#[cfg(test)]
mod agreement;
mod config;
mod network;

pub(crate) use config::T5Config;
pub(crate) use network::T5Encoder;
