//! A decoder's tensors from a GGUF file.

use candle_core::{Device, Tensor};

use super::config::DecoderConfig;
use super::names::{Part, gguf};
use super::projection::{Projection, Table};
use super::tensors::{Tensors, format_of};
use super::weight_format::{WeightFormat, packed};
use crate::ByteSize;
use crate::arch::{ArchError, Bias};
use crate::kernels::{QuantizedLayers, QuantizedLinear};
use crate::weights::GgufFile;
use crate::weights::gguf::GgufTensor;

/// The tokens' vectors.
const TABLE: &str = "token_embd.weight";

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
        let numbers = self.file.read_f32(name, shape.to_vec())?;
        Ok(Tensor::from_vec(numbers, shape.to_vec(), &Device::Cpu)?)
    }

    /// The layers of `[out, in]` that lie behind one another in the tensor called `name`, `[.., out, in]`, if they
    /// stay quantised.
    fn quantized(&self, name: &str, shape: &[usize]) -> Result<Option<Vec<QuantizedLinear>>, ArchError> {
        let tensor = self.file.shaped(name, shape)?;
        let (Some(kind), Some(([outputs, inputs], layers))) =
            (self.format.kept(tensor.stored), shape.split_last_chunk().map(|(layers, last)| (last, layers)))
        else {
            return Ok(None);
        };
        let bytes = self.file.read_raw(name)?;
        let layers = bytes.chunks_exact(bytes.len() / layers.iter().product::<usize>().max(1));
        layers.map(|bytes| packed(kind, bytes, *outputs, *inputs)).collect::<Result<_, _>>().map(Some)
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
            let Some(layers) = self.quantized(name, &[count, outputs, inputs])? else { return Ok(None) };
            units.iter_mut().zip(layers).for_each(|(unit, layer)| unit.push(layer));
        }
        let whole = |parts| Projection::Quantized(QuantizedLayers::new(parts, Vec::new()));
        Ok(Some(units.into_iter().map(whole).collect()))
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
        let weights: Vec<String> = names.iter().map(|name| format!("{name}.weight")).collect();
        let weights = || weights.iter().zip(outputs);
        let biases = match bias {
            Bias::Present => {
                let biases = names.iter().zip(outputs);
                biases.map(|(name, outputs)| self.read(&format!("{name}.bias"), [*outputs])).collect()
            }
            Bias::Absent => Ok(Vec::new()),
        };
        let biases: Vec<Tensor> = biases?;
        if weights().all(|(name, _)| stays(self.file, name, format)) {
            let parts = weights().map(|(name, outputs)| self.quantized(name, &[*outputs, inputs]));
            let parts = parts.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().flatten().collect();
            let biases = biases.iter().map(Tensor::to_vec1).collect::<candle_core::Result<Vec<_>>>()?;
            return Ok(Projection::Quantized(QuantizedLayers::new(parts, biases.concat())));
        }
        let weights = weights().map(|(name, outputs)| self.read(name, [*outputs, inputs]));
        format.layer(&weights.collect::<Result<Vec<_>, _>>()?, &biases)
    }
}

/// Parts that are computed as one, and so are kept quantised together or not at all.
const TOGETHER: [&[Part]; 2] = [&[Part::Query, Part::Key, Part::Value], &[Part::Gate, Part::Up]];

/// Whether the tensor's weights stay as the file has them quantised.
fn stays(file: &GgufFile, name: &str, format: WeightFormat) -> bool {
    file.tensor(name).is_some_and(|tensor| format.kept(tensor.stored).is_some())
}

/// The tensors that go with one by [`TOGETHER`], itself included.
fn companions(name: &str) -> Vec<String> {
    for parts in TOGETHER {
        for kind in [".weight", "_exps.weight"] {
            let ending = |part: &Part| format!(".{}{kind}", gguf(*part));
            if let Some(layer) = parts.iter().find_map(|part| name.strip_suffix(&ending(part))) {
                return parts.iter().map(|part| format!("{layer}{}", ending(part))).collect();
            }
        }
    }
    vec![name.to_owned()]
}

/// What a tensor takes in memory: linear layers in `format`, all else as f32.
pub(super) fn kept_bytes(
    tensor: &GgufTensor,
    file: &GgufFile,
    config: &DecoderConfig,
    format: WeightFormat,
) -> ByteSize {
    // The experts of one tensor are layers of their own.
    let (layers, rows, width) = match tensor.shape[..] {
        [layers, rows, width] => (layers, rows, width),
        [rows, width] => (1, rows, width),
        _ => return tensor.bytes_as_f32(),
    };
    let together = companions(&tensor.name).iter().all(|name| stays(file, name, format));
    ByteSize::new(match format.kept(tensor.stored).filter(|_| together) {
        // Each is filled up to whole panels.
        Some(kind) => (QuantizedLinear::packed_bytes(kind, rows, width) as u64).saturating_mul(layers as u64),
        None if tensor.name == TABLE && !config.tied => format.table_bytes(rows, width),
        None if tensor.name.ends_with(&format!(".{}.weight", gguf(Part::Router))) => {
            format.as_numbers().bytes(1, rows, width)
        }
        None => format.bytes(layers, rows, width),
    })
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
        match self.quantized(TABLE, &[tokens, width])? {
            Some(table) => Ok(Table::Weights(Projection::Quantized(QuantizedLayers::new(table, Vec::new())))),
            None => self.format.table(self.read(TABLE, [tokens, width])?),
        }
    }

    fn head(&self, width: usize, tokens: usize) -> Result<Projection, ArchError> {
        self.joined(&["output".to_owned()], width, &[tokens], Bias::Absent, self.format)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_computed_as_one_goes_together() {
        let parts = |kind: &str, parts: &[&str]| -> Vec<String> {
            parts.iter().map(|part| format!("blk.3.{part}{kind}")).collect()
        };
        let qkv = parts(".weight", &["attn_q", "attn_k", "attn_v"]);
        qkv.iter().for_each(|name| assert_eq!(companions(name), qkv));
        let experts = parts("_exps.weight", &["ffn_gate", "ffn_up"]);
        experts.iter().for_each(|name| assert_eq!(companions(name), experts));
        for alone in ["blk.3.ffn_down.weight", "blk.3.attn_output.weight", "token_embd.weight"] {
            assert_eq!(companions(alone), [alone]);
        }
    }
}
