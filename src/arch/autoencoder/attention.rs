//! Pixels that look at each other, with one head.

use candle_core::{Result, Tensor};

use super::config::EPS;
use crate::arch::encoder::usual_scale;
use crate::arch::{ArchError, Bias, Scope};
use crate::kernels::{Activation, Attention, GroupNorm, Linear, PixelGrid, add, equal_spans};

/// The weights.
#[derive(Debug)]
pub(super) struct PixelAttention {
    norm: GroupNorm,
    qkv: Linear,
    output: Linear,
}

impl PixelAttention {
    pub(super) fn load(
        scope: &Scope<'_>,
        channels: usize,
        groups: usize,
    ) -> std::result::Result<Self, ArchError> {
        // The first checkpoints have older names.
        let old = scope.contains("query.weight");
        let names = if old { ["query", "key", "value"] } else { ["to_q", "to_k", "to_v"] };
        let output = if old { "proj_attn" } else { "to_out.0" };
        Ok(Self {
            norm: scope.group_norm("group_norm", channels, groups, EPS)?,
            qkv: scope.joined(names, channels, [channels; 3], Bias::Present)?,
            output: scope.linear(output, channels, channels, Bias::Present)?,
        })
    }

    /// `[rows, channels]` to the same.
    pub(super) fn forward(&self, xs: &Tensor, grid: PixelGrid) -> Result<Tensor> {
        let qkv = self.qkv.forward(&self.norm.forward(xs, grid, Activation::Identity)?)?;
        let attention = Attention { heads: 1, scale: usual_scale(xs.dim(1)?), window: None, bias: None };
        let pictures: Vec<_> = equal_spans(grid.pictures, grid.pixels()).collect();
        add(self.output.forward(&attention.forward(&qkv, &pictures)?)?, xs)
    }
}
