//! What a number or a vector becomes before it is told to every block.

use candle_core::{Result, Tensor};

use crate::arch::{ArchError, Bias, Scope};
use crate::kernels::{Activation, Linear};

/// A linear layer, `SiLU`, a linear layer.
#[derive(Debug)]
pub(crate) struct TwoLayers([Linear; 2]);

impl TwoLayers {
    /// Those in `scope`, from `inputs` to `width` numbers.
    pub(crate) fn load(
        scope: &Scope<'_>,
        inputs: usize,
        width: usize,
    ) -> std::result::Result<Self, ArchError> {
        let layer = |name, inputs| scope.linear(name, inputs, width, Bias::Present);
        Ok(Self([layer("linear_1", inputs)?, layer("linear_2", width)?]))
    }

    /// `[rows, inputs]` to `[rows, width]`.
    pub(crate) fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.0[1].forward(&self.0[0].forward_activated(xs, Activation::Silu)?)
    }
}
