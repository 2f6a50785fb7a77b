//! How many numbers a vision transformer has and holds.

use std::num::NonZeroUsize;

use super::config::{Head, VitConfig};
use crate::arch::encoder::layer_numbers;

impl VitConfig {
    /// How many numbers the weights of all linear layers are.
    pub(crate) fn linear_numbers(&self) -> u64 {
        let (width, inner) = (self.hidden_size as u64, self.intermediate_size as u64);
        let ups = if self.gated { 2 } else { 1 };
        let layer = 4 * width * width + (ups + 1) * width * inner;
        let head = match self.head {
            Head::Class { projection } => width * projection.unwrap_or(0) as u64,
            Head::Pooler { size, .. } => width * size as u64,
            Head::Tokens { .. } => 0,
            Head::Probe => 4 * width * width + 2 * width * inner,
        };
        let patch = width * self.patch_numbers() as u64;
        layer.saturating_mul(self.num_hidden_layers as u64).saturating_add(head).saturating_add(patch)
    }

    /// How many numbers a patch is read from.
    pub(crate) fn patch_numbers(&self) -> usize {
        3 * self.patch_size * self.patch_size
    }

    /// How many numbers a pass of `batch` tokens, or of one larger picture of `longest`, holds at once on so many
    /// threads.
    pub(crate) fn pass_numbers(&self, batch: usize, longest: usize, threads: NonZeroUsize) -> u64 {
        let tokens = batch.max(longest);
        // The pictures themselves, and cut into patches.
        let pictures = (tokens as u64).saturating_mul(2 * self.patch_numbers() as u64);
        let inner = if self.gated { 3 * self.intermediate_size } else { self.intermediate_size };
        let heads = (self.num_attention_heads, self.head_size());
        pictures.saturating_add(layer_numbers(tokens, longest, heads, inner, threads))
    }
}
