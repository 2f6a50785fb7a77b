//! Normalising each picture by groups of its channels: Wu and He, "Group Normalization", arXiv 1803.08494.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::activation::{Activation, add_bias};
use super::output::Output;
use super::pixel_grid::PixelGrid;
use super::{contiguous, widened};

/// Pixels that are summed at a time: sums are added up in the same order whatever the number of threads.
const PIXELS: usize = 64;

/// A norm over groups of channels, whose numbers are taken from all pixels of a picture.
#[derive(Debug)]
pub(crate) struct GroupNorm {
    /// `[2, channels]`: weight and shift.
    params: Tensor,
    groups: usize,
    eps: f64,
}

impl GroupNorm {
    /// `(x - mean) / sqrt(variance + eps) * weight + shift`, mean and variance being those of the channel's group in
    /// its picture; `weight` and `shift` are `[channels]`, of which each group has the same number.
    pub(crate) fn new(weight: &Tensor, shift: &Tensor, groups: usize, eps: f64) -> Result<Self> {
        let channels = weight.dims1()?;
        if groups == 0 || !channels.is_multiple_of(groups) {
            bail!("group norm: {channels} channels in {groups} groups");
        }
        Ok(Self { params: Tensor::stack(&[weight, shift], 0)?, groups, eps })
    }

    /// `activation(norm(xs))`, of the shape of `xs`: `[rows, channels]`.
    pub(crate) fn forward(&self, xs: &Tensor, grid: PixelGrid, activation: Activation) -> Result<Tensor> {
        let nothing = Tensor::zeros((grid.pictures, xs.dim(1)?), xs.dtype(), xs.device())?;
        self.forward_shifted(xs, &nothing, grid, activation)
    }

    /// `activation(norm(xs + shifts))`, where each picture's pixels are shifted by its row of `shifts`, `[pictures,
    /// channels]`.
    pub(crate) fn forward_shifted(
        &self,
        xs: &Tensor,
        shifts: &Tensor,
        grid: PixelGrid,
        activation: Activation,
    ) -> Result<Tensor> {
        let channels = self.params.dim(1)?;
        if xs.dims() != [grid.rows(), channels] || shifts.dims() != [grid.pictures, channels] {
            bail!("group norm: {:?} for {grid:?} of {channels} channels", xs.dims());
        }
        if xs.device().is_cpu() {
            let op = Forward { groups: self.groups, eps: self.eps, grid, activation };
            return xs.apply_op3_no_bwd(shifts, &self.params, &op);
        }
        self.plain(xs, shifts, grid, activation)
    }

    fn plain(&self, xs: &Tensor, shifts: &Tensor, grid: PixelGrid, activation: Activation) -> Result<Tensor> {
        let channels = self.params.dim(1)?;
        let pictures = xs.reshape((grid.pictures, grid.pixels(), channels))?;
        let grouped = (grid.pictures, grid.pixels(), self.groups, channels / self.groups);
        let xs = pictures.broadcast_add(&shifts.unsqueeze(1)?)?.reshape(grouped)?;
        let xs = xs.broadcast_sub(&xs.mean_keepdim((1, 3))?)?;
        let deviation = (xs.sqr()?.mean_keepdim((1, 3))? + self.eps)?.sqrt()?;
        let xs = xs.broadcast_div(&deviation)?.reshape((grid.rows(), channels))?;
        let xs = xs.broadcast_mul(&self.params.get(0)?)?;
        add_bias(&xs, Some(&self.params.get(1)?), activation)
    }
}

struct Forward {
    groups: usize,
    eps: f64,
    grid: PixelGrid,
    activation: Activation,
}

impl CustomOp3 for Forward {
    fn name(&self) -> &'static str {
        "group-norm"
    }

    fn cpu_fwd(
        &self,
        xs: &CpuStorage,
        xs_l: &Layout,
        shifts: &CpuStorage,
        shifts_l: &Layout,
        params: &CpuStorage,
        params_l: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let xs = contiguous(xs, xs_l, "group norm")?;
        let shifts = contiguous(shifts, shifts_l, "group norm")?;
        let params = contiguous(params, params_l, "group norm")?;
        let channels = params.len() / 2;
        let mut out = Vec::with_capacity(xs.len());
        let target = Output::of(&mut out);
        for picture in 0..self.grid.pictures {
            let first = picture * self.grid.pixels();
            let pixels = &xs[first * channels..][..self.grid.pixels() * channels];
            let line = self.line(pixels, &shifts[picture * channels..][..channels], params);
            pixels.par_chunks(PIXELS * channels).enumerate().for_each(|(part, pixels)| {
                let count = pixels.len();
                // SAFETY: each task writes the rows of its own pixels.
                #[allow(unsafe_code)]
                let place = unsafe { target.row(first + part * PIXELS, 0..count, channels) };
                along(pixels, &line, place);
                self.activation.apply(place);
            });
        }
        // SAFETY: the tasks have written all rows.
        #[allow(unsafe_code)]
        unsafe {
            out.set_len(xs.len());
        }
        Ok((CpuStorage::F32(out), xs_l.shape().clone()))
    }
}

impl Forward {
    /// What the norm of one picture comes to: what is taken off each channel, its factor, and what is added then.
    fn line(&self, pixels: &[f32], shifts: &[f32], params: &[f32]) -> Vec<f32> {
        let (weights, shift) = params.split_at(shifts.len());
        let (width, count) = (shifts.len() / self.groups, self.grid.pixels() as f64);
        let mut line = vec![0.0; 3 * shifts.len()];
        let sums = totals(pixels, &vec![0.0; shifts.len()], sum);
        // Of the channel itself, and then of its group.
        let means: Vec<f64> =
            sums.iter().zip(shifts).map(|(sum, shift)| sum / count + f64::from(*shift)).collect();
        let means: Vec<f64> =
            means.chunks_exact(width).map(|group| group.iter().sum::<f64>() / width as f64).collect();
        // A shifted channel's distance from the mean is the channel's from the mean less the shift.
        let middles: Vec<f32> = shifts
            .iter()
            .enumerate()
            .map(|(channel, shift)| (means[channel / width] - f64::from(*shift)) as f32)
            .collect();
        let squares = totals(pixels, &middles, sum_of_squares);
        for (group, squares) in squares.chunks_exact(width).enumerate() {
            let variance = squares.iter().sum::<f64>() / (width as f64 * count);
            let scale = (variance + self.eps).sqrt().recip();
            for channel in group * width..(group + 1) * width {
                line[shifts.len() + channel] = (f64::from(weights[channel]) * scale) as f32;
            }
        }
        line[..shifts.len()].copy_from_slice(&middles);
        line[2 * shifts.len()..].copy_from_slice(shift);
        line
    }
}

/// What `sum` makes of each channel, part by part and then all of them.
fn totals(pixels: &[f32], middles: &[f32], sum: fn(&[f32], &[f32], &mut [f32])) -> Vec<f64> {
    let parts: Vec<Vec<f32>> = pixels
        .par_chunks(PIXELS * middles.len())
        .map(|part| {
            let mut sums = vec![0.0; middles.len()];
            sum(part, middles, &mut sums);
            sums
        })
        .collect();
    let mut totals = vec![0.0; middles.len()];
    for part in parts {
        totals.iter_mut().zip(part).for_each(|(total, sum)| *total += f64::from(sum));
    }
    totals
}

widened! {
    fn sum(pixels: &[f32], middles: &[f32], sums: &mut [f32]) {
        for pixel in pixels.chunks_exact(middles.len()) {
            for (sum, x) in sums.iter_mut().zip(pixel) {
                *sum += x;
            }
        }
    }
}

widened! {
    fn sum_of_squares(pixels: &[f32], middles: &[f32], sums: &mut [f32]) {
        for pixel in pixels.chunks_exact(middles.len()) {
            for ((sum, x), middle) in sums.iter_mut().zip(pixel).zip(middles) {
                *sum += (x - middle) * (x - middle);
            }
        }
    }
}

widened! {
    fn along(pixels: &[f32], line: &[f32], out: &mut [f32]) {
        let (middles, rest) = line.split_at(line.len() / 3);
        let (factors, addends) = rest.split_at(middles.len());
        for (pixel, out) in pixels.chunks_exact(middles.len()).zip(out.chunks_exact_mut(middles.len())) {
            let line = middles.iter().zip(factors).zip(addends);
            for ((out, x), ((middle, factor), addend)) in out.iter_mut().zip(pixel).zip(line) {
                *out = (x - middle) * factor + addend;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    fn norm(channels: usize, groups: usize) -> Result<GroupNorm> {
        let random = |mean| Tensor::randn(mean, 1f32, channels, &Device::Cpu);
        GroupNorm::new(&random(1.0)?, &random(0.0)?, groups, 1e-5)
    }

    #[test]
    fn the_fast_norm_agrees_with_the_plain_one() -> Result<()> {
        for (channels, groups, height, width) in
            [(1, 1, 1, 1), (6, 3, 5, 3), (32, 32, 9, 9), (320, 32, 16, 20)]
        {
            let norm = norm(channels, groups)?;
            for pictures in [1, 3] {
                let grid = PixelGrid { pictures, height, width };
                // Far from zero, where a careless variance has no digits left.
                let xs = Tensor::randn(100f32, 2.0, (grid.rows(), channels), &Device::Cpu)?;
                let shifts = Tensor::randn(0f32, 5.0, (pictures, channels), &Device::Cpu)?;
                for activation in [Activation::Identity, Activation::Silu] {
                    let got = norm.forward_shifted(&xs, &shifts, grid, activation)?;
                    // In f64: candle's own mean of so many numbers far from zero is off by more in f32.
                    let [xs, shifts, params] = [&xs, &shifts, &norm.params].map(|x| x.to_dtype(DType::F64));
                    let exact = GroupNorm { params: params?, ..norm };
                    let expected = exact.plain(&xs?, &shifts?, grid, activation)?.to_dtype(DType::F32)?;
                    let off = (got - expected)?.abs()?.max_all()?.to_scalar::<f32>()?;
                    assert!(off < 1e-4, "{channels} in {groups}, {grid:?}: off by {off}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn a_picture_has_the_same_bits_alone_and_in_company() -> Result<()> {
        let (norm, all) = (norm(24, 4)?, PixelGrid { pictures: 2, height: 20, width: 10 });
        let xs = Tensor::randn(0f32, 1.0, (all.rows(), 24), &Device::Cpu)?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let together = pool.install(|| norm.forward(&xs, all, Activation::Silu))?;
        let one = PixelGrid { pictures: 1, ..all };
        for picture in 0..2 {
            let rows = |xs: &Tensor| xs.narrow(0, picture * one.rows(), one.rows());
            let alone = norm.forward(&rows(&xs)?, one, Activation::Silu)?;
            assert_eq!(alone.to_vec2::<f32>()?, rows(&together)?.to_vec2::<f32>()?);
        }
        Ok(())
    }

    #[test]
    fn what_does_not_fit_is_an_error() -> Result<()> {
        assert!(norm(10, 3).is_err() && norm(10, 0).is_err());
        let grid = PixelGrid { pictures: 1, height: 2, width: 2 };
        let xs = Tensor::zeros((4, 5), DType::F32, &Device::Cpu)?;
        assert!(norm(10, 2)?.forward(&xs, grid, Activation::Identity).is_err());
        Ok(())
    }
}
