//! What a request leaves open, as the pipelines of Hugging Face diffusers fill it in; and for networks that were
//! distilled to few steps, by what their files say of them, as their authors recommend.

use super::denoiser::{DenoiserConfig, Following};
use super::index::Family;
use super::schedule::{Haste, Schedule};
use crate::arch::autoencoder::AutoencoderConfig;

/// Pixels on a side.
const FLUX_SIDE: usize = 1024;

/// What the distilled take.
const FEW_STEPS: u32 = 4;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Defaults {
    /// Pixels on a side.
    pub(super) side: u32,
    pub(super) steps: u32,
    pub(super) guidance: f32,
}

impl Defaults {
    pub(super) fn of(
        family: Family,
        schedule: &Schedule,
        denoiser: &DenoiserConfig,
        autoencoder: &AutoencoderConfig,
    ) -> Self {
        let side = match family {
            Family::Flux => FLUX_SIDE,
            _ => denoiser.native_side() * autoencoder.reduction(),
        };
        let (steps, guidance) = match (family, schedule.haste(), denoiser.following()) {
            // FLUX.1 schnell, which is not told the guidance.
            (_, _, Following::Trained) => (FEW_STEPS, 0.0),
            (_, Haste::Consistent, Following::Told) => (FEW_STEPS, 8.5),
            (_, Haste::Consistent, _) => (FEW_STEPS, 1.0),
            (_, Haste::Distilled, _) => (FEW_STEPS, 0.0),
            (Family::StableDiffusion | Family::LatentConsistency, ..) => (50, 7.5),
            (Family::StableDiffusionXl, ..) => (50, 5.0),
            (Family::StableDiffusion3, ..) => (28, 7.0),
            (Family::Flux, ..) => (28, 3.5),
        };
        let steps = steps.clamp(*schedule.steps().start() as u32, *schedule.steps().end() as u32);
        Self { side: side as u32, steps, guidance }
    }
}
