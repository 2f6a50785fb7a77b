//! Pseudo numerical methods: Liu et al., arXiv 2202.09778. A linear multistep method of four outputs, which begins
//! either with Runge-Kutta steps or, as Stable Diffusion does, with fewer outputs and one time twice.

use super::config::Discrete;
use super::prediction::Prediction;
use super::{Place, Solver};

/// How many times Runge-Kutta takes: four at each of three steps.
const RUNGE_KUTTA: usize = 12;

#[derive(Debug)]
pub(super) struct Pndm {
    config: Discrete,
    times: Vec<i64>,
    /// Between two steps, in times.
    distance: i64,
    /// How many of the times are Runge-Kutta's.
    before: usize,
    /// Of the last steps, the latest at the end; three at most between steps.
    outputs: Vec<Vec<f32>>,
    /// The latents that a step begun earlier started from.
    start: Vec<f32>,
    /// What Runge-Kutta has summed up of its step.
    sum: Vec<f32>,
}

impl Pndm {
    pub(super) fn new(config: &Discrete, skips_runge_kutta: bool, steps: usize) -> (Vec<Place>, Self) {
        let spaced = config.spaced(steps).into_iter();
        let mut chosen: Vec<i64> = spaced.map(|time| time.round_ties_even() as i64).collect();
        let distance = config.distance(steps);
        let before = if skips_runge_kutta { 0 } else { RUNGE_KUTTA };
        let times = if skips_runge_kutta {
            if let Some(second) = chosen.get(1).copied() {
                chosen.insert(2, second);
            }
            chosen
        } else {
            let half = |pair: &[i64]| [pair[0], pair[1] + distance / 2, pair[1] + distance / 2, pair[1]];
            let first = chosen[..4].windows(2).flat_map(half);
            first.chain(chosen[3..].iter().copied()).collect()
        };
        let places = times.iter().map(|time| Place::plain(*time as f64)).collect();
        let solver = Self {
            config: config.clone(),
            times,
            distance,
            before,
            outputs: Vec::new(),
            start: Vec::new(),
            sum: Vec::new(),
        };
        (places, solver)
    }

    /// One of the four evaluations of a Runge-Kutta step.
    fn runge_kutta(&mut self, at: usize, latents: &mut [f32], output: &[f32]) {
        let aim = if at.is_multiple_of(2) { self.times[at] - self.distance / 2 } else { self.times[at] };
        let from = self.times[at / 4 * 4];
        let share = [1.0 / 6.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 6.0][at % 4];
        if at.is_multiple_of(4) {
            self.outputs.push(output.to_vec());
            self.start = latents.to_vec();
            self.sum = vec![0.0; output.len()];
        }
        self.sum.iter_mut().zip(output).for_each(|(sum, output)| *sum += share * output);
        let towards = if at % 4 == 3 { &self.sum } else { output };
        latents.copy_from_slice(&self.start);
        self.go(from, aim, latents, towards);
    }

    fn multistep(&mut self, at: usize, latents: &mut [f32], output: &[f32]) {
        let (mut from, mut to) = (self.times[at], self.times[at] - self.distance);
        if at == 1 {
            // The second evaluation is that of the first step's end, and does the step again.
            (from, to) = (from + self.distance, from);
            let first = &self.outputs[0];
            let mean: Vec<f32> =
                first.iter().zip(output).map(|(first, output)| (first + output) / 2.0).collect();
            latents.copy_from_slice(&std::mem::take(&mut self.start));
            return self.go(from, to, latents, &mean);
        }
        if at == 0 {
            self.start = latents.to_vec();
        }
        let surplus = self.outputs.len().saturating_sub(3);
        self.outputs.drain(..surplus);
        self.outputs.push(output.to_vec());
        let factors: &[f32] = match self.outputs.len() {
            1 => &[1.0],
            2 => &[-1.0 / 2.0, 3.0 / 2.0],
            3 => &[5.0 / 12.0, -16.0 / 12.0, 23.0 / 12.0],
            _ => &[-9.0 / 24.0, 37.0 / 24.0, -59.0 / 24.0, 55.0 / 24.0],
        };
        let mut towards = vec![0.0; output.len()];
        for (factor, output) in factors.iter().zip(&self.outputs) {
            towards.iter_mut().zip(output).for_each(|(sum, output)| *sum += factor * output);
        }
        self.go(from, to, latents, &towards);
    }

    /// Moves `latents` from one time to another by one output of the network: equation 11 of the paper.
    fn go(&self, from: i64, to: i64, latents: &mut [f32], output: &[f32]) {
        let ((picture, noise), (picture_to, noise_to)) =
            (self.config.strengths(from), self.config.strengths(to));
        let (share, share_to) = (picture.powi(2), picture_to.powi(2));
        let kept = picture_to / picture;
        let across = share * noise_to + picture * noise * picture_to;
        let added = -(share_to - share) / across;
        let noise_of = self.config.prediction.noise(picture, noise);
        let is_noise = self.config.prediction == Prediction::Epsilon;
        for (latent, output) in latents.iter_mut().zip(output) {
            let noise = if is_noise { *output } else { noise_of.of(*latent, *output) };
            *latent = kept as f32 * *latent + added as f32 * noise;
        }
    }
}

impl Solver for Pndm {
    fn step(&mut self, at: usize, latents: &mut [f32], output: &[f32], _: &[f32]) {
        if at < self.before {
            self.runge_kutta(at, latents, output);
        } else {
            self.multistep(at, latents, output);
        }
    }
}
