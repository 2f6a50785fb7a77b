//! The two kinds of network that give every token of a text a vector.

use std::num::NonZeroUsize;

use candle_core::{Result, Tensor};

use crate::arch::decoder::{Body, DecoderConfig};
use crate::arch::encoder::{self, EncoderConfig};
use crate::arch::packed::PackedTexts;
use crate::arch::{ArchError, Architecture, Scope};
use crate::weights::ModelFolder;

/// The shape of a network.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NetworkConfig {
    /// Every token sees the whole text, or a window around it.
    Encoder(EncoderConfig),
    /// Every token sees what is before it; or the whole text, where a decoder was trained anew to embed.
    Decoder(DecoderConfig),
}

/// A network's weights.
#[derive(Debug)]
pub(super) enum Network {
    Encoder(encoder::Network),
    /// Without a head: nothing is asked for but the tokens' vectors.
    Decoder(Body),
}

impl NetworkConfig {
    /// Reads `config.json`.
    pub(super) fn read(folder: &ModelFolder) -> std::result::Result<Self, ArchError> {
        match EncoderConfig::read(folder, Architecture::of(folder)?)? {
            Some(config) => Ok(Self::Encoder(config)),
            None => Ok(Self::Decoder(DecoderConfig::read(folder)?)),
        }
    }

    /// The family.
    pub fn architecture(&self) -> Architecture {
        match self {
            Self::Encoder(config) => config.architecture,
            Self::Decoder(config) => Architecture::Decoder(config.family),
        }
    }

    /// The width of a token's vector.
    pub fn width(&self) -> usize {
        match self {
            Self::Encoder(config) => config.hidden_size,
            Self::Decoder(config) => config.hidden_size,
        }
    }

    /// How many different tokens there are.
    pub(super) fn vocab_size(&self) -> usize {
        match self {
            Self::Encoder(config) => config.vocab_size,
            Self::Decoder(config) => config.vocab_size,
        }
    }

    /// How many tokens a text can have.
    pub(super) fn positions(&self) -> usize {
        match self {
            Self::Encoder(config) => config.max_positions,
            Self::Decoder(config) => config.context,
        }
    }

    /// How many segments there are, where it is the tokenizer that says which a token is in.
    pub(super) fn segments(&self) -> Option<usize> {
        match self {
            Self::Encoder(config) => config.given_segments(),
            Self::Decoder(_) => None,
        }
    }

    /// How many numbers the weights of all linear layers are.
    pub(super) fn linear_numbers(&self) -> u64 {
        match self {
            Self::Encoder(config) => config.linear_numbers(),
            Self::Decoder(config) => config.linear_numbers(),
        }
    }

    /// How many numbers are computed once and shared by all workers, for texts of up to `length` tokens.
    pub(super) fn table_numbers(&self, length: usize) -> u64 {
        match self {
            Self::Encoder(config) => config.table_numbers(length),
            Self::Decoder(_) => 0,
        }
    }

    /// How many numbers a pass holds at most that computes `batch` tokens of texts of up to `length`, or one
    /// longer text alone, on so many threads.
    pub(super) fn pass_numbers(&self, batch: usize, length: usize, threads: NonZeroUsize) -> u64 {
        match self {
            Self::Encoder(config) => config.pass_numbers(batch, length, threads),
            Self::Decoder(config) => config.pass_numbers(batch, length, threads),
        }
    }

    /// Takes the network's tensors out of `root`, for texts of at most `length` tokens.
    pub(super) fn load(&self, root: &Scope<'_>, length: usize) -> std::result::Result<Network, ArchError> {
        Ok(match self {
            Self::Encoder(config) => Network::Encoder(encoder::Network::load(root, config, length)?),
            Self::Decoder(config) => Network::Decoder(Body::of_checkpoint(root, config)?),
        })
    }
}

impl Network {
    /// One vector per token, `[tokens, width]`. There must be at least one token; ids and segments must be
    /// within the tables, and no text longer than the network was loaded for.
    pub(super) fn forward(&self, texts: &PackedTexts) -> Result<Tensor> {
        match self {
            Self::Encoder(network) => network.forward(texts),
            Self::Decoder(body) => body.read(texts),
        }
    }
}
