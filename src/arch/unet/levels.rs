//! The two halves of the U, and what is between them.

use candle_core::{Result, Tensor, bail};

use super::config::UnetConfig;
use super::transformer::{Prompts, Transformer};
use crate::arch::residual::{ResidualBlock, ResidualShape};
use crate::arch::{ArchError, Scope};
use crate::kernels::{Conv2d, PixelGrid, Window};

/// What goes through all levels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around<'a> {
    /// `[pictures, time width]`
    pub(super) time: &'a Tensor,
    pub(super) prompts: Prompts<'a>,
}

/// A residual block and the transformer after it.
#[derive(Debug)]
struct Stage {
    residual: ResidualBlock,
    transformer: Option<Transformer>,
}

/// A level on the way down.
#[derive(Debug)]
pub(super) struct Down {
    stages: Vec<Stage>,
    /// On all levels but the last.
    halving: Option<Conv2d>,
}

/// Between the halves.
#[derive(Debug)]
pub(super) struct Middle {
    first: ResidualBlock,
    transformer: Transformer,
    second: ResidualBlock,
}

/// A level on the way up.
#[derive(Debug)]
pub(super) struct Up {
    stages: Vec<Stage>,
    /// On all levels but the last.
    doubling: Option<Conv2d>,
}

/// What the way down leaves for the way up: pictures and their sizes.
pub(super) type Seen = Vec<(Tensor, PixelGrid)>;

impl Stage {
    fn load(
        scope: &Scope<'_>,
        config: &UnetConfig,
        level: usize,
        index: usize,
        inputs: usize,
        layers: usize,
    ) -> std::result::Result<Self, ArchError> {
        let at = config.levels[level];
        let shape = config.residual(inputs, at.channels);
        let transformer = (layers > 0).then(|| {
            let scope = scope.sub("attentions").sub(index);
            Transformer::load(&scope, config, at.channels, at.heads, layers)
        });
        Ok(Self {
            residual: ResidualBlock::load(&scope.sub("resnets").sub(index), shape)?,
            transformer: transformer.transpose()?,
        })
    }

    fn forward(&self, xs: &Tensor, grid: PixelGrid, around: Around<'_>) -> Result<Tensor> {
        let xs = self.residual.forward(xs, grid, Some(around.time))?;
        match &self.transformer {
            Some(transformer) => transformer.forward(&xs, grid, around.prompts),
            None => Ok(xs),
        }
    }
}

impl UnetConfig {
    pub(super) fn residual(&self, inputs: usize, outputs: usize) -> ResidualShape {
        let time = Some(self.time_width());
        ResidualShape { inputs, outputs, time, groups: self.groups, eps: self.eps }
    }

    /// Channels that go into each residual block of a level on the way down.
    pub(super) fn down_inputs(&self, level: usize) -> Vec<usize> {
        let (at, above) = (self.levels[level], self.levels[level.saturating_sub(1)]);
        (0..at.blocks).map(|block| if block == 0 { above.channels } else { at.channels }).collect()
    }

    /// Channels that go into each residual block of a level on the way up: what comes from below, or from the block
    /// before, and what was seen on the way down.
    pub(super) fn up_inputs(&self, level: usize) -> Vec<usize> {
        let at = self.levels[level];
        let above = self.levels[level.saturating_sub(1)];
        let below = self.levels[(level + 1).min(self.levels.len() - 1)];
        let from = |block| if block == 0 { below.channels } else { at.channels };
        // The last thing left to take is what the level above handed down.
        let seen = |block| if block == at.blocks { above.channels } else { at.channels };
        (0..=at.blocks).map(|block| from(block) + seen(block)).collect()
    }
}

/// The stages of a level on either way, into which so many channels go; `layers` of a transformer after each.
fn load_stages(
    scope: &Scope<'_>,
    config: &UnetConfig,
    level: usize,
    inputs: Vec<usize>,
    layers: usize,
) -> std::result::Result<Vec<Stage>, ArchError> {
    let stage = |(index, inputs)| Stage::load(scope, config, level, index, inputs, layers);
    inputs.into_iter().enumerate().map(stage).collect()
}

impl Down {
    pub(super) fn load(
        scope: &Scope<'_>,
        config: &UnetConfig,
        level: usize,
    ) -> std::result::Result<Self, ArchError> {
        let (scope, at) = (scope.sub("down_blocks").sub(level), config.levels[level]);
        let stages = load_stages(&scope, config, level, config.down_inputs(level), at.down)?;
        let halving = level + 1 < config.levels.len();
        let halving =
            halving.then(|| scope.conv("downsamplers.0.conv", at.channels, at.channels, Window::HALVING));
        Ok(Self { stages, halving: halving.transpose()? })
    }

    pub(super) fn forward(
        &self,
        mut xs: Tensor,
        grid: PixelGrid,
        around: Around<'_>,
        seen: &mut Seen,
    ) -> Result<(Tensor, PixelGrid)> {
        for stage in &self.stages {
            xs = stage.forward(&xs, grid, around)?;
            seen.push((xs.clone(), grid));
        }
        let Some(halving) = &self.halving else { return Ok((xs, grid)) };
        let (xs, grid) = (halving.forward(&xs, grid)?, halving.result(grid));
        seen.push((xs.clone(), grid));
        Ok((xs, grid))
    }
}

impl Middle {
    pub(super) fn load(
        scope: &Scope<'_>,
        config: &UnetConfig,
        layers: usize,
    ) -> std::result::Result<Self, ArchError> {
        let (scope, at) = (scope.sub("mid_block"), config.lowest());
        let residual = |index: usize| {
            ResidualBlock::load(&scope.sub("resnets").sub(index), config.residual(at.channels, at.channels))
        };
        let attention = scope.sub("attentions.0");
        Ok(Self {
            first: residual(0)?,
            transformer: Transformer::load(&attention, config, at.channels, at.heads, layers)?,
            second: residual(1)?,
        })
    }

    pub(super) fn forward(&self, xs: &Tensor, grid: PixelGrid, around: Around<'_>) -> Result<Tensor> {
        let xs = self.first.forward(xs, grid, Some(around.time))?;
        let xs = self.transformer.forward(&xs, grid, around.prompts)?;
        self.second.forward(&xs, grid, Some(around.time))
    }
}

impl Up {
    /// The way up counts from the smallest pictures.
    pub(super) fn load(
        scope: &Scope<'_>,
        config: &UnetConfig,
        level: usize,
    ) -> std::result::Result<Self, ArchError> {
        let scope = scope.sub("up_blocks").sub(config.levels.len() - 1 - level);
        let at = config.levels[level];
        let stages = load_stages(&scope, config, level, config.up_inputs(level), at.up)?;
        let doubling =
            (level > 0).then(|| scope.conv("upsamplers.0.conv", at.channels, at.channels, Window::DOUBLING));
        Ok(Self { stages, doubling: doubling.transpose()? })
    }

    pub(super) fn forward(
        &self,
        mut xs: Tensor,
        grid: PixelGrid,
        around: Around<'_>,
        seen: &mut Seen,
    ) -> Result<(Tensor, PixelGrid)> {
        for stage in &self.stages {
            let Some((before, size)) = seen.pop() else {
                bail!("the way up has more blocks than the way down")
            };
            if size != grid {
                bail!("{grid:?} on the way up where {size:?} was on the way down");
            }
            xs = stage.forward(&Tensor::cat(&[xs, before], 1)?, grid, around)?;
        }
        match self.doubling.as_ref().zip(seen.last()) {
            // To the size that was halved, which may have been odd.
            Some((doubling, (_, size))) => Ok((doubling.forward_to(&xs, grid, *size)?, *size)),
            None => Ok((xs, grid)),
        }
    }
}
