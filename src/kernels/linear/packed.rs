//! Weights in panels, and products with them on the calling worker's threads.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Storage, Tensor, bail};
use rayon::prelude::*;

use super::tile_unit::TileUnit;
use super::tiles;
use crate::kernels::activation::Activation;
use crate::kernels::contiguous;
use crate::kernels::cpu::Vectors;
use crate::kernels::output::Output;
use crate::kernels::panel::{Panel, Rows, Target, multiply, panel_width, tile_rows};
use crate::kernels::precision::Precision;

/// How many numbers of the input one task goes over at a time: 1 MiB of f32, which stays in a core's second
/// cache while all panels go by.
const CACHED_NUMBERS: usize = 256 << 10;

/// How many products are worth a task of their own: some twenty microseconds of them.
const TASK_PRODUCTS: usize = 1 << 20;

/// How many are in tiles, which compute them several times as fast.
const TASK_PRODUCTS_IN_TILES: usize = 8 << 20;

/// The weights of a linear layer, `[out, in]`, in panels of outputs.
#[derive(Debug)]
pub(in crate::kernels) struct Packed {
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
    /// With as many rows as tiles want, the last ones zeros.
    Bf16(Vec<u32>),
}

impl Packed {
    /// Arranges `weights`, `[out, in]` each, one after the other, and `biases`, `[out]` each. Their f32 must be
    /// on the CPU.
    pub(in crate::kernels) fn new(
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
            Precision::Bf16 => Panels::Bf16(vec![0; columns * pairs(inputs)]),
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

    /// The weights of some outputs: `[outputs, in]`.
    pub(super) fn weights_of(&self, outputs: &[u32]) -> Result<Tensor> {
        let mut numbers = vec![0.0; outputs.len() * self.inputs];
        for (output, row) in outputs.iter().zip(numbers.chunks_exact_mut(self.inputs)) {
            let output = *output as usize;
            if output >= self.outputs {
                bail!("linear: output {output} of {}", self.outputs);
            }
            self.panels.column(output, panel_width(self.vectors), row);
        }
        Tensor::from_vec(numbers, (outputs.len(), self.inputs), &Device::Cpu)
    }

    /// Numbers of a row that goes in.
    pub(in crate::kernels) fn inputs(&self) -> usize {
        self.inputs
    }

    /// Numbers of a row that comes out.
    pub(in crate::kernels) fn outputs(&self) -> usize {
        self.outputs
    }

    /// How many panels there are.
    pub(in crate::kernels) fn panels(&self) -> usize {
        self.bias.len() / panel_width(self.vectors)
    }

    /// How many rows are multiplied at a time.
    pub(in crate::kernels) fn tile(&self) -> usize {
        if self.in_tiles() { tiles::BLOCK_ROWS } else { tile_rows(self.vectors) }
    }

    /// Whether so many rows are no more work than one task should have.
    pub(in crate::kernels) fn is_small(&self, rows: usize) -> bool {
        rows * self.inputs * self.bias.len() < 2 * self.worth()
    }

    /// How many products are worth a task of their own.
    fn worth(&self) -> usize {
        if self.in_tiles() { TASK_PRODUCTS_IN_TILES } else { TASK_PRODUCTS }
    }

    /// `[rows, in]` to `[rows, out]`.
    pub(super) fn forward(&self, xs: &Tensor, activation: Activation) -> Result<Tensor> {
        xs.apply_op1_no_bwd(&Forward { weights: self, activation })
    }

    fn panel(&self, number: usize) -> Panel<'_> {
        let width = panel_width(self.vectors);
        match &self.panels {
            Panels::F32(numbers) => Panel::F32(&numbers[number * width * self.inputs..]),
            Panels::Bf16(words) => Panel::Bf16(&words[number * width * pairs(self.inputs)..]),
        }
    }

    /// The columns of the result that a panel makes.
    fn columns(&self, panel: usize) -> Range<usize> {
        let width = panel_width(self.vectors);
        panel * width..((panel + 1) * width).min(self.outputs)
    }

    /// Whether products are computed in tiles.
    fn in_tiles(&self) -> bool {
        matches!(self.panels, Panels::Bf16(_)) && self.vectors == Vectors::Avx512 && tiles::serve()
    }

    /// Multiplies some rows by some panels.
    ///
    /// # Safety
    ///
    /// What [`Task::out`] asks.
    #[allow(unsafe_code)]
    pub(in crate::kernels) unsafe fn task(&self, task: Task<'_>) {
        match &self.panels {
            Panels::Bf16(words) if self.in_tiles() => match tiles::unit() {
                Some(mut unit) => self.task_in_tiles(&mut unit, words, task),
                None => self.task_in_vectors(task),
            },
            _ => self.task_in_vectors(task),
        }
    }

    fn task_in_tiles(&self, unit: &mut impl TileUnit, words: &[u32], task: Task<'_>) {
        let Task { rows, out, activation, .. } = task;
        let left = tiles::Left::new(self.left(task.xs, &rows), self.inputs);
        for number in task.panels {
            let columns = self.columns(number);
            let panel = &words[number * tiles::WIDTH * pairs(self.inputs)..];
            let start = &self.bias[number * tiles::WIDTH..];
            tiles::multiply(unit, &left, panel, start, |first, block| {
                activation.apply(block);
                for (row, results) in block.chunks_exact(tiles::WIDTH).enumerate() {
                    // SAFETY: these columns of this row are about to be written, by this task alone.
                    #[allow(unsafe_code)]
                    let place = unsafe { out.row(rows.start + first + row, columns.clone(), self.outputs) };
                    place.copy_from_slice(&results[..columns.len()]);
                }
            });
        }
    }

    /// These rows of the input.
    fn left<'a>(&self, xs: &'a [f32], rows: &Range<usize>) -> Rows<'a> {
        Rows { numbers: &xs[rows.start * self.inputs..], stride: self.inputs, count: rows.len() }
    }

    fn task_in_vectors(&self, task: Task<'_>) {
        let Task { rows, out, activation, .. } = task;
        let width = panel_width(self.vectors);
        let left = self.left(task.xs, &rows);
        let mut spare = Vec::new();
        for number in task.panels {
            let columns = self.columns(number);
            let whole = columns.len() == width;
            if !whole {
                spare.resize(left.count * width, 0.0);
            }
            let target = if whole {
                Target { first: out.at(rows.start, columns.start, self.outputs), stride: self.outputs }
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
        let (panels, tile) = (self.panels(), self.tile());
        let chunks = (rows * self.inputs).div_ceil(CACHED_NUMBERS).max(1);
        // Chunks of about the same size, in whole tiles.
        let chunk = rows.div_ceil(chunks).next_multiple_of(tile);
        let chunks = rows.div_ceil(chunk).max(1);
        let products = rows * self.inputs * self.bias.len();
        let wanted = (products / self.worth()).clamp(1, 2 * rayon::current_num_threads());
        let alone = rayon::current_num_threads() == 1;
        let across = if alone { 1 } else { wanted.div_ceil(chunks).min(panels) };
        (chunk, panels.div_ceil(across))
    }
}

/// What one task does: these rows of the input through these panels.
pub(in crate::kernels) struct Task<'a> {
    /// The whole input.
    pub(in crate::kernels) xs: &'a [f32],
    pub(in crate::kernels) rows: Range<usize>,
    pub(in crate::kernels) panels: Range<usize>,
    /// Where the result of the whole input's first row begins: room for all rows, of which no one else writes these
    /// panels' columns.
    pub(in crate::kernels) out: Output,
    pub(in crate::kernels) activation: Activation,
}

/// How many rows of words a panel of bf16 has: two inputs a row, in whole steps of tiles.
const fn pairs(inputs: usize) -> usize {
    inputs.next_multiple_of(tiles::STEP) / 2
}

impl Panels {
    /// What [`set_column`](Self::set_column) put there.
    fn column(&self, output: usize, width: usize, row: &mut [f32]) {
        let (panel, column) = (output / width, output % width);
        match self {
            Self::F32(numbers) => {
                let panel = &numbers[panel * width * row.len()..];
                for (x, number) in row.iter_mut().zip(panel[column..].iter().step_by(width)) {
                    *x = *number;
                }
            }
            Self::Bf16(words) => {
                let panel = &words[panel * width * pairs(row.len())..];
                for (pair, word) in row.chunks_mut(2).zip(panel[column..].iter().step_by(width)) {
                    for (x, bits) in pair.iter_mut().zip([word << 16, word & 0xffff_0000]) {
                        *x = f32::from_bits(bits);
                    }
                }
            }
        }
    }

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
                let pairs = pairs(row.len());
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
        let panels = weights.panels();
        let across = panels.div_ceil(panel_step);
        let task = |number: usize| {
            let (row, panel) = (number / across * row_step, number % across * panel_step);
            let rows = row..(row + row_step).min(rows);
            let panels = panel..(panel + panel_step).min(panels);
            // SAFETY: `out` has room for all rows, and each task has rows and panels of its own.
            #[allow(unsafe_code)]
            unsafe {
                weights.task(Task { xs, rows, panels, out: target, activation });
            }
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

#[cfg(test)]
mod tests;
