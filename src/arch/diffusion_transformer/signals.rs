//! What all blocks are told of a picture: the time, its prompt as a whole, and how strongly to follow it.

use candle_core::{Result, Tensor, bail};

use super::config::Frame;
use crate::arch::diffusion::{Conditioning, TwoLayers, timestep_embedding};
use crate::arch::{ArchError, Scope};
use crate::kernels::add;

/// How wide a time is before the first layer, whatever the configuration.
pub(super) const WAVES: usize = 256;

/// Each by itself, and then summed.
#[derive(Debug)]
pub(super) struct Signals {
    time: TwoLayers,
    guidance: Option<TwoLayers>,
    pooled: TwoLayers,
    pooled_width: usize,
}

impl Signals {
    /// The part of `root` that is called the same in all networks; some are `guided`.
    pub(super) fn load(
        root: &Scope<'_>,
        frame: &Frame,
        guided: bool,
    ) -> std::result::Result<Self, ArchError> {
        let (scope, width) = (root.sub("time_text_embed"), frame.width());
        let load = |name: &str, inputs: usize| TwoLayers::load(&scope.sub(name), inputs, width);
        Ok(Self {
            time: load("timestep_embedder", WAVES)?,
            guidance: guided.then(|| load("guidance_embedder", WAVES)).transpose()?,
            pooled: load("text_embedder", frame.pooled_width)?,
            pooled_width: frame.pooled_width,
        })
    }

    /// `[pictures, width]`, as blocks want them: activated. Times, one a picture, and guidance are multiplied by
    /// `scale` before.
    pub(super) fn of(&self, times: &[f32], scale: f32, conditioning: &Conditioning) -> Result<Tensor> {
        let waves = |numbers: &[f32]| {
            let numbers: Vec<f32> = numbers.iter().map(|number| number * scale).collect();
            timestep_embedding(&numbers, WAVES, true, 0.0)
        };
        let expected = [times.len(), self.pooled_width];
        let pooled = conditioning.pooled.as_ref().filter(|pooled| pooled.dims() == expected);
        let Some(pooled) = pooled else { bail!("a vector for each prompt is wanted, {expected:?}") };
        let mut sum = add(self.time.forward(&waves(times)?)?, &self.pooled.forward(pooled)?)?;
        if let Some(layers) = &self.guidance {
            let guidance = conditioning.guidance.as_deref().unwrap_or_default();
            if guidance.len() != times.len() {
                bail!("{} pictures are to be told their guidance, and {} are", times.len(), guidance.len());
            }
            sum = add(sum, &layers.forward(&waves(guidance)?)?)?;
        }
        sum.silu()
    }
}
