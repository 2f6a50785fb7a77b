//! Taking a network's tensors out of a checkpoint, by the names it has there.

use std::fmt::Display;

use candle_core::Tensor;

use super::ArchError;
use crate::kernels::{Conv2d, GroupNorm, Linear, Norm, Precision, Window};
use crate::weights::{WeightStore, WeightsError};

/// Whether a layer adds a vector of its own at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bias {
    Present,
    Absent,
}

impl From<bool> for Bias {
    fn from(present: bool) -> Self {
        if present { Self::Present } else { Self::Absent }
    }
}

/// The tensors of one part of a network: those whose names begin with a prefix.
#[derive(Clone, Debug)]
pub(crate) struct Scope<'a> {
    store: &'a WeightStore,
    prefix: String,
    precision: Precision,
}

impl<'a> Scope<'a> {
    /// All of `store`; linear layers will be kept in `precision`.
    pub(crate) fn root(store: &'a WeightStore, precision: Precision) -> Self {
        Self { store, prefix: String::new(), precision }
    }

    /// What linear layers are kept in.
    pub(crate) fn precision(&self) -> Precision {
        self.precision
    }

    /// The part called `name` of this part.
    pub(crate) fn sub(&self, name: impl Display) -> Self {
        Self { prefix: format!("{}{name}.", self.prefix), ..self.clone() }
    }

    /// The part called `name`, if any of `known`'s tensors lie there, else this one: many checkpoints were
    /// saved from a network inside another.
    pub(crate) fn sub_if(&self, name: &str, known: &str) -> Self {
        if self.contains(&format!("{name}.{known}")) { self.sub(name) } else { self.clone() }
    }

    /// Whether there is such a tensor.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.store.contains(&self.full(name))
    }

    /// Reads the tensor called `name`, which must have this shape.
    pub(crate) fn tensor<const N: usize>(
        &self,
        name: &str,
        shape: [usize; N],
    ) -> Result<Tensor, WeightsError> {
        self.store.tensor(&self.full(name), shape.to_vec())
    }

    /// The linear layer in the part called `name`: `weight`, `[outputs, inputs]`, and `bias`, `[outputs]`.
    pub(crate) fn linear(
        &self,
        name: &str,
        inputs: usize,
        outputs: usize,
        bias: Bias,
    ) -> Result<Linear, ArchError> {
        self.joined([name], inputs, [outputs], bias)
    }

    /// Linear layers on the same input as one, their outputs side by side.
    pub(crate) fn joined<const N: usize>(
        &self,
        names: [&str; N],
        inputs: usize,
        outputs: [usize; N],
        bias: Bias,
    ) -> Result<Linear, ArchError> {
        let (weights, biases) = self.layers(names, inputs, outputs, bias)?;
        Ok(Linear::joined(&weights, &biases, self.precision)?)
    }

    /// The weights, `[outputs, inputs]` each, and biases, `[outputs]` each, of several linear layers.
    pub(crate) fn layers<const N: usize>(
        &self,
        names: [&str; N],
        inputs: usize,
        outputs: [usize; N],
        bias: Bias,
    ) -> Result<(Vec<Tensor>, Vec<Tensor>), WeightsError> {
        let layers = || names.iter().map(|name| self.sub(name)).zip(outputs);
        let weights = layers().map(|(layer, outputs)| layer.tensor("weight", [outputs, inputs]));
        let weights = weights.collect::<Result<Vec<_>, _>>()?;
        let biases = match bias {
            Bias::Present => layers().map(|(layer, outputs)| layer.tensor("bias", [outputs])).collect(),
            Bias::Absent => Ok(Vec::new()),
        };
        Ok((weights, biases?))
    }

    /// The layer norm in the part called `name`.
    pub(crate) fn layer_norm(
        &self,
        name: &str,
        width: usize,
        eps: f64,
        bias: Bias,
    ) -> Result<Norm, ArchError> {
        let scope = self.sub(name);
        // The checkpoints that Google's were first converted to have the older names.
        let (weight, shift) = if scope.contains("gamma") { ("gamma", "beta") } else { ("weight", "bias") };
        let weight = scope.tensor(weight, [width])?;
        Ok(match bias {
            Bias::Present => Norm::layer(&weight, Some(&scope.tensor(shift, [width])?), eps)?,
            Bias::Absent => Norm::layer(&weight, None, eps)?,
        })
    }

    /// The convolution in the part called `name`: `weight`, `[outputs, inputs, side, side]`, and `bias`, `[outputs]`.
    pub(crate) fn conv(
        &self,
        name: &str,
        inputs: usize,
        outputs: usize,
        window: Window,
    ) -> Result<Conv2d, ArchError> {
        let scope = self.sub(name);
        let weight = scope.tensor("weight", [outputs, inputs, window.side, window.side])?;
        let bias = scope.tensor("bias", [outputs])?;
        Ok(Conv2d::new(&weight, &bias, window, self.precision)?)
    }

    /// The norm over groups of channels in the part called `name`.
    pub(crate) fn group_norm(
        &self,
        name: &str,
        channels: usize,
        groups: usize,
        eps: f64,
    ) -> Result<GroupNorm, ArchError> {
        let scope = self.sub(name);
        let (weight, shift) = (scope.tensor("weight", [channels])?, scope.tensor("bias", [channels])?);
        Ok(GroupNorm::new(&weight, &shift, groups, eps)?)
    }

    /// The RMS norm in the part called `name`.
    pub(crate) fn rms_norm(&self, name: &str, width: usize, eps: f64) -> Result<Norm, ArchError> {
        Ok(Norm::rms(&self.sub(name).tensor("weight", [width])?, eps)?)
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}
