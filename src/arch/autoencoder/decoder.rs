//! From latents to pictures.

use candle_core::{Result, Tensor};

use super::config::{AutoencoderConfig, COLORS, EPS};
use super::middle::Middle;
use crate::arch::residual::ResidualBlock;
use crate::arch::{ArchError, Scope};
use crate::kernels::{Activation, Conv2d, GroupNorm, PixelGrid, Window};

/// The half that makes pictures.
#[derive(Debug)]
pub(super) struct Decoder {
    first: Conv2d,
    middle: Middle,
    levels: Vec<Level>,
    norm: GroupNorm,
    last: Conv2d,
}

#[derive(Debug)]
struct Level {
    blocks: Vec<ResidualBlock>,
    /// On all levels but the last.
    doubling: Option<Conv2d>,
}

impl Decoder {
    pub(super) fn load(
        scope: &Scope<'_>,
        config: &AutoencoderConfig,
    ) -> std::result::Result<Self, ArchError> {
        let (largest, lowest) = (config.channels[0], config.lowest());
        let levels = (0..config.channels.len()).map(|level| Level::load(scope, config, level));
        Ok(Self {
            first: scope.conv("conv_in", config.latent_channels, lowest, Window::SAME)?,
            middle: Middle::load(scope, config)?,
            levels: levels.collect::<std::result::Result<_, _>>()?,
            norm: scope.group_norm("conv_norm_out", largest, config.groups, EPS)?,
            last: scope.conv("conv_out", largest, COLORS, Window::SAME)?,
        })
    }

    /// `[rows, latent channels]` to `[rows of the pictures, colors]`.
    pub(super) fn forward(&self, latents: &Tensor, grid: PixelGrid) -> Result<(Tensor, PixelGrid)> {
        let mut xs = self.middle.forward(&self.first.forward(latents, grid)?, grid)?;
        let mut size = grid;
        for level in &self.levels {
            for block in &level.blocks {
                xs = block.forward(&xs, size, None)?;
            }
            if let Some(doubling) = &level.doubling {
                (xs, size) = (doubling.forward(&xs, size)?, doubling.result(size));
            }
        }
        let xs = self.norm.forward(&xs, size, Activation::Silu)?;
        Ok((self.last.forward(&xs, size)?, size))
    }
}

impl Level {
    /// The way up counts from the smallest pictures.
    fn load(
        scope: &Scope<'_>,
        config: &AutoencoderConfig,
        level: usize,
    ) -> std::result::Result<Self, ArchError> {
        let scope = scope.sub("up_blocks").sub(level);
        let upwards: Vec<usize> = config.channels.iter().rev().copied().collect();
        let (channels, below) = (upwards[level], upwards[level.saturating_sub(1)]);
        let blocks = (0..=config.blocks).map(|index| {
            let inputs = if index == 0 { below } else { channels };
            ResidualBlock::load(&scope.sub("resnets").sub(index), config.residual(inputs, channels))
        });
        let doubling = (level + 1 < upwards.len())
            .then(|| scope.conv("upsamplers.0.conv", channels, channels, Window::DOUBLING));
        Ok(Self { blocks: blocks.collect::<std::result::Result<_, _>>()?, doubling: doubling.transpose()? })
    }
}
