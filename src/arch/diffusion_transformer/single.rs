//! Blocks in which all tokens are alike, and attention and feed-forward part see the same input: FLUX's last. Dehghani
//! et al., "Scaling Vision Transformers to 22 Billion Parameters", arXiv 2302.05442, section 2.

use candle_core::{Result, Tensor};

use super::config::Frame;
use super::heads::{Names, Projection};
use super::modulation::{Modulation, Part};
use super::sequence::{Kind, Sequence};
use crate::arch::{ArchError, Bias, Scope};
use crate::kernels::{Activation, Linear};

#[derive(Debug)]
pub(super) struct SingleBlock {
    modulation: Linear,
    projection: Projection,
    up: Linear,
    /// Of what attention has found and, behind it, what went up.
    output: Linear,
}

impl SingleBlock {
    pub(super) fn load(scope: &Scope<'_>, frame: &Frame) -> std::result::Result<Self, ArchError> {
        let (width, inner) = (frame.width(), frame.inner());
        Ok(Self {
            modulation: scope.linear("norm.linear", width, 3 * width, Bias::Present)?,
            projection: Projection::load(scope, frame, Names::USUAL, true)?,
            up: scope.linear("proj_mlp", width, inner, Bias::Present)?,
            output: scope.linear("proj_out", width + inner, width, Bias::Present)?,
        })
    }

    /// Writes into `xs`, `[pictures x (text + squares), width]`; `joint` is where queries, keys and values are put,
    /// `[pictures x (text + squares), 3 x width]`. `signals` are `[pictures, width]`, `angles` those of a picture's
    /// tokens and of its text's before them.
    pub(super) fn forward(
        &self,
        xs: &Tensor,
        sequence: Sequence,
        signals: &Tensor,
        angles: &Tensor,
        joint: &Tensor,
    ) -> Result<()> {
        let modulations = Modulation::of(&self.modulation, signals)?;
        let norms = Modulation::norms(&modulations, Part::Attention)?;
        for piece in sequence.pieces(Kind::Both) {
            let normed = norms[piece.picture].forward(&piece.joint(xs)?)?;
            let qkv = self.projection.forward(&normed, Some(&piece.of_table(angles)?))?;
            joint.slice_set(&qkv, 0, piece.joint)?;
        }
        let attended = self.projection.attend(joint, &sequence.spans())?;
        for piece in sequence.pieces(Kind::Both) {
            let xs = piece.joint(xs)?;
            // Normalised once more, which is less than to keep it for all tokens.
            let normed = norms[piece.picture].forward(&xs)?;
            let up = self.up.forward_activated(&normed, Activation::GeluTanh)?;
            let both = Tensor::cat(&[piece.joint(&attended)?, up], 1)?;
            modulations[piece.picture].add(&xs, &self.output.forward(&both)?, Part::Attention)?;
        }
        Ok(())
    }
}
