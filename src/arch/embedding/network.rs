//! The kinds of network: two give every token of a text a vector, one gives the text one.

use std::num::NonZeroUsize;

use candle_core::{Result, Tensor};

use crate::arch::bounds::not_supported;
use crate::arch::decoder::{Body, DecoderConfig};
use crate::arch::encoder::{self, EncoderConfig};
use crate::arch::packed::PackedTexts;
use crate::arch::text_tower::{self, TextTowerConfig};
use crate::arch::{ArchError, Architecture, Parts, Scope, is_vit};
use crate::weights::ModelFolder;

/// What reads texts.
const TEXTUAL: [&str; 3] = ["encoders", "decoders", "CLIP and SigLIP with a tokenizer"];

/// The shape of a network.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NetworkConfig {
    /// Every token sees the whole text, or a window around it.
    Encoder(EncoderConfig),
    /// Every token sees what is before it; or the whole text, where a decoder was trained anew to embed.
    Decoder(DecoderConfig),
    /// The part of a model of pictures and texts that reads the texts.
    TextTower(TextTowerConfig),
}

/// A network's weights.
#[derive(Debug)]
pub(super) enum Network {
    Encoder(encoder::Network),
    /// Without a head: nothing is asked for but the tokens' vectors.
    Decoder(Body),
    TextTower(text_tower::Network),
}

impl NetworkConfig {
    /// Reads `config.json`.
    pub(super) fn read(folder: &ModelFolder) -> std::result::Result<Self, ArchError> {
        let family = Architecture::of(folder)?;
        let reads_pictures =
            matches!(family, Architecture::Clip | Architecture::Siglip | Architecture::Siglip2);
        if reads_pictures && Parts::of(folder)?.texts {
            return Ok(Self::TextTower(TextTowerConfig::read(folder, family)?));
        }
        if is_vit(family) {
            return Err(not_supported("architecture of text embedding", family.model_type(), &TEXTUAL));
        }
        match EncoderConfig::read(folder, family)? {
            Some(config) => Ok(Self::Encoder(config)),
            None => Ok(Self::Decoder(DecoderConfig::read(folder)?)),
        }
    }

    /// The family.
    pub fn architecture(&self) -> Architecture {
        match self {
            Self::Encoder(config) => config.architecture,
            Self::Decoder(config) => Architecture::Decoder(config.family),
            Self::TextTower(config) => config.architecture,
        }
    }

    /// The width of a token's vector, or of a text's where a network gives that.
    pub fn width(&self) -> usize {
        match self {
            Self::Encoder(config) => config.hidden_size,
            Self::Decoder(config) => config.hidden_size,
            Self::TextTower(config) => config.dimensions,
        }
    }

    /// How many different tokens there are.
    pub(super) fn vocab_size(&self) -> usize {
        match self {
            Self::Encoder(config) => config.vocab_size,
            Self::Decoder(config) => config.vocab_size,
            Self::TextTower(config) => config.vocab_size,
        }
    }

    /// How many tokens a text can have.
    pub(super) fn positions(&self) -> usize {
        match self {
            Self::Encoder(config) => config.max_positions,
            Self::Decoder(config) => config.context,
            Self::TextTower(config) => config.max_positions,
        }
    }

    /// How many segments there are, where it is the tokenizer that says which a token is in.
    pub(super) fn segments(&self) -> Option<usize> {
        match self {
            Self::Encoder(config) => config.given_segments(),
            Self::Decoder(_) | Self::TextTower(_) => None,
        }
    }

    /// How many vectors the network gives for a text of so many tokens.
    pub(super) fn vectors_of(&self, tokens: usize) -> usize {
        match self {
            Self::Encoder(_) | Self::Decoder(_) => tokens,
            Self::TextTower(_) => tokens.min(1),
        }
    }

    /// How long texts are filled up to, and with what unless the tokenizer names a token for that.
    pub(super) fn filled(&self) -> Option<(usize, u32)> {
        match self {
            Self::Encoder(_) | Self::Decoder(_) => None,
            Self::TextTower(config) => config.filled(),
        }
    }

    /// Whether a tensor of this name in a checkpoint is one that is loaded.
    pub(super) fn is_own(&self, name: &str) -> bool {
        match self {
            Self::Encoder(_) | Self::Decoder(_) => true,
            Self::TextTower(_) => !["vision_", "visual_"].iter().any(|part| name.starts_with(part)),
        }
    }

    /// How many numbers the weights of all linear layers are.
    pub(super) fn linear_numbers(&self) -> u64 {
        match self {
            Self::Encoder(config) => config.linear_numbers(),
            Self::Decoder(config) => config.linear_numbers(),
            Self::TextTower(config) => config.linear_numbers(),
        }
    }

    /// How many numbers are computed once and shared by all workers, for texts of up to `length` tokens.
    pub(super) fn table_numbers(&self, length: usize) -> u64 {
        match self {
            Self::Encoder(config) => config.table_numbers(length),
            Self::Decoder(_) => 0,
            Self::TextTower(config) => config.table_numbers(),
        }
    }

    /// How many numbers a pass holds at most that computes `batch` tokens of texts of up to `length`, or one
    /// longer text alone, on so many threads.
    pub(super) fn pass_numbers(&self, batch: usize, length: usize, threads: NonZeroUsize) -> u64 {
        match self {
            Self::Encoder(config) => config.pass_numbers(batch, length, threads),
            Self::Decoder(config) => config.pass_numbers(batch, length, threads),
            Self::TextTower(config) => config.pass_numbers(batch, threads),
        }
    }

    /// Takes the network's tensors out of `root`, for texts of at most `length` tokens.
    pub(super) fn load(&self, root: &Scope<'_>, length: usize) -> std::result::Result<Network, ArchError> {
        Ok(match self {
            Self::Encoder(config) => Network::Encoder(encoder::Network::load(root, config, length)?),
            Self::Decoder(config) => Network::Decoder(Body::of_checkpoint(root, config)?),
            Self::TextTower(config) => Network::TextTower(text_tower::Network::load(root, config)?),
        })
    }
}

impl Network {
    /// One vector per token or per text, as [`NetworkConfig::vectors_of`] says, `[vectors, width]`. There must be
    /// at least one token; ids and segments must be within the tables, and no text longer than the
    /// network was loaded for.
    pub(super) fn forward(&self, texts: &PackedTexts) -> Result<Tensor> {
        match self {
            Self::Encoder(network) => network.forward(texts),
            Self::Decoder(body) => body.read(texts),
            Self::TextTower(network) => network.forward(texts),
        }
    }
}
