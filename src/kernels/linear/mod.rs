//! Linear layers: `x W^T + b`.
//!
//! Weights are arranged once, when they are loaded, and shared by all that compute with them: in panels for
//! the kernels here where the processor has vectors for them ([`packed`]), as candle has them elsewhere. Half
//! the bytes are half the time where a product waits for memory: bf16 weights are widened in registers, and
//! inputs and sums are f32 in either form. Where the processor multiplies tiles of bf16 ([`tiles`]), the inputs
//! of bf16 weights are rounded to bf16 too; sums stay f32.

#[cfg(target_arch = "x86_64")]
mod packed;
#[cfg(target_arch = "x86_64")]
mod tile_unit;
#[cfg(target_arch = "x86_64")]
mod tiles;

use candle_core::{DType, Result, Tensor};

use super::activation::{Activation, add_bias};
use super::precision::Precision;

#[cfg(target_arch = "x86_64")]
use super::cpu::Vectors;
#[cfg(target_arch = "x86_64")]
pub(super) use packed::{Packed, Task};

/// Whether products with bf16 weights are computed in tiles on this processor: it has them, the system lets this
/// process use them, and they compute what they should.
pub(crate) fn has_tiles() -> bool {
    #[cfg(target_arch = "x86_64")]
    return tiles::serve();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// A linear layer, or several on the same input.
#[derive(Debug)]
pub(crate) struct Linear(Arrangement);

#[derive(Debug)]
enum Arrangement {
    /// On the CPU.
    #[cfg(target_arch = "x86_64")]
    Packed(Packed),
    /// As candle multiplies, on any device.
    Plain {
        /// `[in, out]`
        weight: Tensor,
        /// `[out]`
        bias: Option<Tensor>,
    },
}

impl Linear {
    /// Layers on the same input as one, their outputs side by side, in order: `weights` are `[out, in]` each,
    /// `biases` are `[out]` each, or there are none. There is at least one layer.
    pub(crate) fn joined(weights: &[Tensor], biases: &[Tensor], precision: Precision) -> Result<Self> {
        #[cfg(target_arch = "x86_64")]
        if weights[0].device().is_cpu() && Vectors::detected() != Vectors::Portable {
            let packed = Packed::new(weights, biases, precision, Vectors::detected())?;
            return Ok(Self(Arrangement::Packed(packed)));
        }
        Self::plain(weights, biases, precision)
    }

    fn plain(weights: &[Tensor], biases: &[Tensor], precision: Precision) -> Result<Self> {
        let bias = if biases.is_empty() { None } else { Some(Tensor::cat(biases, 0)?) };
        let weight = Tensor::cat(weights, 0)?.t()?.contiguous()?;
        Ok(Self(Arrangement::Plain { weight: weight.to_dtype(precision.dtype())?, bias }))
    }

    /// The weights of some of the outputs, all of them below `out`: `[outputs, in]`.
    pub(crate) fn weights_of(&self, outputs: &[u32]) -> Result<Tensor> {
        match &self.0 {
            #[cfg(target_arch = "x86_64")]
            Arrangement::Packed(weights) => weights.weights_of(outputs),
            Arrangement::Plain { weight, .. } => {
                let columns = weight.index_select(&Tensor::new(outputs, weight.device())?, 1)?;
                columns.t()?.contiguous()?.to_dtype(DType::F32)
            }
        }
    }

    /// `[rows, in]` to `[rows, out]`. A row's result is the same, to the bit, whatever the other rows are.
    pub(crate) fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.forward_activated(xs, Activation::Identity)
    }

    /// `activation(x W^T + b)`: `[rows, in]` to `[rows, out]`.
    pub(crate) fn forward_activated(&self, xs: &Tensor, activation: Activation) -> Result<Tensor> {
        match &self.0 {
            #[cfg(target_arch = "x86_64")]
            Arrangement::Packed(weights) => weights.forward(xs, activation),
            Arrangement::Plain { weight, bias } => {
                let ys = xs.to_dtype(weight.dtype())?.matmul(weight)?.to_dtype(xs.dtype())?;
                add_bias(&ys, bias.as_ref(), activation)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// Layers of these sizes, in both arrangements.
    fn layers(inputs: usize, outputs: &[usize], precision: Precision) -> Result<[Linear; 2]> {
        let weights = outputs.iter().map(|n| Tensor::randn(0f32, 1.0, (*n, inputs), &Device::Cpu));
        // Weights that bf16 holds exactly: what differs then is the arithmetic.
        let weights = weights.map(|w| w?.to_dtype(DType::BF16)?.to_dtype(DType::F32));
        let biases = outputs.iter().map(|n| Tensor::randn(0f32, 1.0, *n, &Device::Cpu));
        let (weights, biases) = (weights.collect::<Result<Vec<_>>>()?, biases.collect::<Result<Vec<_>>>()?);
        Ok([Linear::joined(&weights, &biases, precision)?, Linear::plain(&weights, &biases, Precision::F32)?])
    }

    #[test]
    fn packed_layers_agree_with_plain_ones() -> Result<()> {
        for (inputs, outputs) in
            [(1, vec![1]), (7, vec![33]), (64, vec![32]), (129, vec![5, 64, 31]), (96, vec![288])]
        {
            for precision in [Precision::F32, Precision::Bf16] {
                let [fast, plain] = layers(inputs, &outputs, precision)?;
                for rows in [1, 2, 13, 14, 15, 29, 100] {
                    // Inputs too, as tiles round them.
                    let xs = Tensor::randn(0f32, 1.0, (rows, inputs), &Device::Cpu)?;
                    let xs = xs.to_dtype(DType::BF16)?.to_dtype(DType::F32)?;
                    for activation in [Activation::Identity, Activation::Gelu] {
                        let off = (fast.forward_activated(&xs, activation)?
                            - plain.forward_activated(&xs, activation)?)?;
                        let off = off.abs()?.max_all()?.to_scalar::<f32>()?;
                        assert!(
                            off < 1e-4,
                            "{inputs} to {outputs:?}, {rows} rows, {precision}: off by {off}"
                        );
                    }
                }
            }
        }
        Ok(())
    }

    #[test]
    fn a_row_has_the_same_bits_alone_and_in_company() -> Result<()> {
        for precision in [Precision::F32, Precision::Bf16] {
            let [layer, _] = layers(300, &[70, 130], precision)?;
            let xs = Tensor::randn(0f32, 1.0, (61, 300), &Device::Cpu)?;
            let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
            let together = pool.install(|| layer.forward(&xs))?.to_vec2::<f32>()?;
            for (row, together) in together.iter().enumerate() {
                let alone = layer.forward(&xs.narrow(0, row, 1)?)?.to_vec2::<f32>()?;
                assert_eq!(&alone[0], together, "row {row}");
            }
        }
        Ok(())
    }

    #[test]
    fn weights_come_back_as_they_went_in() -> Result<()> {
        for precision in [Precision::F32, Precision::Bf16] {
            let weights = Tensor::randn(0f32, 1.0, (70, 33), &Device::Cpu)?;
            let weights = weights.to_dtype(DType::BF16)?.to_dtype(DType::F32)?;
            let parts = [weights.narrow(0, 0, 41)?, weights.narrow(0, 41, 29)?];
            for layer in [Linear::joined(&parts, &[], precision)?, Linear::plain(&parts, &[], precision)?] {
                let some = [69, 0, 31, 32, 40, 41, 0];
                let expected = weights.index_select(&Tensor::new(&some, &Device::Cpu)?, 0)?;
                assert_eq!(layer.weights_of(&some)?.to_vec2::<f32>()?, expected.to_vec2::<f32>()?);
            }
        }
        Ok(())
    }

    #[test]
    fn an_input_of_the_wrong_width_is_an_error() -> Result<()> {
        let [layer, _] = layers(8, &[8], Precision::F32)?;
        assert!(layer.forward(&Tensor::zeros((3, 9), DType::F32, &Device::Cpu)?).is_err());
        Ok(())
    }
}
