//! What the whole network is told: the time, and with XL sizes and the prompt as a whole.

use candle_core::{D, Result, Tensor, bail};

use super::config::{SIZES, UnetConfig};
use crate::arch::diffusion::{Conditioning, TwoLayers, timestep_embedding};
use crate::arch::{ArchError, Bias, Scope};
use crate::kernels::{Linear, add};

/// How much finer than 1 the waves of a guidance are: it is told in thousandths, as times are.
const GUIDANCE_SCALE: f32 = 1000.0;

/// Turns times into one vector for each picture.
#[derive(Debug)]
pub(super) struct TimeEmbedding {
    waves: Waves,
    guidance: Option<(usize, Linear)>,
    layers: TwoLayers,
    addition: Option<(usize, TwoLayers)>,
}

#[derive(Clone, Copy, Debug)]
struct Waves {
    width: usize,
    flip_sin_to_cos: bool,
    freq_shift: f32,
}

impl Waves {
    fn of(self, times: &[f32], width: usize) -> Result<Tensor> {
        timestep_embedding(times, width, self.flip_sin_to_cos, self.freq_shift)
    }
}

impl TimeEmbedding {
    pub(super) fn load(scope: &Scope<'_>, config: &UnetConfig) -> std::result::Result<Self, ArchError> {
        let (inputs, width) = (config.levels[0].channels, config.time_width());
        let embedding = scope.sub("time_embedding");
        let guidance = config.guidance_width.map(|told| {
            Ok::<_, ArchError>((told, embedding.linear("cond_proj", told, inputs, Bias::Absent)?))
        });
        let addition = config.addition.map(|addition| {
            let told = SIZES * addition.time_width + addition.pooled_width;
            let layers = TwoLayers::load(&scope.sub("add_embedding"), told, width)?;
            Ok::<_, ArchError>((addition.time_width, layers))
        });
        Ok(Self {
            waves: Waves {
                width: inputs,
                flip_sin_to_cos: config.flip_sin_to_cos,
                freq_shift: config.freq_shift,
            },
            guidance: guidance.transpose()?,
            layers: TwoLayers::load(&embedding, inputs, width)?,
            addition: addition.transpose()?,
        })
    }

    /// `[pictures, time width]`, as residual blocks take it.
    pub(super) fn forward(&self, times: &[f32], told: &Conditioning) -> Result<Tensor> {
        let mut waves = self.waves.of(times, self.waves.width)?;
        if let Some((width, layer)) = &self.guidance {
            let Some(guidance) = &told.guidance else { bail!("this denoiser must be told the guidance") };
            // Guidance 1 is no guidance: the network counts from there.
            let scaled: Vec<f32> =
                guidance.iter().map(|strength| (strength - 1.0) * GUIDANCE_SCALE).collect();
            waves = add(waves, &layer.forward(&timestep_embedding(&scaled, *width, false, 1.0)?)?)?;
        }
        let mut vector = self.layers.forward(&waves)?;
        if let Some((width, layers)) = &self.addition {
            let Some((sizes, pooled)) = told.sizes.as_ref().zip(told.pooled.as_ref()) else {
                bail!("this denoiser must be told sizes and the prompt as a whole");
            };
            let sizes = self.waves.of(sizes.as_flattened(), *width)?;
            let sizes = sizes.reshape((times.len(), SIZES * width))?;
            vector = add(vector, &layers.forward(&Tensor::cat(&[pooled, &sizes], D::Minus1)?)?)?;
        }
        vector.silu()
    }
}
