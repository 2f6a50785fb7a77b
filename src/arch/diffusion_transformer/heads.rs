//! Attention of diffusion transformers, as far as all blocks have it.

use std::ops::Range;

use candle_core::{Result, Tensor};

use super::config::Frame;
use super::modulation::NORM_EPS;
use crate::arch::encoder::usual_scale;
use crate::arch::{ArchError, Bias, Scope};
use crate::kernels::{Attention, Linear, Norm, RopeStyle, turn_rows};

/// Queries, keys and values of some tokens.
#[derive(Debug)]
pub(super) struct Projection {
    /// `[width]` to `[3 x width]`.
    layer: Linear,
    /// Of each head of the queries and of the keys.
    norms: Option<[Norm; 2]>,
    heads: usize,
    head_size: usize,
}

/// What a checkpoint calls the parts of one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    pub(super) layers: [&'static str; 3],
    pub(super) norms: [&'static str; 2],
}

impl Names {
    /// Where tokens are alike, and of pictures where they are not.
    pub(super) const USUAL: Self =
        Self { layers: ["attn.to_q", "attn.to_k", "attn.to_v"], norms: ["attn.norm_q", "attn.norm_k"] };
}

impl Projection {
    pub(super) fn load(
        scope: &Scope<'_>,
        frame: &Frame,
        names: Names,
        with_norms: bool,
    ) -> std::result::Result<Self, ArchError> {
        let width = frame.width();
        let norm = |name| scope.rms_norm(name, frame.head_size, NORM_EPS);
        let norms = match (with_norms, names.norms) {
            (true, [queries, keys]) => Some([norm(queries)?, norm(keys)?]),
            (false, _) => None,
        };
        let layer = scope.joined(names.layers, width, [width; 3], Bias::Present)?;
        Ok(Self { layer, norms, heads: frame.heads, head_size: frame.head_size })
    }

    /// `[rows, width]` to `[rows, 3 x width]`. Where places are `angles`, they are those of the rows.
    pub(super) fn forward(&self, xs: &Tensor, angles: Option<&Tensor>) -> Result<Tensor> {
        let mut qkv = self.layer.forward(xs)?;
        if let Some([queries, keys]) = &self.norms {
            qkv = queries.forward_heads(qkv, 0..self.heads)?;
            qkv = keys.forward_heads(qkv, self.heads..2 * self.heads)?;
        }
        match angles {
            Some(angles) => turn_rows(qkv, angles, (2 * self.heads, self.head_size), RopeStyle::Interleaved),
            None => Ok(qkv),
        }
    }

    /// What the tokens of each of `spans` see of each other: `[tokens, 3 x width]` to `[tokens, width]`.
    pub(super) fn attend(&self, qkv: &Tensor, spans: &[Range<usize>]) -> Result<Tensor> {
        let scale = usual_scale(self.head_size);
        Attention { heads: self.heads, scale, window: None, bias: None }.forward(qkv, spans)
    }
}
