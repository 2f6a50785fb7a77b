//! A decoder's tensors from a GGUF file.

use candle_core::{Device, Tensor};

use super::names::{Part, gguf};
use super::projection::Projection;
use super::tensors::Tensors;
use crate::arch::{ArchError, Bias};
use crate::kernels::{Linear, Precision};
use crate::weights::{GgufError, GgufFile, WeightsError};

/// One file.
#[derive(Debug)]
pub(super) struct GgufTensors<'a> {
    file: &'a GgufFile,
    precision: Precision,
}

impl<'a> GgufTensors<'a> {
    /// Linear layers are kept in `precision`.
    pub(super) fn new(file: &'a GgufFile, precision: Precision) -> Self {
        Self { file, precision }
    }

    fn read<const N: usize>(&self, name: &str, shape: [usize; N]) -> Result<Tensor, ArchError> {
        let numbers = self.file.read_f32(name, shape.to_vec()).map_err(unreadable)?;
        Ok(Tensor::from_vec(numbers, shape.to_vec(), &Device::Cpu)?)
    }

    fn joined(
        &self,
        names: &[String],
        inputs: usize,
        outputs: &[usize],
        bias: Bias,
    ) -> Result<Projection, ArchError> {
        let layers = || names.iter().zip(outputs);
        let weights =
            layers().map(|(name, outputs)| self.read(&format!("{name}.weight"), [*outputs, inputs]));
        let weights = weights.collect::<Result<Vec<_>, _>>()?;
        let biases = match bias {
            Bias::Present => {
                layers().map(|(name, outputs)| self.read(&format!("{name}.bias"), [*outputs])).collect()
            }
            Bias::Absent => Ok(Vec::new()),
        };
        Ok(Projection::Dense(Linear::joined(&weights, &biases?, self.precision)?))
    }
}

fn unreadable(error: GgufError) -> ArchError {
    ArchError::Weights(WeightsError::from(error))
}

impl Tensors for GgufTensors<'_> {
    fn linear<const N: usize>(
        &self,
        layer: usize,
        parts: [Part; N],
        inputs: usize,
        outputs: [usize; N],
        bias: Bias,
    ) -> Result<Projection, ArchError> {
        self.joined(&parts.map(|part| format!("blk.{layer}.{}", gguf(part))), inputs, &outputs, bias)
    }

    /// Experts lie behind one another in one tensor.
    fn experts<const N: usize>(
        &self,
        layer: usize,
        count: usize,
        parts: [Part; N],
        inputs: usize,
        outputs: usize,
    ) -> Result<Vec<Projection>, ArchError> {
        let name = |part| format!("blk.{layer}.{}_exps.weight", gguf(part));
        let all = parts.iter().map(|part| self.read(&name(*part), [count, outputs, inputs]));
        let all = all.collect::<Result<Vec<_>, _>>()?;
        let load = |index| {
            let weights = all.iter().map(|all| all.get(index)).collect::<candle_core::Result<Vec<_>>>()?;
            Ok(Projection::Dense(Linear::joined(&weights, &[], self.precision)?))
        };
        (0..count).map(load).collect()
    }

    fn norm(&self, layer: usize, part: Part, width: usize) -> Result<Tensor, ArchError> {
        self.read(&format!("blk.{layer}.{}.weight", gguf(part)), [width])
    }

    fn last_norm(&self, width: usize) -> Result<Tensor, ArchError> {
        self.read("output_norm.weight", [width])
    }

    fn table(&self, tokens: usize, width: usize) -> Result<Tensor, ArchError> {
        self.read("token_embd.weight", [tokens, width])
    }

    fn head(&self, width: usize, tokens: usize) -> Result<Projection, ArchError> {
        self.joined(&["output".to_owned()], width, &[tokens], Bias::Absent)
    }
}
