//! A decoder's tensors from a GGUF file.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::names::{Part, gguf};
use super::projection::{Projection, Quantized, Table};
use super::tensors::Tensors;
use crate::ByteSize;
use crate::arch::{ArchError, Bias};
use crate::kernels::{Linear, Precision, QuantKind, QuantizedLinear};
use crate::weights::gguf::{GgmlType, GgufTensor};
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

    /// Experts whose parts are all quantised.
    fn quantized_experts(
        &self,
        names: &[String],
        count: usize,
        inputs: usize,
        outputs: usize,
    ) -> Result<Option<Vec<Projection>>, ArchError> {
        let mut units: Vec<Vec<Arc<QuantizedLinear>>> = vec![Vec::new(); count];
        for name in names {
            let tensor = self.file.shaped(name, [count, outputs, inputs].as_slice()).map_err(unreadable)?;
            let Some(kind) = kind(tensor.stored) else { return Ok(None) };
            let bytes = self.file.read_raw(name).map_err(unreadable)?;
            for (unit, bytes) in units.iter_mut().zip(bytes.chunks_exact(bytes.len() / count)) {
                unit.push(Arc::new(packed(kind, bytes, outputs, inputs)?));
            }
        }
        let whole = |parts| Projection::Quantized(Quantized::new(parts, Vec::new()));
        Ok(Some(units.into_iter().map(whole).collect()))
    }

    /// The layer called `name`, if its weights are quantised.
    fn quantized(
        &self,
        name: &str,
        outputs: usize,
        inputs: usize,
    ) -> Result<Option<QuantizedLinear>, ArchError> {
        let tensor = self.file.shaped(name, [outputs, inputs].as_slice()).map_err(unreadable)?;
        let Some(kind) = kind(tensor.stored) else { return Ok(None) };
        let bytes = self.file.read_raw(name).map_err(unreadable)?;
        Ok(Some(packed(kind, &bytes, outputs, inputs)?))
    }

    fn joined(
        &self,
        names: &[String],
        inputs: usize,
        outputs: &[usize],
        bias: Bias,
    ) -> Result<Projection, ArchError> {
        let layers = || names.iter().zip(outputs);
        let is_quantized = |name: &String| {
            self.file.tensor(&format!("{name}.weight")).is_some_and(|t| kind(t.stored).is_some())
        };
        if names.iter().all(is_quantized) {
            let parts =
                layers().map(|(name, outputs)| self.quantized(&format!("{name}.weight"), *outputs, inputs));
            let parts = parts.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().map(Arc::new).collect();
            let mut joined = Vec::new();
            for (name, outputs) in layers().filter(|_| bias == Bias::Present) {
                let bias = self.file.read_f32(&format!("{name}.bias"), *outputs).map_err(unreadable)?;
                joined.extend(bias);
            }
            return Ok(Projection::Quantized(Quantized::new(parts, joined)));
        }
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

/// How the kernels call the format, if it is one of those that stay as they are.
pub(super) fn kind(stored: GgmlType) -> Option<QuantKind> {
    match stored {
        GgmlType::Q8_0 => Some(QuantKind::Q8_0),
        GgmlType::Q4_0 => Some(QuantKind::Q4_0),
        GgmlType::Q4K => Some(QuantKind::Q4K),
        GgmlType::Q5K => Some(QuantKind::Q5K),
        GgmlType::Q6K => Some(QuantKind::Q6K),
        _ => None,
    }
}

/// What a tensor takes in memory: matrices of the formats above packed, all else as f32.
pub(super) fn kept_bytes(tensor: &GgufTensor) -> ByteSize {
    match kind(tensor.stored) {
        Some(kind) if tensor.shape.len() > 1 => {
            let width = tensor.width();
            // The experts of one tensor are layers of their own, and each is filled up to whole panels.
            let (rows, layers) = match tensor.shape[..] {
                [layers, rows, _] => (rows, layers),
                _ => (tensor.elements() / width, 1),
            };
            let each = QuantizedLinear::packed_bytes(kind, rows, width) as u64;
            ByteSize::new(each.saturating_mul(layers as u64))
        }
        _ => tensor.bytes_as_f32(),
    }
}

fn packed(
    kind: QuantKind,
    bytes: &[u8],
    outputs: usize,
    inputs: usize,
) -> Result<QuantizedLinear, ArchError> {
    QuantizedLinear::from_gguf_blocks(kind, bytes, outputs, inputs)
        .map_err(|error| ArchError::Tensor(candle_core::Error::wrap(error)))
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
        if let Some(units) = self.quantized_experts(&parts.map(name), count, inputs, outputs)? {
            return Ok(units);
        }
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

    fn table(&self, tokens: usize, width: usize) -> Result<Table, ArchError> {
        const NAME: &str = "token_embd.weight";
        Ok(match self.quantized(NAME, tokens, width)? {
            Some(table) => Table::Quantized(Arc::new(table)),
            None => Table::Dense(self.read(NAME, [tokens, width])?),
        })
    }

    fn head(&self, width: usize, tokens: usize) -> Result<Projection, ArchError> {
        self.joined(&["output".to_owned()], width, &[tokens], Bias::Absent)
    }
}
