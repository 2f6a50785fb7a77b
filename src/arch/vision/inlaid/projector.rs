//! From the vectors of patches to rows as wide as a decoder's.

use candle_core::{Result, Tensor};

use crate::arch::activation::activation_called;
use crate::arch::{ArchError, Bias, Scope};
use crate::kernels::{Activation, Linear};

/// Two linear layers with a function between them.
#[derive(Debug)]
pub(super) struct Projector {
    first: Linear,
    second: Linear,
    activation: Activation,
}

impl Projector {
    /// `linear_1` and `linear_2` of `scope`, from `inputs` to `outputs` numbers.
    pub(super) fn load(
        scope: &Scope<'_>,
        inputs: usize,
        outputs: usize,
        bias: Bias,
        activation: &str,
    ) -> std::result::Result<Self, ArchError> {
        Ok(Self {
            first: scope.linear("linear_1", inputs, outputs, bias)?,
            second: scope.linear("linear_2", outputs, outputs, bias)?,
            activation: activation_called(activation)?,
        })
    }

    /// `[rows, inputs]` to `[rows, outputs]`.
    pub(super) fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.second.forward(&self.first.forward_activated(xs, self.activation)?)
    }
}
