//! Convolutions with weights in panels, on the calling worker's threads.

use std::num::NonZeroUsize;
use std::ops::Range;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::Window;
use crate::kernels::activation::Activation;
use crate::kernels::contiguous;
use crate::kernels::cpu::Vectors;
use crate::kernels::linear::{Packed, Task};
use crate::kernels::output::Output;
use crate::kernels::pixel_grid::PixelGrid;
use crate::kernels::precision::Precision;

/// How many numbers a task puts together at a time where the picture is large and the weights are small: 1 MiB of
/// f32, which stays in a core's second cache while all weights go by.
const ROWS_NUMBERS: usize = 256 << 10;

/// And where the weights are the larger part, so that they come from memory fewer times: 4 MiB.
const MOST_ROWS_NUMBERS: usize = 1 << 20;

/// How many numbers convolutions need beyond their input and output, on so many threads.
pub(super) fn scratch_numbers(threads: NonZeroUsize) -> usize {
    threads.get() * MOST_ROWS_NUMBERS
}

/// The weights of a convolution, `[out, side x side x in]`.
#[derive(Debug)]
pub(super) struct PackedConv(Packed);

impl PackedConv {
    /// Arranges `weight`, `[out, in, side, side]`, and `bias`, `[out]`.
    pub(super) fn new(
        weight: &Tensor,
        bias: &Tensor,
        precision: Precision,
        vectors: Vectors,
    ) -> Result<Self> {
        let rows = weight.permute((0, 2, 3, 1))?.contiguous()?.flatten_from(1)?;
        Ok(Self(Packed::new(&[rows], std::slice::from_ref(bias), precision, vectors)?))
    }

    /// `[rows, in]` to `[rows of the result, out]`, under the window that the weights were made for.
    pub(super) fn forward(
        &self,
        xs: &Tensor,
        window: Window,
        grid: PixelGrid,
        result: PixelGrid,
    ) -> Result<Tensor> {
        xs.apply_op1_no_bwd(&Forward { conv: self, window, grid, result })
    }

    /// How many pixels and how many panels a task takes.
    fn cut(&self, pixels: usize) -> (usize, usize) {
        let (inputs, panels, threads) = (self.0.inputs(), self.0.panels(), rayon::current_num_threads());
        let numbers = if self.0.outputs() > pixels { MOST_ROWS_NUMBERS } else { ROWS_NUMBERS };
        let chunks = (pixels * inputs).div_ceil(numbers).max(1);
        let chunk = pixels.div_ceil(chunks).next_multiple_of(self.0.tile()).min(pixels).max(1);
        let chunks = pixels.div_ceil(chunk).max(1);
        // Where rows do not go round, threads share the weights, and each puts the rows together for itself.
        let across = if chunks >= 4 * threads { 1 } else { (2 * threads).div_ceil(chunks).min(panels) };
        let across = if threads == 1 || self.0.is_small(pixels) { 1 } else { across };
        (chunk, panels.div_ceil(across))
    }
}

struct Forward<'a> {
    conv: &'a PackedConv,
    window: Window,
    grid: PixelGrid,
    result: PixelGrid,
}

impl CustomOp1 for Forward<'_> {
    fn name(&self) -> &'static str {
        "convolution"
    }

    fn cpu_fwd(&self, xs: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Forward { conv: PackedConv(weights), window, grid, result } = *self;
        let channels = layout.dims()[1];
        let xs = contiguous(xs, layout, "convolution")?;
        let (pixels, outputs) = (result.rows(), weights.outputs());
        let mut out = Vec::with_capacity(pixels * outputs);
        let target = Output::of(&mut out);
        let (pixel_step, panel_step) = self.conv.cut(pixels);
        let panels = weights.panels();
        let across = panels.div_ceil(panel_step);
        let task = |rows: &mut Vec<f32>, number: usize| {
            let (first, panel) = (number / across * pixel_step, number % across * panel_step);
            let pixels: Range<usize> = first..(first + pixel_step).min(pixels);
            window.gather(xs, channels, (grid, result), pixels.clone(), rows);
            let task = Task {
                xs: rows,
                rows: 0..pixels.len(),
                panels: panel..(panel + panel_step).min(panels),
                out: target.at_row(first, outputs),
                activation: Activation::Identity,
            };
            // SAFETY: `out` has room for all pixels, and each task has pixels and panels of its own.
            #[allow(unsafe_code)]
            unsafe {
                weights.task(task);
            }
        };
        match across * pixels.div_ceil(pixel_step) {
            1 => task(&mut Vec::new(), 0),
            tasks => (0..tasks).into_par_iter().for_each_init(Vec::new, task),
        }
        // SAFETY: the tasks have written all columns of all rows.
        #[allow(unsafe_code)]
        unsafe {
            out.set_len(pixels * outputs);
        }
        Ok((CpuStorage::F32(out), (pixels, outputs).into()))
    }
}
