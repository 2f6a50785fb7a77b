//! Latent consistency models, which see the picture at once and are shown it again with less noise: Luo et al.,
//! arXiv 2310.04378, algorithm 3.

use super::config::{Discrete, time};
use super::prediction::Parts;
use super::{Place, Solver};

/// What the networks were distilled with.
const DATA_DEVIATION: f64 = 0.5;

#[derive(Debug)]
pub(super) struct Lcm {
    steps: Vec<Step>,
    clip: f32,
}

#[derive(Debug)]
struct Step {
    picture: Parts,
    /// How much of the latents and of the picture that they show the better picture is.
    skip: (f32, f32),
    /// How much of that and of fresh noise comes next, unless this is the last step.
    after: Option<(f32, f32)>,
}

/// What only this schedule has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Distilled {
    /// Of how many steps those that are taken are some.
    pub(super) steps: usize,
    pub(super) time_scale: f64,
}

impl Lcm {
    pub(super) fn new(
        config: &Discrete,
        distilled: Distilled,
        clip: Option<f32>,
        steps: usize,
    ) -> (Vec<Place>, Self) {
        let apart = config.times() / distilled.steps;
        let mut trained: Vec<i64> = (1..=distilled.steps).map(|step| time(step * apart) - 1).collect();
        trained.reverse();
        let ratio = trained.len() as f64 / steps as f64;
        let times: Vec<i64> = (0..steps).map(|step| trained[(step as f64 * ratio) as usize]).collect();
        let step = |at: usize| {
            let (picture, noise) = config.strengths(times[at]);
            let scaled = times[at] as f64 * distilled.time_scale;
            let squares = scaled.powi(2) + DATA_DEVIATION.powi(2);
            let next = times.get(at + 1).map(|time| config.strengths(*time));
            Step {
                picture: config.prediction.picture(picture, noise),
                skip: ((DATA_DEVIATION.powi(2) / squares) as f32, (scaled / squares.sqrt()) as f32),
                after: next.map(|(picture, noise)| (picture as f32, noise as f32)),
            }
        };
        let places = times.iter().map(|time| Place::plain(*time as f64)).collect();
        (places, Self { steps: (0..steps).map(step).collect(), clip: clip.unwrap_or(f32::INFINITY) })
    }
}

impl Solver for Lcm {
    fn wants_noise(&self, at: usize) -> bool {
        self.steps[at].after.is_some()
    }

    fn step(&mut self, at: usize, latents: &mut [f32], output: &[f32], noise: &[f32]) {
        let Step { picture, skip, after } = &self.steps[at];
        for (latent, output) in latents.iter_mut().zip(output) {
            let clipped = picture.of(*latent, *output).clamp(-self.clip, self.clip);
            *latent = skip.1 * clipped + skip.0 * *latent;
        }
        if let Some((kept, fresh)) = after {
            let both = latents.iter_mut().zip(noise);
            both.for_each(|(latent, noise)| *latent = kept * *latent + fresh * noise);
        }
    }
}
