//! The network: noisy latents in, what is noise in them out.

use candle_core::{Result, Tensor, bail};

use super::config::UnetConfig;
use super::embedding::TimeEmbedding;
use super::levels::{Around, Down, Middle, Up};
use super::transformer::Prompts;
use crate::arch::diffusion::Conditioning;
use crate::arch::{ArchError, Scope};
use crate::kernels::{Activation, Conv2d, GroupNorm, PixelGrid, Window};

/// The weights.
#[derive(Debug)]
pub(crate) struct Unet {
    prompt_width: usize,
    time: TimeEmbedding,
    first: Conv2d,
    down: Vec<Down>,
    middle: Option<Middle>,
    /// From the smallest pictures up.
    up: Vec<Up>,
    norm: GroupNorm,
    last: Conv2d,
}

impl Unet {
    /// Takes its tensors out of `scope`.
    pub(crate) fn load(scope: &Scope<'_>, config: &UnetConfig) -> std::result::Result<Self, ArchError> {
        let (levels, channels) = (0..config.levels.len(), config.levels[0].channels);
        let down = levels.clone().map(|level| Down::load(scope, config, level));
        let up = levels.rev().map(|level| Up::load(scope, config, level));
        Ok(Self {
            prompt_width: config.cross_attention_dim,
            time: TimeEmbedding::load(scope, config)?,
            first: scope.conv("conv_in", config.in_channels, channels, Window::SAME)?,
            down: down.collect::<std::result::Result<_, _>>()?,
            middle: config.middle.map(|layers| Middle::load(scope, config, layers)).transpose()?,
            up: up.collect::<std::result::Result<_, _>>()?,
            norm: scope.group_norm("conv_norm_out", channels, config.groups, config.eps)?,
            last: scope.conv("conv_out", channels, config.out_channels, Window::SAME)?,
        })
    }

    /// What the schedule asks of a denoiser: `[rows, in channels]` to `[rows, out channels]`. There is a time for
    /// each picture, as the schedule counts them, so pictures may be at different steps. A picture's result has the same bits whatever others there are.
    pub(crate) fn forward(
        &self,
        latents: &Tensor,
        grid: PixelGrid,
        times: &[f32],
        told: &Conditioning,
    ) -> Result<Tensor> {
        self.check(grid, times, told)?;
        let time = self.time.forward(times, told)?;
        let prompts = Prompts { tokens: &told.tokens, length: told.length };
        let around = Around { time: &time, prompts };
        let mut xs = self.first.forward(latents, grid)?;
        let mut seen = vec![(xs.clone(), grid)];
        let mut size = grid;
        for level in &self.down {
            (xs, size) = level.forward(xs, size, around, &mut seen)?;
        }
        if let Some(middle) = &self.middle {
            xs = middle.forward(&xs, size, around)?;
        }
        for level in &self.up {
            (xs, size) = level.forward(xs, size, around, &mut seen)?;
        }
        self.last.forward(&self.norm.forward(&xs, grid, Activation::Silu)?, grid)
    }

    fn check(&self, grid: PixelGrid, times: &[f32], told: &Conditioning) -> Result<()> {
        if times.len() != grid.pictures
            || told.tokens.dims() != [grid.pictures * told.length, self.prompt_width]
        {
            bail!("{} times and prompts {:?} for {grid:?}", times.len(), told.tokens.dims());
        }
        Ok(())
    }
}
