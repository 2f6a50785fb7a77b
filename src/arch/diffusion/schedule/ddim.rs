//! DDIM without noise of its own: Song et al., arXiv 2010.02502, equation 12.

use super::config::Discrete;
use super::prediction::Parts;
use super::{Place, Solver};

/// Each step goes to a time that lies a fixed distance before, whatever the next one is.
#[derive(Debug)]
pub(super) struct Ddim {
    steps: Vec<Step>,
    /// The picture is not let out of plus and minus this.
    clip: f32,
}

#[derive(Debug)]
struct Step {
    picture: Parts,
    noise: Parts,
    /// How much of both there is afterwards.
    after: (f32, f32),
}

impl Ddim {
    pub(super) fn new(config: &Discrete, clip: Option<f32>, steps: usize) -> (Vec<Place>, Self) {
        let times: Vec<f64> = config.spaced(steps).into_iter().map(f64::round_ties_even).collect();
        let distance = config.distance(steps);
        let step = |time: &f64| {
            let time = *time as i64;
            let (picture, noise) = config.strengths(time);
            let (picture_after, noise_after) = config.strengths(time - distance);
            Step {
                picture: config.prediction.picture(picture, noise),
                noise: config.prediction.noise(picture, noise),
                after: (picture_after as f32, noise_after as f32),
            }
        };
        let places = times.iter().map(|time| Place::plain(*time)).collect();
        let steps = times.iter().map(step).collect();
        (places, Self { steps, clip: clip.unwrap_or(f32::INFINITY) })
    }
}

impl Solver for Ddim {
    fn step(&mut self, at: usize, latents: &mut [f32], output: &[f32], _: &[f32]) {
        let Step { picture, noise, after } = &self.steps[at];
        for (latent, output) in latents.iter_mut().zip(output) {
            let clipped = picture.of(*latent, *output).clamp(-self.clip, self.clip);
            *latent = after.0 * clipped + after.1 * noise.of(*latent, *output);
        }
    }
}
