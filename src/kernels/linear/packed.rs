//! Weights in panels, and products with them on the calling worker's threads.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Storage, Tensor, bail};
use rayon::prelude::*;

use crate::kernels::activation::Activation;
use crate::kernels::contiguous;
use crate::kernels::cpu::Vectors;
use crate::kernels::output::Output;
use crate::kernels::panel::{Panel, Rows, Target, multiply, panel_width, tile_rows};
use crate::kernels::precision::Precision;

/// How many numbers of the input one task goes over at a time: 512 KiB of f32, which stay in a core's second
/// cache while all panels go by.
const CACHED_NUMBERS: usize = 128 << 10;

/// How many products are worth a task of their own: some twenty microseconds of them.
const TASK_PRODUCTS: usize = 1 << 20;

/// The weights of a linear layer, `[out, in]`, in panels of outputs.
#[derive(Debug)]
pub(super) struct Packed {
    panels: Panels,
    /// One number per column of every panel.
    bias: Vec<f32>,
    inputs: usize,
    outputs: usize,
    vectors: Vectors,
}

#[derive(Debug)]
enum Panels {
    F32(Vec<f32>),
    Bf16(Vec<u32>),
}

impl Packed {
    /// Arranges `weights`, `[out, in]` each, one after the other, and `biases`, `[out]` each. Their f32 must be
    /// on the CPU.
    pub(super) fn new(
        weights: &[Tensor],
        biases: &[Tensor],
        precision: Precision,
        vectors: Vectors,
    ) -> Result<Self> {
        let inputs = weights[0].dim(1)?;
        let outputs = weights.iter().map(|weight| weight.dim(0)).sum::<Result<usize>>()?;
        let width = panel_width(vectors);
        let columns = outputs.next_multiple_of(width);
        let mut bias = biases.iter().map(Tensor::to_vec1::<f32>).collect::<Result<Vec<_>>>()?.concat();
        if !bias.is_empty() && bias.len() != outputs {
            bail!("linear: {} biases for {outputs} outputs", bias.len());
        }
        bias.resize(columns, 0.0);
        let mut panels = match precision {
            Precision::F32 => Panels::F32(vec![0.0; columns * inputs]),
            Precision::Bf16 => Panels::Bf16(vec![0; columns * inputs.div_ceil(2)]),
        };
        let mut output = 0;
        for weight in weights {
            let (storage, layout) = weight.storage_and_layout();
            let Storage::Cpu(storage) = &*storage else { bail!("linear: weights to pack are on the CPU") };
            for row in contiguous(storage, layout, "linear")?.chunks_exact(inputs) {
                panels.set_column(output, width, row);
                output += 1;
            }
        }
        Ok(Self { panels, bias, inputs, outputs, vectors })
    }

    /// `[rows, in]` to `[rows, out]`.
    pub(super) fn forward(&self, xs: &Tensor, activation: Activation) -> Result<Tensor> {
        xs.apply_op1_no_bwd(&Forward { weights: self, activation })
    }

    fn panel(&self, number: usize) -> Panel<'_> {
        let width = panel_width(self.vectors);
        match &self.panels {
            Panels::F32(numbers) => Panel::F32(&numbers[number * width * self.inputs..]),
            Panels::Bf16(words) => Panel::Bf16(&words[number * width * self.inputs.div_ceil(2)..]),
        }
    }

    /// What one task does: these rows, through these panels. `out` is where the first row's results begin.
    fn task(
        &self,
        xs: &[f32],
        rows: Range<usize>,
        panels: Range<usize>,
        out: Output,
        activation: Activation,
    ) {
        let width = panel_width(self.vectors);
        let left = Rows { numbers: &xs[rows.start * self.inputs..], stride: self.inputs, count: rows.len() };
        let mut spare = Vec::new();
        for number in panels {
            let columns = number * width..((number + 1) * width).min(self.outputs);
            let whole = columns.len() == width;
            if !whole {
                spare.resize(left.count * width, 0.0);
            }
            let target = if whole {
                out.at(rows.start, columns.start, self.outputs)
            } else {
                Target { first: spare.as_mut_ptr(), stride: width }
            };
            let start = &self.bias[number * width..];
            // SAFETY: the target is this task's own: a whole panel's columns of its rows, or the spare ones.
            #[allow(unsafe_code)]
            unsafe {
                multiply(self.vectors, left, self.inputs, self.panel(number), start, target);
            }
            for row in 0..left.count {
                // SAFETY: these columns of this row were just written, or are about to be, by this task alone.
                #[allow(unsafe_code)]
                let result = unsafe { out.row(rows.start + row, columns.clone(), self.outputs) };
                if !whole {
                    result.copy_from_slice(&spare[row * width..][..columns.len()]);
                }
                activation.apply(result);
            }
        }
    }

    /// How the work is cut: rows and panels of a task.
    fn cut(&self, rows: usize) -> (usize, usize) {
        let panels = self.bias.len() / panel_width(self.vectors);
        let tile = tile_rows(self.vectors);
        let cached = (CACHED_NUMBERS / self.inputs / tile * tile).max(tile);
        let chunks = rows.div_ceil(cached);
        let products = rows * self.inputs * self.bias.len();
        let wanted = (products / TASK_PRODUCTS).clamp(1, 4 * rayon::current_num_threads());
        if rayon::current_num_threads() == 1 || chunks >= wanted {
            return (cached, panels);
        }
        (cached.min(rows), panels.div_ceil(wanted.div_ceil(chunks)))
    }
}

impl Panels {
    /// Puts one output's weights where its column is.
    fn set_column(&mut self, output: usize, width: usize, row: &[f32]) {
        let (panel, column) = (output / width, output % width);
        match self {
            Self::F32(numbers) => {
                let panel = &mut numbers[panel * width * row.len()..][..width * row.len()];
                for (slot, x) in panel[column..].iter_mut().step_by(width).zip(row) {
                    *slot = *x;
                }
            }
            Self::Bf16(words) => {
                let pairs = row.len().div_ceil(2);
                let panel = &mut words[panel * width * pairs..][..width * pairs];
                for (slot, pair) in panel[column..].iter_mut().step_by(width).zip(row.chunks(2)) {
                    let bits = |x: f32| u32::from(half::bf16::from_f32(x).to_bits());
                    *slot = bits(pair[0]) | pair.get(1).map_or(0, |odd| bits(*odd) << 16);
                }
            }
        }
    }
}

struct Forward<'a> {
    weights: &'a Packed,
    activation: Activation,
}

impl CustomOp1 for Forward<'_> {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, xs: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Forward { weights, activation } = *self;
        let xs = contiguous(xs, layout, "linear")?;
        let rows = layout.dims()[0];
        if layout.dims() != [rows, weights.inputs] {
            bail!("linear: an input of {:?} to weights of {} inputs", layout.dims(), weights.inputs);
        }
        let mut out = Vec::with_capacity(rows * weights.outputs);
        let target = Output::of(&mut out);
        let (row_step, panel_step) = weights.cut(rows);
        let panels = weights.bias.len() / panel_width(weights.vectors);
        let across = panels.div_ceil(panel_step);
        let task = |number: usize| {
            let (row, panel) = (number / across * row_step, number % across * panel_step);
            let rows = row..(row + row_step).min(rows);
            weights.task(xs, rows, panel..(panel + panel_step).min(panels), target, activation);
        };
        match across * rows.div_ceil(row_step) {
            1 => task(0),
            tasks => (0..tasks).into_par_iter().for_each(task),
        }
        // SAFETY: the tasks have written all columns of all rows.
        #[allow(unsafe_code)]
        unsafe {
            out.set_len(rows * weights.outputs);
        }
        Ok((CpuStorage::F32(out), (rows, weights.outputs).into()))
    }
}
