//! Quantised layers as a part of a network.

use candle_core::{Result, Storage, Tensor, bail};

use super::isa::Isa;
use super::{Activations, Precision, QuantKind, QuantizedLinear, matmul_all};
use crate::kernels::contiguous;

/// Layers on the same input, their outputs side by side.
#[derive(Debug)]
pub(crate) struct QuantizedLayers {
    parts: Vec<QuantizedLinear>,
    /// Of all parts, one after the other; empty if they have none.
    bias: Vec<f32>,
    /// What the layer with the finest weights asks for.
    precision: Precision,
}

impl QuantizedLayers {
    /// `parts`, `[out, in]` each, is not empty, all take inputs of one width, and `bias` has a number for each of
    /// their outputs, one part after the other, or none at all.
    pub(crate) fn new(parts: Vec<QuantizedLinear>, bias: Vec<f32>) -> Self {
        let wide = parts.iter().any(|part| precision_beside(part.kind()) == Precision::Wide);
        Self { parts, bias, precision: if wide { Precision::Wide } else { Precision::Byte } }
    }

    /// `[rows, in]` to `[rows, out]`. A row's result is the same, to the bit, whatever the other rows are.
    pub(crate) fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let (rows, width) = xs.dims2()?;
        if width != self.parts[0].width() {
            bail!("linear: an input of {width} to weights of {} inputs", self.parts[0].width());
        }
        let (storage, layout) = xs.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else { bail!("quantised layers are computed on the CPU") };
        let inputs = contiguous(storage, layout, "linear")?;
        let inputs = Activations::of(Isa::detect(), self.precision, inputs, width);
        let mut out = matmul_all(&self.parts, &inputs);
        if !self.bias.is_empty() {
            for row in out.chunks_exact_mut(self.bias.len()) {
                row.iter_mut().zip(&self.bias).for_each(|(y, bias)| *y += bias);
            }
        }
        let columns = out.len() / rows.max(1);
        Tensor::from_vec(out, (rows, columns), xs.device())
    }

    /// The weights of some of the outputs, all of which there are: `[outputs, in]`.
    pub(crate) fn weights_of(&self, outputs: &[u32]) -> Result<Tensor> {
        let width = self.parts[0].width();
        let mut rows = vec![0.0; outputs.len() * width];
        for (output, row) in outputs.iter().zip(rows.chunks_exact_mut(width)) {
            let mut within = *output as usize;
            for part in &self.parts {
                if within < part.out() {
                    part.dequantize_row(within, row);
                    break;
                }
                within -= part.out();
            }
        }
        Tensor::from_vec(rows, (outputs.len(), width), &candle_core::Device::Cpu)
    }
}

/// How exactly inputs are kept beside such weights, so that what they are rounded by is little beside what the
/// weights were rounded by: the K formats are some percent off what was quantised, and bytes half a percent.
/// The older formats are taken at their word, and give what they say to about 1e-4.
fn precision_beside(kind: QuantKind) -> Precision {
    match kind {
        QuantKind::Q8_0 | QuantKind::Q4_0 => Precision::Wide,
        QuantKind::Q4K | QuantKind::Q5K | QuantKind::Q6K => Precision::Byte,
    }
}
