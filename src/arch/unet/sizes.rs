//! How many numbers a network has and holds.

use std::num::NonZeroUsize;

use super::config::{Level, UnetConfig};
use super::transformer::FEED_FORWARD_PIXELS;
use crate::arch::residual::ResidualShape;
use crate::kernels::{PixelGrid, scratch_numbers};

impl UnetConfig {
    /// How many numbers the weights of all convolutions and linear layers are, about: those that are kept in a
    /// narrower form where one is asked for.
    pub(crate) fn linear_numbers(&self) -> u64 {
        let levels = (0..self.levels.len()).map(|level| self.level_numbers(level));
        let lowest = self.lowest();
        let middle = if self.middle {
            2 * self.residual(lowest.channels, lowest.channels).linear_numbers()
                + self.transformer_numbers(lowest, lowest.middle)
        } else {
            0
        };
        levels.sum::<u64>() + middle
    }

    fn level_numbers(&self, level: usize) -> u64 {
        let at = self.levels[level];
        let (down, up) = (self.down_inputs(level), self.up_inputs(level));
        let (downs, ups) = (down.len() as u64, up.len() as u64);
        let residuals = down.into_iter().chain(up).map(|inputs| self.residual(inputs, at.channels));
        let residuals: u64 = residuals.map(ResidualShape::linear_numbers).sum();
        let transformers =
            downs * self.transformer_numbers(at, at.down) + ups * self.transformer_numbers(at, at.up);
        residuals + transformers + 18 * (at.channels * at.channels) as u64
    }

    fn transformer_numbers(&self, at: Level, layers: usize) -> u64 {
        let (width, prompt) = (at.channels as u64, self.cross_attention_dim as u64);
        let layer = 6 * width * width + 2 * prompt * width + 12 * width * width;
        let around = if layers == 0 { 0 } else { 2 * width * width };
        layer * layers as u64 + around
    }

    /// How many numbers a pass over pictures of this grid with prompts of `length` tokens holds at once on so many
    /// threads, beside weights, at most.
    pub(crate) fn pass_numbers(&self, grid: PixelGrid, length: usize, threads: NonZeroUsize) -> u64 {
        // All that the way down leaves, and the widest that any block makes of it.
        let mut seen = (grid.rows() * self.levels[0].channels) as u64;
        let mut widest = 0;
        for (index, level) in self.levels.iter().enumerate() {
            let pixels = grid.height.div_ceil(1 << index) * grid.width.div_ceil(1 << index);
            let rows = (grid.pictures * pixels) as u64;
            let halved = u64::from(index + 1 < self.levels.len());
            seen += rows * level.channels as u64 * level.blocks as u64
                + halved * rows / 4 * level.channels as u64;
            let inputs = self.up_inputs(index).into_iter().max().unwrap_or(level.channels);
            // What comes in is there twice: from where it came and put together.
            let residual = rows * (inputs as u64 + self.residual(inputs, level.channels).pixel_numbers());
            let transformer = if level.down.max(level.up) + level.middle == 0 {
                0
            } else {
                let scratch = scratch_numbers(level.heads, level.channels / level.heads, pixels.max(length));
                let inner = FEED_FORWARD_PIXELS.min(rows as usize).saturating_mul(13 * level.channels);
                let prompts = 2 * grid.pictures * length * level.channels;
                // The residual, its copy within, queries, keys, values and what attention makes of them.
                rows * 7 * level.channels as u64
                    + (scratch * threads.get().min(level.heads) + inner + prompts) as u64
            };
            widest = residual.max(transformer).max(widest);
        }
        seen + widest
    }
}
