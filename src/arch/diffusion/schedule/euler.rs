//! Euler's method on noise levels, with and without fresh noise: Karras et al., arXiv 2206.00364, algorithm 2.

use super::config::{Discrete, Sigmas};
use super::spacing::{NoiseLevels, Spacing};
use super::{Place, Solver};

/// Whether each step throws in noise of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    Ancestral,
}

#[derive(Debug)]
pub(super) struct Euler {
    steps: Vec<Step>,
}

/// Factors of the latents, of the output and of noise.
#[derive(Debug)]
struct Step {
    latents: f32,
    output: f32,
    noise: f32,
}

impl Euler {
    /// With what unit noise is multiplied by before the first step.
    pub(super) fn new(
        config: &Discrete,
        sigmas: &Sigmas,
        kind: Kind,
        steps: usize,
    ) -> (Vec<Place>, Self, f32) {
        let levels = NoiseLevels::new(config.noise_levels());
        let times = config.spaced(steps).into_iter();
        let mut times: Vec<f64> = times.map(|time| f64::from(time as f32)).collect();
        let mut chosen: Vec<f64> = times.iter().map(|time| levels.at(*time)).collect();
        let (highest, lowest) = (chosen[0], chosen[steps - 1]);
        if let Some(curved) = sigmas.on_curve(highest, lowest, steps) {
            times = curved.iter().map(|level| levels.time_of(*level)).collect();
            chosen = curved;
        }
        let highest = chosen.iter().fold(0.0f32, |most, level| most.max(*level as f32));
        let scale = match config.spacing {
            Spacing::Linspace | Spacing::Trailing => highest,
            Spacing::Leading => (highest * highest + 1.0).sqrt(),
        };
        chosen.push(if sigmas.ends_at_lowest { levels.lowest() } else { 0.0 });
        let places = times.iter().zip(&chosen).map(|(time, level)| Place::added(*time, *level)).collect();
        let steps = chosen.windows(2).map(|pair| Step::new(config, kind, pair[0], pair[1])).collect();
        (places, Self { steps }, scale)
    }
}

impl Step {
    /// From one noise level to a lower one.
    fn new(config: &Discrete, kind: Kind, from: f64, to: f64) -> Self {
        let noise = match kind {
            Kind::Plain => 0.0,
            Kind::Ancestral => (to.powi(2) * (from.powi(2) - to.powi(2)) / from.powi(2)).max(0.0).sqrt(),
        };
        let aim = (to.powi(2) - noise.powi(2)).max(0.0).sqrt();
        // What the network saw was smaller by this.
        let scale = 1.0 / (from.powi(2) + 1.0).sqrt();
        let picture = config.prediction.picture(scale, from * scale);
        // The latents lie `from` times a direction away from the picture; they go to where `aim` times it does.
        let kept = aim / from;
        Self {
            latents: (kept + (1.0 - kept) * picture.seen * scale) as f32,
            output: ((1.0 - kept) * picture.output) as f32,
            noise: noise as f32,
        }
    }
}

impl Solver for Euler {
    fn wants_noise(&self, at: usize) -> bool {
        self.steps[at].noise > 0.0
    }

    fn step(&mut self, at: usize, latents: &mut [f32], output: &[f32], noise: &[f32]) {
        let Step { latents: kept, output: added, noise: fresh } = self.steps[at];
        for (latent, output) in latents.iter_mut().zip(output) {
            *latent = kept * *latent + added * output;
        }
        latents.iter_mut().zip(noise).for_each(|(latent, noise)| *latent += fresh * noise);
    }
}
