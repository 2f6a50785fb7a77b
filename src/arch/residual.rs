//! Two convolutions around which the input is added again: the block that denoisers and autoencoders of pictures
//! are made of. He et al., "Deep Residual Learning for Image Recognition", arXiv 1512.03385, with the norms before
//! (arXiv 1603.05027). Reference: `ResnetBlock2D` of `resnet.py` of Hugging Face diffusers.

use candle_core::{Result, Tensor, bail};

use super::{ArchError, Bias, Scope};
use crate::kernels::{Activation, Conv2d, GroupNorm, Linear, PixelGrid, Window, add};

/// The block's weights.
#[derive(Debug)]
pub(crate) struct ResidualBlock {
    norm: GroupNorm,
    conv: Conv2d,
    /// From what the time has become to a shift of each channel.
    time: Option<Linear>,
    second_norm: GroupNorm,
    second_conv: Conv2d,
    /// Where the block changes the number of channels.
    shortcut: Option<Conv2d>,
}

/// What a block is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResidualShape {
    /// Channels that go in.
    pub(crate) inputs: usize,
    /// Channels that come out.
    pub(crate) outputs: usize,
    /// Numbers that the time has become, in networks that are told it.
    pub(crate) time: Option<usize>,
    /// Groups of channels for norms.
    pub(crate) groups: usize,
    pub(crate) eps: f64,
}

impl ResidualBlock {
    pub(crate) fn load(scope: &Scope<'_>, shape: ResidualShape) -> std::result::Result<Self, ArchError> {
        let ResidualShape { inputs, outputs, time, groups, eps } = shape;
        let time = time.map(|width| scope.linear("time_emb_proj", width, outputs, Bias::Present));
        let shortcut =
            (inputs != outputs).then(|| scope.conv("conv_shortcut", inputs, outputs, Window::PIXEL));
        Ok(Self {
            norm: scope.group_norm("norm1", inputs, groups, eps)?,
            conv: scope.conv("conv1", inputs, outputs, Window::SAME)?,
            time: time.transpose()?,
            second_norm: scope.group_norm("norm2", outputs, groups, eps)?,
            second_conv: scope.conv("conv2", outputs, outputs, Window::SAME)?,
            shortcut: shortcut.transpose()?,
        })
    }

    /// `[rows, inputs]` to `[rows, outputs]`; `time`, `[pictures, numbers]`, for blocks that are told it.
    pub(crate) fn forward(&self, xs: &Tensor, grid: PixelGrid, time: Option<&Tensor>) -> Result<Tensor> {
        // Assigned anew, so that what is no longer needed goes at once.
        let mut inner = self.norm.forward(xs, grid, Activation::Silu)?;
        inner = self.conv.forward(&inner, grid)?;
        inner = match (&self.time, time) {
            (Some(layer), Some(time)) => {
                let shifts = layer.forward(time)?;
                self.second_norm.forward_shifted(&inner, &shifts, grid, Activation::Silu)?
            }
            (None, None) => self.second_norm.forward(&inner, grid, Activation::Silu)?,
            _ => bail!("a block must be told the time exactly if it has a layer for it"),
        };
        inner = self.second_conv.forward(&inner, grid)?;
        match &self.shortcut {
            Some(shortcut) => add(inner, &shortcut.forward(xs, grid)?),
            None => add(inner, xs),
        }
    }
}

impl ResidualShape {
    /// How many numbers the weights of convolutions and linear layers are.
    pub(crate) fn linear_numbers(self) -> u64 {
        let (inputs, outputs) = (self.inputs as u64, self.outputs as u64);
        let shortcut = if inputs == outputs { 0 } else { inputs * outputs };
        let time = self.time.map_or(0, |width| width as u64 * outputs);
        9 * outputs * (inputs + outputs) + shortcut + time
    }

    /// How many numbers a pixel's pass through the block holds at once: what came in, normalised, convolved, and the
    /// sum; or those of the second half.
    pub(crate) fn pixel_numbers(self) -> u64 {
        let (inputs, outputs) = (self.inputs as u64, self.outputs as u64);
        inputs + (inputs + outputs).max(3 * outputs)
    }
}
