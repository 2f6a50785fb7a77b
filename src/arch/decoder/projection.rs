//! The linear layers of a decoder, in whatever form their weights are kept.

use std::sync::Arc;

use candle_core::{Device, Result, Tensor};

use crate::kernels::{ActivationPrecision, Activations, Linear, Precision, QuantizedLinear, matmul_all};

/// A linear layer.
#[derive(Debug)]
pub(super) enum Projection {
    /// Weights as numbers.
    Dense(Linear),
    /// Weights as the file has them.
    Quantized(Quantized),
}

impl Projection {
    /// `[rows, in]` to `[rows, out]`.
    pub(super) fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        match self {
            Self::Dense(linear) => linear.forward(xs),
            Self::Quantized(layers) => layers.forward(xs),
        }
    }
}

/// Quantised layers on the same input, their outputs side by side.
#[derive(Debug)]
pub(super) struct Quantized {
    parts: Vec<Arc<QuantizedLinear>>,
    /// Of all parts, one after the other; empty if they have none.
    bias: Vec<f32>,
}

impl Quantized {
    /// `parts` is not empty, and all take inputs of one width.
    pub(super) fn new(parts: Vec<Arc<QuantizedLinear>>, bias: Vec<f32>) -> Self {
        Self { parts, bias }
    }

    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let (rows, width) = xs.dims2()?;
        // Bytes would be twice as fast where arithmetic binds, but put logits off by more than the files do.
        let mut inputs = Activations::new(ActivationPrecision::Wide);
        inputs.quantize(&xs.flatten_all()?.to_vec1::<f32>()?, width);
        let parts: Vec<&QuantizedLinear> = self.parts.iter().map(Arc::as_ref).collect();
        let mut outputs: Vec<Vec<f32>> = parts.iter().map(|part| vec![0.0; rows * part.out()]).collect();
        let mut slices: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
        matmul_all(&parts, &inputs, &mut slices);
        let mut joined = side_by_side(outputs, &parts, rows);
        if !self.bias.is_empty() {
            let rows = joined.chunks_exact_mut(self.bias.len());
            rows.for_each(|row| row.iter_mut().zip(&self.bias).for_each(|(y, bias)| *y += bias));
        }
        let out = joined.len() / rows.max(1);
        Tensor::from_vec(joined, (rows, out), xs.device())
    }
}

/// `[rows, out]` of each part to `[rows, sum of out]`.
fn side_by_side(mut outputs: Vec<Vec<f32>>, parts: &[&QuantizedLinear], rows: usize) -> Vec<f32> {
    if outputs.len() == 1 {
        return outputs.remove(0);
    }
    let mut joined = Vec::with_capacity(outputs.iter().map(Vec::len).sum());
    for row in 0..rows {
        for (output, part) in outputs.iter().zip(parts) {
            joined.extend_from_slice(&output[row * part.out()..][..part.out()]);
        }
    }
    joined
}

/// The tokens' vectors, `[tokens, width]`.
#[derive(Debug)]
pub(super) enum Table {
    /// As numbers.
    Dense(Tensor),
    /// As the file has them.
    Quantized(Arc<QuantizedLinear>),
}

impl Table {
    /// The vectors of `ids`, which are all in the table: `[ids, width]`.
    pub(super) fn rows(&self, ids: &[u32]) -> Result<Tensor> {
        match self {
            Self::Dense(table) => table.index_select(&Tensor::new(ids, table.device())?, 0),
            Self::Quantized(table) => {
                let width = table.width();
                let mut rows = vec![0.0; ids.len() * width];
                let each = ids.iter().zip(rows.chunks_exact_mut(width));
                each.for_each(|(id, row)| table.dequantize_row(*id as usize, row));
                Tensor::from_vec(rows, (ids.len(), width), &Device::Cpu)
            }
        }
    }

    /// The way out, where it is the way in.
    pub(super) fn tied_head(&self) -> Result<Projection> {
        Ok(match self {
            Self::Dense(table) => {
                Projection::Dense(Linear::joined(std::slice::from_ref(table), &[], Precision::F32)?)
            }
            Self::Quantized(table) => Projection::Quantized(Quantized::new(vec![table.clone()], Vec::new())),
        })
    }
}
