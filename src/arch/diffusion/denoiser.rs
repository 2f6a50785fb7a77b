//! The networks that see noise in latents, behind one face.

use std::num::NonZeroUsize;

use candle_core::{Result, Tensor};

use super::Conditioning;
use super::index::{Family, Index};
use super::schedule::Levels;
use crate::arch::bounds::bad;
use crate::arch::unet::{Unet, UnetConfig};
use crate::arch::{ArchError, Scope};
use crate::kernels::PixelGrid;

/// The shape of a network.
#[derive(Clone, Debug)]
pub(super) enum DenoiserConfig {
    Unet(UnetConfig),
}

/// A network.
#[derive(Debug)]
pub(super) enum Denoiser {
    Unet(Unet),
}

/// How a network is made to follow a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Following {
    /// It looks twice, and the difference is made larger (Ho and Salimans, arXiv 2207.12598).
    Twice,
    /// It is told how strongly to.
    Told,
    /// As it was trained to.
    Trained,
}

impl DenoiserConfig {
    pub(super) fn read(index: &Index) -> std::result::Result<Self, ArchError> {
        let config = Self::Unet(UnetConfig::read(&index.part("unet")?)?);
        config.check(index.family)?;
        Ok(config)
    }

    fn check(&self, family: Family) -> std::result::Result<(), ArchError> {
        let Self::Unet(config) = self;
        if config.in_channels != config.out_channels {
            let expected = format!("latents have {} channels", config.in_channels);
            return Err(bad("out_channels", config.out_channels, expected));
        }
        let xl = family == Family::StableDiffusionXl;
        if config.addition.is_some() != xl {
            let expected = if xl { "\"text_time\"" } else { "null" };
            let expected = format!("a pipeline of {} has {expected} there", family.name());
            return Err(bad("addition_embed_type", if xl { "null" } else { "text_time" }, expected));
        }
        Ok(())
    }

    /// The part of the folder that it is.
    pub(super) fn part(&self) -> &'static str {
        match self {
            Self::Unet(_) => "unet",
        }
    }

    /// Channels of latents.
    pub(super) fn channels(&self) -> usize {
        match self {
            Self::Unet(config) => config.in_channels,
        }
    }

    /// What sides of latents must be a multiple of.
    pub(super) fn side_multiple(&self) -> usize {
        match self {
            Self::Unet(_) => 1,
        }
    }

    /// Pixels on a side of latents as it was trained.
    pub(super) fn native_side(&self) -> usize {
        match self {
            Self::Unet(config) => config.sample_size,
        }
    }

    /// The width of prompt tokens' vectors.
    pub(super) fn token_width(&self) -> usize {
        match self {
            Self::Unet(config) => config.cross_attention_dim,
        }
    }

    /// The width of the vector of a prompt as a whole, if it is told one.
    pub(super) fn pooled_width(&self) -> Option<usize> {
        match self {
            Self::Unet(config) => config.addition.map(|addition| addition.pooled_width),
        }
    }

    pub(super) fn following(&self) -> Following {
        match self {
            Self::Unet(config) if config.guidance_width.is_some() => Following::Told,
            Self::Unet(_) => Following::Twice,
        }
    }

    /// Where noise levels come from, if they are those of straight lines.
    pub(super) fn levels(&self) -> Levels {
        match self {
            Self::Unet(_) => Levels::Trained,
        }
    }

    /// How many tokens a picture is to it.
    pub(super) fn tokens(&self, grid: PixelGrid) -> usize {
        match self {
            Self::Unet(_) => grid.pixels(),
        }
    }

    pub(super) fn linear_numbers(&self) -> u64 {
        match self {
            Self::Unet(config) => config.linear_numbers(),
        }
    }

    /// How many numbers a pass holds at most.
    pub(super) fn pass_numbers(&self, grid: PixelGrid, length: usize, threads: NonZeroUsize) -> u64 {
        match self {
            Self::Unet(config) => config.pass_numbers(grid, length, threads),
        }
    }

    pub(super) fn load(&self, scope: &Scope<'_>) -> std::result::Result<Denoiser, ArchError> {
        Ok(match self {
            Self::Unet(config) => Denoiser::Unet(Unet::load(scope, config)?),
        })
    }
}

impl Denoiser {
    /// What the schedule asks for: `[rows, channels]` to the same.
    pub(super) fn forward(
        &self,
        latents: &Tensor,
        grid: PixelGrid,
        times: &[f32],
        told: &Conditioning,
    ) -> Result<Tensor> {
        match self {
            Self::Unet(network) => network.forward(latents, grid, times, told),
        }
    }
}
