//! Convolutions of pictures whose pixels are rows: a pixel to a row, its channels side by side.
//!
//! Under each pixel of the result lies a window of the input. Its numbers, put one after the other, are a row, and
//! a convolution is a linear layer on such rows (Chellapilla et al., "High Performance Convolutional Neural
//! Networks for Document Processing", 2006). They are put together for a few rows at a time ([`packed`]), so that
//! they stay in a core's cache, and not for the whole picture, which would take nine times its memory.

#[cfg(target_arch = "x86_64")]
mod packed;
mod window;

use std::num::NonZeroUsize;

use candle_core::{Result, Tensor, bail};

use super::activation::{Activation, add_bias};
use super::linear::Linear;
use super::pixel_grid::PixelGrid;
use super::precision::Precision;

pub(crate) use window::Window;

#[cfg(target_arch = "x86_64")]
use {super::cpu::Vectors, packed::PackedConv};

/// How many numbers of f32 convolutions need, at most, beyond their input and output, on all of a worker's threads
/// together. Elsewhere than on processors with vectors candle puts together whole pictures.
pub(crate) fn conv_scratch_numbers(threads: NonZeroUsize) -> usize {
    #[cfg(target_arch = "x86_64")]
    return packed::scratch_numbers(threads);
    #[cfg(not(target_arch = "x86_64"))]
    threads.get()
}

/// A convolution with its weights.
#[derive(Debug)]
pub(crate) struct Conv2d {
    window: Window,
    inputs: usize,
    arrangement: Arrangement,
}

#[derive(Debug)]
enum Arrangement {
    /// Of single pixels, on any device.
    Linear(Linear),
    /// On the CPU.
    #[cfg(target_arch = "x86_64")]
    Packed(PackedConv),
    /// As candle convolves, on any device.
    Plain {
        /// `[out, in, side, side]`
        weight: Tensor,
        /// `[out]`
        bias: Tensor,
    },
}

impl Conv2d {
    /// `weight` is `[out, in, side, side]` with the window's side, `bias` is `[out]`.
    pub(crate) fn new(weight: &Tensor, bias: &Tensor, window: Window, precision: Precision) -> Result<Self> {
        let (outputs, inputs, height, width) = weight.dims4()?;
        if (height, width) != (window.side, window.side) {
            bail!("convolution: weights of {height} x {width} for a window of {}", window.side);
        }
        let arrangement = if window == Window::PIXEL {
            let weight = weight.reshape((outputs, inputs))?;
            Arrangement::Linear(Linear::joined(&[weight], std::slice::from_ref(bias), precision)?)
        } else {
            Self::arrange(weight, bias, precision)?
        };
        Ok(Self { window, inputs, arrangement })
    }

    fn arrange(weight: &Tensor, bias: &Tensor, precision: Precision) -> Result<Arrangement> {
        #[cfg(target_arch = "x86_64")]
        if weight.device().is_cpu() && Vectors::detected() != Vectors::Portable {
            let conv = PackedConv::new(weight, bias, precision, Vectors::detected())?;
            return Ok(Arrangement::Packed(conv));
        }
        Ok(Arrangement::Plain { weight: weight.to_dtype(precision.dtype())?, bias: bias.clone() })
    }

    /// The pictures that come of such ones.
    pub(crate) fn result(&self, grid: PixelGrid) -> PixelGrid {
        self.window.result(grid)
    }

    /// `[rows, in]` to `[rows of the result, out]`. A picture's result has the same bits whatever other pictures
    /// there are.
    pub(crate) fn forward(&self, xs: &Tensor, grid: PixelGrid) -> Result<Tensor> {
        self.forward_to(xs, grid, self.result(grid))
    }

    /// The same to pictures of `result`: of a window that enlarges, cut at the bottom and on the right before it is
    /// applied; of another, what [`result`](Self::result) says.
    pub(crate) fn forward_to(&self, xs: &Tensor, grid: PixelGrid, result: PixelGrid) -> Result<Tensor> {
        let most = self.result(grid);
        let cut = result.height <= most.height && result.width <= most.width;
        if result != most && !(self.window.enlarge > 1 && cut && result.pictures == most.pictures) {
            bail!("convolution: {grid:?} does not become {result:?}");
        }
        if xs.dims() != [grid.rows(), self.inputs] {
            bail!("convolution: {:?} for {grid:?} of {} channels", xs.dims(), self.inputs);
        }
        match &self.arrangement {
            Arrangement::Linear(linear) => linear.forward(xs),
            #[cfg(target_arch = "x86_64")]
            Arrangement::Packed(conv) => conv.forward(xs, self.window, grid, result),
            Arrangement::Plain { weight, bias } => plain(xs, (grid, result), weight, bias, self.window),
        }
    }
}

fn plain(
    xs: &Tensor,
    (grid, result): (PixelGrid, PixelGrid),
    weight: &Tensor,
    bias: &Tensor,
    window: Window,
) -> Result<Tensor> {
    let (before, after) = (window.before, window.after);
    let pictures = xs.reshape((grid.pictures, grid.height, grid.width, xs.dim(1)?))?;
    let pictures = pictures.permute((0, 3, 1, 2))?.contiguous()?;
    let (height, width) = (grid.height * window.enlarge, grid.width * window.enlarge);
    let pictures = match window.enlarge {
        1 => pictures,
        _ => {
            let enlarged = pictures.upsample_nearest2d(height, width)?;
            enlarged.narrow(2, 0, result.height)?.narrow(3, 0, result.width)?
        }
    };
    let missing = |side: usize| after.max(window.side.saturating_sub(before + side));
    let padded = pictures.pad_with_zeros(2, before, missing(height))?;
    let padded = padded.pad_with_zeros(3, before, missing(width))?;
    let convolved = padded.to_dtype(weight.dtype())?.conv2d(weight, 0, window.stride, 1, 1)?;
    let rows = convolved.to_dtype(xs.dtype())?.permute((0, 2, 3, 1))?.contiguous()?;
    add_bias(&rows.flatten_to(2)?, Some(bias), Activation::Identity)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    const WINDOWS: [Window; 4] = [Window::PIXEL, Window::SAME, Window::HALVING, Window::DOUBLING];

    fn layer(inputs: usize, outputs: usize, window: Window) -> Result<(Conv2d, Tensor, Tensor)> {
        let shape = (outputs, inputs, window.side, window.side);
        let weight = Tensor::randn(0f32, 1.0, shape, &Device::Cpu)?;
        let bias = Tensor::randn(0f32, 1.0, outputs, &Device::Cpu)?;
        Ok((Conv2d::new(&weight, &bias, window, Precision::F32)?, weight, bias))
    }

    #[test]
    fn windows_are_convolved_as_candle_convolves_them() -> Result<()> {
        for window in WINDOWS {
            for (inputs, outputs, height, width) in
                [(1, 1, 1, 1), (3, 5, 2, 7), (4, 40, 9, 8), (33, 65, 16, 16), (400, 64, 3, 5)]
            {
                let (conv, weight, bias) = layer(inputs, outputs, window)?;
                for pictures in [1, 3] {
                    let grid = PixelGrid { pictures, height, width };
                    let xs = Tensor::randn(0f32, 1.0, (grid.rows(), inputs), &Device::Cpu)?;
                    let got = conv.forward(&xs, grid)?;
                    let expected = plain(&xs, (grid, conv.result(grid)), &weight, &bias, window)?;
                    assert_eq!(got.dims(), [conv.result(grid).rows(), outputs]);
                    let off = (got - expected)?.abs()?.max_all()?.to_scalar::<f32>()?;
                    // Sums of so many products of numbers around 1.
                    let limit = 2e-6 * (9 * inputs + 1) as f32;
                    assert!(
                        off < limit.max(1e-5),
                        "{window:?}, {inputs} to {outputs}, {grid:?}: off by {off}"
                    );
                }
            }
        }
        Ok(())
    }

    #[test]
    fn what_is_enlarged_may_be_cut() -> Result<()> {
        let (conv, weight, bias) = layer(5, 7, Window::DOUBLING)?;
        let grid = PixelGrid { pictures: 2, height: 3, width: 4 };
        let xs = Tensor::randn(0f32, 1.0, (grid.rows(), 5), &Device::Cpu)?;
        let cut = PixelGrid { pictures: 2, height: 5, width: 8 };
        let off =
            (conv.forward_to(&xs, grid, cut)? - plain(&xs, (grid, cut), &weight, &bias, Window::DOUBLING)?)?;
        assert!(off.abs()?.max_all()?.to_scalar::<f32>()? < 1e-4);
        for wrong in [PixelGrid { height: 7, ..cut }, PixelGrid { pictures: 1, ..cut }] {
            assert!(conv.forward_to(&xs, grid, wrong).is_err());
        }
        Ok(())
    }

    #[test]
    fn a_picture_has_the_same_bits_alone_and_in_company() -> Result<()> {
        let (conv, ..) = layer(70, 90, Window::SAME)?;
        let together = PixelGrid { pictures: 3, height: 13, width: 11 };
        let xs = Tensor::randn(0f32, 1.0, (together.rows(), 70), &Device::Cpu)?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let all = pool.install(|| conv.forward(&xs, together))?;
        let one = PixelGrid { pictures: 1, ..together };
        for picture in 0..3 {
            let rows = |xs: &Tensor| xs.narrow(0, picture * one.rows(), one.rows());
            let alone = conv.forward(&rows(&xs)?, one)?;
            assert_eq!(alone.to_vec2::<f32>()?, rows(&all)?.to_vec2::<f32>()?);
        }
        Ok(())
    }

    #[test]
    fn narrow_weights_are_close() -> Result<()> {
        let grid = PixelGrid { pictures: 1, height: 8, width: 8 };
        let weight = Tensor::randn(0f32, 1.0, (40, 20, 3, 3), &Device::Cpu)?;
        let weight = weight.to_dtype(DType::BF16)?.to_dtype(DType::F32)?;
        let bias = Tensor::zeros(40, DType::F32, &Device::Cpu)?;
        let xs = Tensor::randn(0f32, 1.0, (64, 20), &Device::Cpu)?;
        let xs = xs.to_dtype(DType::BF16)?.to_dtype(DType::F32)?;
        let conv = Conv2d::new(&weight, &bias, Window::SAME, Precision::Bf16)?;
        let off = (conv.forward(&xs, grid)? - plain(&xs, (grid, grid), &weight, &bias, Window::SAME)?)?;
        assert!(off.abs()?.max_all()?.to_scalar::<f32>()? < 1e-4);
        Ok(())
    }

    #[test]
    fn what_does_not_fit_is_an_error() -> Result<()> {
        let (conv, weight, bias) = layer(4, 4, Window::SAME)?;
        let grid = PixelGrid { pictures: 1, height: 2, width: 2 };
        assert!(conv.forward(&Tensor::zeros((5, 4), DType::F32, &Device::Cpu)?, grid).is_err());
        assert!(conv.forward(&Tensor::zeros((4, 3), DType::F32, &Device::Cpu)?, grid).is_err());
        assert!(Conv2d::new(&weight, &bias, Window::PIXEL, Precision::F32).is_err());
        Ok(())
    }
}
