//! A decoder's tensors from a GGUF file.

use candle_core::{Device, Tensor};

use super::names::{Part, gguf};
use super::projection::{Projection, Table};
use super::tensors::{Tensors, format_of};
use super::weight_format::{WeightFormat, packed};
use crate::ByteSize;
use crate::arch::{ArchError, Bias};
use crate::kernels::{QuantizedLayers, QuantizedLinear};
use crate::weights::gguf::GgufTensor;
use crate::weights::{GgufError, GgufFile, WeightsError};

/// The tokens' vectors.
pub(super) const TABLE: &str = "token_embd.weight";

/// One file.
#[derive(Debug)]
pub(super) struct GgufTensors<'a> {
    file: &'a GgufFile,
    format: WeightFormat,
}

impl<'a> GgufTensors<'a> {
    /// Linear layers are kept in `format`.
    pub(super) fn new(file: &'a GgufFile, format: WeightFormat) -> Self {
        Self { file, format }
    }

    fn read<const N: usize>(&self, name: &str, shape: [usize; N]) -> Result<Tensor, ArchError> {
        let numbers = self.file.read_f32(name, shape.to_vec()).map_err(unreadable)?;
        Ok(Tensor::from_vec(numbers, shape.to_vec(), &Device::Cpu)?)
    }

    /// Experts whose parts all stay quantised.
    fn quantized_experts(
        &self,
        names: &[String],
        count: usize,
        inputs: usize,
        outputs: usize,
    ) -> Result<Option<Vec<Projection>>, ArchError> {
        let mut units: Vec<Vec<QuantizedLinear>> = (0..count).map(|_| Vec::new()).collect();
        for name in names {
            let tensor = self.file.shaped(name, [count, outputs, inputs].as_slice()).map_err(unreadable)?;
            let Some(kind) = self.format.kept(tensor.stored) else { return Ok(None) };
            let bytes = self.file.read_raw(name).map_err(unreadable)?;
            for (unit, bytes) in units.iter_mut().zip(bytes.chunks_exact(bytes.len() / count)) {
                unit.push(packed(kind, bytes, outputs, inputs)?);
            }
        }
        let whole = |parts| Projection::Quantized(QuantizedLayers::new(parts, Vec::new()));
        Ok(Some(units.into_iter().map(whole).collect()))
    }

    /// The layer called `name`, if its weights stay quantised.
    fn quantized(
        &self,
        name: &str,
        outputs: usize,
        inputs: usize,
    ) -> Result<Option<QuantizedLinear>, ArchError> {
        let tensor = self.file.shaped(name, [outputs, inputs].as_slice()).map_err(unreadable)?;
        let Some(kind) = self.format.kept(tensor.stored) else { return Ok(None) };
        let bytes = self.file.read_raw(name).map_err(unreadable)?;
        Ok(Some(packed(kind, &bytes, outputs, inputs)?))
    }

    /// The layers called `names` as one, in `format` unless all stay quantised.
    fn joined(
        &self,
        names: &[String],
        inputs: usize,
        outputs: &[usize],
        bias: Bias,
        format: WeightFormat,
    ) -> Result<Projection, ArchError> {
        let layers = || names.iter().zip(outputs);
        let biases = match bias {
            Bias::Present => {
                layers().map(|(name, outputs)| self.read(&format!("{name}.bias"), [*outputs])).collect()
            }
            Bias::Absent => Ok(Vec::new()),
        };
        let biases: Vec<Tensor> = biases?;
        let stays = |name: &String| {
            self.file.tensor(&format!("{name}.weight")).is_some_and(|t| format.kept(t.stored).is_some())
        };
        if names.iter().all(stays) {
            let parts =
                layers().map(|(name, outputs)| self.quantized(&format!("{name}.weight"), *outputs, inputs));
            let parts = parts.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
            let biases = biases.iter().map(Tensor::to_vec1).collect::<candle_core::Result<Vec<_>>>()?;
            return Ok(Projection::Quantized(QuantizedLayers::new(parts, biases.concat())));
        }
        let weights =
            layers().map(|(name, outputs)| self.read(&format!("{name}.weight"), [*outputs, inputs]));
        format.layer(&weights.collect::<Result<Vec<_>, _>>()?, &biases)
    }
}

/// What a tensor takes in memory: matrices in `format`, all else as f32.
pub(super) fn kept_bytes(tensor: &GgufTensor, format: WeightFormat) -> ByteSize {
    // The experts of one tensor are layers of their own.
    let (layers, rows, width) = match tensor.shape[..] {
        [layers, rows, width] => (layers, rows, width),
        [rows, width] => (1, rows, width),
        _ => return tensor.bytes_as_f32(),
    };
    ByteSize::new(match format.kept(tensor.stored) {
        // Each is filled up to whole panels.
        Some(kind) => (QuantizedLinear::packed_bytes(kind, rows, width) as u64).saturating_mul(layers as u64),
        None => format.bytes(layers, rows, width),
    })
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
        let format = format_of(&parts, self.format);
        self.joined(&parts.map(|part| format!("blk.{layer}.{}", gguf(part))), inputs, &outputs, bias, format)
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
            self.format.layer(&weights, &[])
        };
        (0..count).map(load).collect()
    }

    fn norm(&self, layer: usize, part: Part, width: usize) -> Result<Tensor, ArchError> {
        self.read(&format!("blk.{layer}.{}.weight", gguf(part)), [width])
    }

    fn last_norm(&self, width: usize) -> Result<Tensor, ArchError> {
        self.read("output_norm.weight", [width])
    }

    fn tied(&self, tokens: usize, width: usize) -> Result<Projection, ArchError> {
        self.joined(&["token_embd".to_owned()], width, &[tokens], Bias::Absent, self.format)
    }

    fn table(&self, tokens: usize, width: usize) -> Result<Table, ArchError> {
        Ok(match self.quantized(TABLE, tokens, width)? {
            Some(table) => {
                Table::Weights(Projection::Quantized(QuantizedLayers::new(vec![table], Vec::new())))
            }
            None => Table::Numbers(self.read(TABLE, [tokens, width])?),
        })
    }

    fn head(&self, width: usize, tokens: usize) -> Result<Projection, ArchError> {
        self.joined(&["output".to_owned()], width, &[tokens], Bias::Absent, self.format)
    }
}
