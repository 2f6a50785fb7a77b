//! From pictures to latents.

use candle_core::{Result, Tensor};

use super::config::{AutoencoderConfig, COLORS, EPS};
use super::middle::Middle;
use crate::arch::residual::ResidualBlock;
use crate::arch::{ArchError, Scope};
use crate::kernels::{Activation, Conv2d, GroupNorm, PixelGrid, Window};

/// The half that reads pictures.
#[derive(Debug)]
pub(super) struct Encoder {
    first: Conv2d,
    levels: Vec<Level>,
    middle: Middle,
    norm: GroupNorm,
    last: Conv2d,
}

#[derive(Debug)]
struct Level {
    blocks: Vec<ResidualBlock>,
    /// On all levels but the last.
    halving: Option<Conv2d>,
}

impl Encoder {
    pub(super) fn load(
        scope: &Scope<'_>,
        config: &AutoencoderConfig,
    ) -> std::result::Result<Self, ArchError> {
        let lowest = config.lowest();
        let levels = (0..config.channels.len()).map(|level| Level::load(scope, config, level));
        Ok(Self {
            first: scope.conv("conv_in", COLORS, config.channels[0], Window::SAME)?,
            levels: levels.collect::<std::result::Result<_, _>>()?,
            middle: Middle::load(scope, config)?,
            norm: scope.group_norm("conv_norm_out", lowest, config.groups, EPS)?,
            // A mean and the logarithm of a variance for each number.
            last: scope.conv("conv_out", lowest, 2 * config.latent_channels, Window::SAME)?,
        })
    }

    /// `[rows, colors]` to `[rows of the latents, 2 x latent channels]`.
    pub(super) fn forward(&self, pixels: &Tensor, grid: PixelGrid) -> Result<(Tensor, PixelGrid)> {
        let mut xs = self.first.forward(pixels, grid)?;
        let mut size = grid;
        for level in &self.levels {
            for block in &level.blocks {
                xs = block.forward(&xs, size, None)?;
            }
            if let Some(halving) = &level.halving {
                (xs, size) = (halving.forward(&xs, size)?, halving.result(size));
            }
        }
        let xs = self.norm.forward(&self.middle.forward(&xs, size)?, size, Activation::Silu)?;
        Ok((self.last.forward(&xs, size)?, size))
    }
}

impl Level {
    fn load(
        scope: &Scope<'_>,
        config: &AutoencoderConfig,
        level: usize,
    ) -> std::result::Result<Self, ArchError> {
        let scope = scope.sub("down_blocks").sub(level);
        let (channels, above) = (config.channels[level], config.channels[level.saturating_sub(1)]);
        let blocks = (0..config.blocks).map(|index| {
            let inputs = if index == 0 { above } else { channels };
            ResidualBlock::load(&scope.sub("resnets").sub(index), config.residual(inputs, channels))
        });
        let halving = (level + 1 < config.channels.len())
            .then(|| scope.conv("downsamplers.0.conv", channels, channels, Window::HALVING_AFTER));
        Ok(Self { blocks: blocks.collect::<std::result::Result<_, _>>()?, halving: halving.transpose()? })
    }
}
