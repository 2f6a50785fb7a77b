//! The networks that see noise in latents, behind one face.

use std::num::NonZeroUsize;

use candle_core::{Result, Tensor};
use serde::Deserialize;

use super::Conditioning;
use super::index::{Family, Index};
use super::schedule::Levels;
use crate::arch::bounds::{bad, within};
use crate::arch::diffusion_transformer::{Flux, FluxConfig, Sd3, Sd3Config};
use crate::arch::unet::{Unet, UnetConfig};
use crate::arch::{ArchError, Scope, read_required};
use crate::kernels::PixelGrid;

/// The shape of a network.
#[derive(Clone, Debug)]
pub(super) enum DenoiserConfig {
    Unet(UnetConfig),
    /// With pixels on a side of the latents it was trained with.
    Sd3(Sd3Config, usize),
    Flux(FluxConfig),
}

/// A network.
#[derive(Debug)]
pub(super) enum Denoiser {
    Unet(Box<Unet>),
    Sd3(Box<Sd3>),
    Flux(Box<Flux>),
}

/// Of FLUX.1, whose file does not say: pixels on a side of the latents it was trained with.
const FLUX_SIDE: usize = 128;

/// How many of the schedule's times are one of FLUX.1's.
const FLUX_TIMES: f32 = 1000.0;

/// The part of `transformer/config.json` that bears on nothing inside.
#[derive(Deserialize)]
struct Trained {
    sample_size: Option<usize>,
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
        match index.family {
            Family::StableDiffusion3 => {
                let folder = index.part("transformer")?;
                let trained: Trained = read_required(&folder, "config.json")?;
                let side = trained.sample_size.unwrap_or(128);
                within("sample_size", side, 1..=1024)?;
                Ok(Self::Sd3(Sd3Config::read(&folder)?, side))
            }
            Family::Flux => Ok(Self::Flux(FluxConfig::read(&index.part("transformer")?)?)),
            family => {
                let config = UnetConfig::read(&index.part("unet")?)?;
                Self::check_unet(&config, family)?;
                Ok(Self::Unet(config))
            }
        }
    }

    fn check_unet(config: &UnetConfig, family: Family) -> std::result::Result<(), ArchError> {
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
            Self::Sd3(..) | Self::Flux(_) => "transformer",
        }
    }

    /// Channels of latents.
    pub(super) fn channels(&self) -> usize {
        match self {
            Self::Unet(config) => config.in_channels,
            Self::Sd3(config, _) => config.frame.channels,
            Self::Flux(config) => config.frame.channels,
        }
    }

    /// What sides of latents must be a multiple of.
    pub(super) fn side_multiple(&self) -> usize {
        match self {
            Self::Unet(_) => 1,
            Self::Sd3(config, _) => config.frame.side,
            Self::Flux(config) => config.frame.side,
        }
    }

    /// Pixels on a side of latents as it was trained.
    pub(super) fn native_side(&self) -> usize {
        match self {
            Self::Unet(config) => config.sample_size,
            Self::Sd3(_, side) => *side,
            Self::Flux(_) => FLUX_SIDE,
        }
    }

    /// The width of prompt tokens' vectors.
    pub(super) fn token_width(&self) -> usize {
        match self {
            Self::Unet(config) => config.cross_attention_dim,
            Self::Sd3(config, _) => config.frame.token_width,
            Self::Flux(config) => config.frame.token_width,
        }
    }

    /// The width of the vector of a prompt as a whole, if it is told one.
    pub(super) fn pooled_width(&self) -> Option<usize> {
        match self {
            Self::Unet(config) => config.addition.map(|addition| addition.pooled_width),
            Self::Sd3(config, _) => Some(config.frame.pooled_width),
            Self::Flux(config) => Some(config.frame.pooled_width),
        }
    }

    pub(super) fn following(&self) -> Following {
        match self {
            Self::Unet(config) if config.guidance_width.is_some() => Following::Told,
            Self::Unet(_) | Self::Sd3(..) => Following::Twice,
            Self::Flux(config) if config.guided => Following::Told,
            Self::Flux(_) => Following::Trained,
        }
    }

    /// The most pixels of latents along a side, where places are counted.
    pub(super) fn longest_side(&self) -> usize {
        match self {
            Self::Unet(_) | Self::Flux(_) => usize::MAX,
            Self::Sd3(config, _) => config.places * config.frame.side,
        }
    }

    /// Where noise levels come from, if they are those of straight lines.
    pub(super) fn levels(&self) -> Levels {
        match self {
            Self::Unet(_) | Self::Sd3(..) => Levels::Trained,
            Self::Flux(_) => Levels::Even,
        }
    }

    /// How many tokens a picture is to it.
    pub(super) fn tokens(&self, grid: PixelGrid) -> usize {
        match self {
            Self::Unet(_) => grid.pixels(),
            Self::Sd3(config, _) => grid.pixels() / (config.frame.side * config.frame.side),
            Self::Flux(config) => grid.pixels() / (config.frame.side * config.frame.side),
        }
    }

    pub(super) fn linear_numbers(&self) -> u64 {
        match self {
            Self::Unet(config) => config.linear_numbers(),
            Self::Sd3(config, _) => config.linear_numbers(),
            Self::Flux(config) => config.linear_numbers(),
        }
    }

    /// How many numbers a pass holds at most.
    pub(super) fn pass_numbers(&self, grid: PixelGrid, length: usize, threads: NonZeroUsize) -> u64 {
        match self {
            Self::Unet(config) => config.pass_numbers(grid, length, threads),
            Self::Sd3(config, _) => config.pass_numbers(grid, length, threads),
            Self::Flux(config) => config.pass_numbers(grid, length, threads),
        }
    }

    pub(super) fn load(&self, scope: &Scope<'_>) -> std::result::Result<Denoiser, ArchError> {
        Ok(match self {
            Self::Unet(config) => Denoiser::Unet(Box::new(Unet::load(scope, config)?)),
            Self::Sd3(config, _) => Denoiser::Sd3(Box::new(Sd3::load(scope, config)?)),
            Self::Flux(config) => Denoiser::Flux(Box::new(Flux::load(scope, config)?)),
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
            Self::Sd3(network) => network.forward(latents, grid, times, told),
            Self::Flux(network) => {
                let times: Vec<f32> = times.iter().map(|time| time / FLUX_TIMES).collect();
                network.forward(latents, grid, &times, told)
            }
        }
    }
}
