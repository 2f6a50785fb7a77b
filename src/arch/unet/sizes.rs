//! How many numbers a network has and holds.

use std::num::NonZeroUsize;

use super::config::{Level, SIZES, UnetConfig};
use crate::arch::encoder::FEED_FORWARD_ROWS;
use crate::arch::residual::ResidualShape;
use crate::kernels::{PixelGrid, conv_scratch_numbers, scratch_numbers};

impl UnetConfig {
    /// How many numbers the weights of all convolutions and linear layers are.
    pub(crate) fn linear_numbers(&self) -> u64 {
        let (first, time) = (self.levels[0].channels as u64, self.time_width() as u64);
        let ends = 9 * first * (self.in_channels + self.out_channels) as u64;
        let told =
            self.addition.map_or(0, |told| (SIZES * told.time_width + told.pooled_width) as u64 + time);
        let times = first * (time + self.guidance_width.unwrap_or(0) as u64) + time * (time + told);
        let levels = (0..self.levels.len()).map(|level| self.level_numbers(level));
        let middle = self.middle.map_or(0, |layers| {
            let lowest = self.lowest();
            2 * self.residual(lowest.channels, lowest.channels).linear_numbers()
                + self.transformer_numbers(lowest, layers)
        });
        ends + times + levels.sum::<u64>() + middle
    }

    fn level_numbers(&self, level: usize) -> u64 {
        let at = self.levels[level];
        let (down, up) = (self.down_inputs(level), self.up_inputs(level));
        let (downs, ups) = (down.len() as u64, up.len() as u64);
        let residuals = down.into_iter().chain(up).map(|inputs| self.residual(inputs, at.channels));
        let residuals: u64 = residuals.map(ResidualShape::linear_numbers).sum();
        let transformers =
            downs * self.transformer_numbers(at, at.down) + ups * self.transformer_numbers(at, at.up);
        // Halved on the way down but for the last, doubled on the way up but for the first.
        let resized = u64::from(level + 1 < self.levels.len()) + u64::from(level > 0);
        residuals + transformers + 9 * resized * (at.channels * at.channels) as u64
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
            let at = |index: usize| PixelGrid {
                height: grid.height.div_ceil(1 << index),
                width: grid.width.div_ceil(1 << index),
                ..grid
            };
            let last = index + 1 == self.levels.len();
            let (here, channels) = (at(index), level.channels as u64);
            let below = if last { 0 } else { at(index + 1).rows() as u64 };
            seen += (here.rows() as u64 * level.blocks as u64 + below) * channels;
            let inputs = self.up_inputs(index).into_iter().max().unwrap_or(level.channels);
            let residual = self.residual(inputs, level.channels).pixel_numbers() * here.rows() as u64;
            let layers = level.down.max(level.up).max(if last { self.middle.unwrap_or(0) } else { 0 });
            let transformer = if layers == 0 { 0 } else { transformer_pass(*level, here, length, threads) };
            // What comes in is there twice: from where it came and put together.
            widest = widest.max(2 * (here.rows() * inputs) as u64 + residual.max(transformer));
        }
        seen + widest + conv_scratch_numbers(threads) as u64
    }
}

/// What a transformer holds of pictures of `grid`.
fn transformer_pass(level: Level, grid: PixelGrid, length: usize, threads: NonZeroUsize) -> u64 {
    let (heads, channels) = (level.heads, level.channels);
    let longest = grid.pixels().max(length);
    let scratch = scratch_numbers(heads * grid.pictures, channels / heads, longest, threads);
    let inner = FEED_FORWARD_ROWS.min(grid.rows()).saturating_mul(14 * channels);
    let prompts = 2 * grid.pictures * length * channels;
    // The residual, its copy within, normalised, queries, keys, values and what attention makes of them.
    grid.rows() as u64 * 7 * channels as u64 + (scratch + inner + prompts) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::example::Example;

    #[test]
    fn what_a_checkpoint_holds_is_told_exactly() {
        for name in ["sd1", "sd2", "xl", "lcm"] {
            let example = Example::of(&format!("unet/{name}"));
            let config = UnetConfig::read(&example.folder).unwrap();
            assert_eq!(config.linear_numbers(), example.matrix_numbers(|_| true), "{name}");
        }
    }
}
