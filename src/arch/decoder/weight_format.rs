//! In what form a decoder's weights are kept in memory, by what the user asks for and what the files hold.

use candle_core::Tensor;
use rayon::prelude::*;

use super::plan::DecoderOptions;
use super::projection::{Projection, Table};
use crate::arch::ArchError;
use crate::kernels::{Dtype, Linear, Precision, QuantKind, QuantizedLayers, QuantizedLinear};
use crate::weights::gguf::{GgmlType, Quantization, quantize_rows};

/// Rows that one thread quantises at a time.
const ROWS: usize = 64;

/// How linear layers are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct WeightFormat {
    precision: Precision,
    quantize: Option<Quantization>,
    /// Whether what is quantised in the file stays as it is.
    keeps: bool,
}

impl WeightFormat {
    /// Layers that are quantised in the file stay so, unless a dtype is asked for. Layers of numbers are
    /// quantised if that is asked for.
    pub(super) fn of(options: DecoderOptions) -> Self {
        let DecoderOptions { dtype, quantize, .. } = options;
        Self { precision: dtype.precision(), quantize, keeps: dtype == Dtype::Auto || quantize.is_some() }
    }

    /// All layers as numbers.
    pub(super) fn numbers(precision: Precision) -> Self {
        Self { precision, quantize: None, keeps: false }
    }

    /// The same for layers too small to be worth quantising.
    pub(super) fn as_numbers(self) -> Self {
        Self { quantize: None, ..self }
    }

    /// What layers of numbers are kept in, in words.
    pub(super) fn in_words(self) -> String {
        match self.quantize {
            Some(to) => to.to_string(),
            None => self.precision.to_string(),
        }
    }

    /// How the kernels call a file's format, if it stays as it is.
    pub(super) fn kept(self, stored: GgmlType) -> Option<QuantKind> {
        if self.keeps { kind(stored) } else { None }
    }

    /// What numbers in rows of `width` are quantised to: what is asked for, or 8 bits where the rows do not
    /// divide into its larger blocks, or nothing where they do not divide into those either.
    fn quantized_to(self, width: usize) -> Option<(Quantization, QuantKind)> {
        let wanted = self.quantize?;
        [wanted, Quantization::Q8_0].into_iter().find_map(|to| {
            let kind = kind(to.stored())?;
            width.is_multiple_of(kind.block_weights()).then_some((to, kind))
        })
    }

    /// How numbers in rows of `width` are stored once they are quantised, if they are.
    pub(super) fn becomes(self, width: usize) -> Option<GgmlType> {
        self.quantized_to(width).map(|(to, _)| to.stored())
    }

    /// The bytes that `layers` matrices of numbers take, each of `rows` rows of `width`.
    pub(super) fn bytes(self, layers: usize, rows: usize, width: usize) -> u64 {
        let each = match self.quantized_to(width) {
            Some((_, kind)) => QuantizedLinear::packed_bytes(kind, rows, width),
            None => rows.saturating_mul(width).saturating_mul(self.precision.bytes()),
        };
        (each as u64).saturating_mul(layers as u64)
    }

    /// A table of numbers that is not a linear layer too.
    pub(super) fn table(self, numbers: Tensor) -> Result<Table, ArchError> {
        Ok(match self.quantized_to(numbers.dim(1)?) {
            Some(_) => Table::Weights(self.layer(&[numbers], &[])?),
            None => Table::Numbers(numbers),
        })
    }

    /// The bytes that such a table takes.
    pub(super) fn table_bytes(self, rows: usize, width: usize) -> u64 {
        match self.quantized_to(width) {
            Some(_) => self.bytes(1, rows, width),
            None => (rows as u64).saturating_mul(width as u64).saturating_mul(4),
        }
    }

    /// Layers of numbers on the same input as one, their outputs side by side: `weights` are `[out, in]` each,
    /// `biases` `[out]` each, or there are none.
    pub(super) fn layer(self, weights: &[Tensor], biases: &[Tensor]) -> Result<Projection, ArchError> {
        let width = weights[0].dim(1)?;
        let Some((to, kind)) = self.quantized_to(width) else {
            return Ok(Projection::Dense(Linear::joined(weights, biases, self.precision)?));
        };
        let parts = weights.iter().map(|weight| quantized(weight, to, kind)).collect::<Result<_, _>>()?;
        let bias = biases.iter().map(Tensor::to_vec1::<f32>).collect::<candle_core::Result<Vec<_>>>()?;
        Ok(Projection::Quantized(QuantizedLayers::new(parts, bias.concat())))
    }
}

/// How the kernels call a format, if they compute with it.
fn kind(stored: GgmlType) -> Option<QuantKind> {
    match stored {
        GgmlType::Q8_0 => Some(QuantKind::Q8_0),
        GgmlType::Q4_0 => Some(QuantKind::Q4_0),
        GgmlType::Q4K => Some(QuantKind::Q4K),
        GgmlType::Q5K => Some(QuantKind::Q5K),
        GgmlType::Q6K => Some(QuantKind::Q6K),
        _ => None,
    }
}

fn quantized(weight: &Tensor, to: Quantization, kind: QuantKind) -> Result<QuantizedLinear, ArchError> {
    let (rows, width) = weight.dims2()?;
    let numbers = weight.flatten_all()?.to_vec1::<f32>()?;
    let blocks = numbers.par_chunks(ROWS * width).map(|rows| quantize_rows(to, rows, width));
    let blocks = blocks.collect::<Result<Vec<_>, _>>().map_err(candle_core::Error::wrap)?;
    packed(kind, &blocks.concat(), rows, width)
}

/// Blocks as a GGUF file has them, packed for the kernels.
pub(super) fn packed(
    kind: QuantKind,
    blocks: &[u8],
    outputs: usize,
    inputs: usize,
) -> Result<QuantizedLinear, ArchError> {
    QuantizedLinear::from_gguf_blocks(kind, blocks, outputs, inputs)
        .map_err(|error| ArchError::Tensor(candle_core::Error::wrap(error)))
}
