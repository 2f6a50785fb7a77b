//! What is between the levels and the latents, in either half.

use candle_core::{Result, Tensor};

use super::attention::PixelAttention;
use super::config::AutoencoderConfig;
use crate::arch::residual::ResidualBlock;
use crate::arch::{ArchError, Scope};
use crate::kernels::PixelGrid;

/// Two residual blocks, and attention between them.
#[derive(Debug)]
pub(super) struct Middle {
    first: ResidualBlock,
    attention: Option<PixelAttention>,
    second: ResidualBlock,
}

impl Middle {
    pub(super) fn load(
        scope: &Scope<'_>,
        config: &AutoencoderConfig,
    ) -> std::result::Result<Self, ArchError> {
        let (scope, channels) = (scope.sub("mid_block"), config.lowest());
        let residual = |index: usize| {
            ResidualBlock::load(&scope.sub("resnets").sub(index), config.residual(channels, channels))
        };
        let attention = config
            .attention
            .then(|| PixelAttention::load(&scope.sub("attentions.0"), channels, config.groups));
        Ok(Self { first: residual(0)?, attention: attention.transpose()?, second: residual(1)? })
    }

    /// `[rows, channels]` to the same.
    pub(super) fn forward(&self, xs: &Tensor, grid: PixelGrid) -> Result<Tensor> {
        let mut xs = self.first.forward(xs, grid, None)?;
        if let Some(attention) = &self.attention {
            xs = attention.forward(&xs, grid)?;
        }
        self.second.forward(&xs, grid, None)
    }
}
