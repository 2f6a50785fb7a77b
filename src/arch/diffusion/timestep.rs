//! What tells a denoiser how far it is: the time as waves of many lengths. Ho et al., "Denoising Diffusion
//! Probabilistic Models", arXiv 2006.11239, after the positions of Vaswani et al., arXiv 1706.03762, section 3.5.
//! Reference: `get_timestep_embedding` of `embeddings.py` of Hugging Face diffusers.

use candle_core::{Device, Result, Tensor};

/// The longest wave is so many times 2 pi long.
const LONGEST: f32 = 10_000.0;

/// The sines of each time at `width / 2` frequencies and then its cosines, or the other way round where
/// `flip_sin_to_cos`: `[times, width]`. Frequencies fall from 1 towards one ten-thousandth, which they reach at the
/// last where `downscale_freq_shift` is 1. The last column of an odd `width` is zero.
pub(crate) fn timestep_embedding(
    times: &[f32],
    width: usize,
    flip_sin_to_cos: bool,
    downscale_freq_shift: f32,
) -> Result<Tensor> {
    let half = width / 2;
    // All in f32, as in the reference: far out the rounding of an angle is seen.
    let step = |i: usize| -LONGEST.ln() * i as f32 / (half as f32 - downscale_freq_shift);
    let frequencies: Vec<f32> = (0..half).map(|i| step(i).exp()).collect();
    let mut waves = Vec::with_capacity(times.len() * width);
    for time in times {
        let angles = || frequencies.iter().map(|frequency| time * frequency);
        let (sines, cosines) = (angles().map(f32::sin), angles().map(f32::cos));
        if flip_sin_to_cos {
            waves.extend(cosines.chain(sines));
        } else {
            waves.extend(sines.chain(cosines));
        }
        waves.extend((2 * half..width).map(|_| 0.0));
    }
    Tensor::from_vec(waves, (times.len(), width), &Device::Cpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(got: &Tensor, expected: &[&[f32]]) {
        let got = got.to_vec2::<f32>().unwrap();
        assert_eq!(got.len(), expected.len());
        for (got, expected) in got.iter().zip(expected) {
            assert_eq!(got.len(), expected.len());
            let off = got.iter().zip(*expected).map(|(got, expected)| (got - expected).abs());
            assert!(off.fold(0f32, f32::max) < 1e-6, "{got:?} is not {expected:?}");
        }
    }

    #[test]
    fn a_time_is_waves_of_falling_frequency() -> Result<()> {
        let (a, b) = (2f32, 0.02f32);
        let sines_first: &[f32] = &[a.sin(), b.sin(), a.cos(), b.cos()];
        let cosines_first: &[f32] = &[a.cos(), b.cos(), a.sin(), b.sin()];
        near(&timestep_embedding(&[0.0, 2.0], 4, false, 0.0)?, &[&[0.0, 0.0, 1.0, 1.0], sines_first]);
        near(&timestep_embedding(&[2.0], 4, true, 0.0)?, &[cosines_first]);
        Ok(())
    }

    #[test]
    fn a_shift_of_one_reaches_the_lowest_frequency() -> Result<()> {
        let (a, b) = (7f32, 7e-4f32);
        near(&timestep_embedding(&[7.0], 5, false, 1.0)?, &[&[a.sin(), b.sin(), a.cos(), b.cos(), 0.0]]);
        Ok(())
    }
}
