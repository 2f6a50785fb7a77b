//! DPM-Solver++, multistep: Lu et al., arXiv 2211.01095, algorithm 2; and its stochastic form.

use std::collections::VecDeque;

use super::config::{Discrete, Sigmas};
use super::prediction::Prediction;
use super::spacing::{Curve, NoiseLevels, Spacing, linspace};
use super::{Place, Solver};

/// What only this schedule has.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "they are the file's own")]
pub(super) struct Solving {
    /// How many pictures a step looks at, 1 to 3.
    pub(super) order: usize,
    /// Each step throws in noise of its own.
    pub(super) stochastic: bool,
    /// How two pictures are joined: by the value in the middle, or by that at both ends.
    pub(super) heun: bool,
    pub(super) lower_order_final: bool,
    pub(super) euler_at_final: bool,
    /// The lowest logarithm of picture by noise that times are taken from.
    pub(super) least_log: f64,
}

impl Solving {
    /// How many of these noise levels, the lowest first, are those of times that may be taken. The first always is.
    pub(super) fn usable(&self, levels: &[f32]) -> usize {
        levels.iter().filter(|level| -f64::from(**level).ln() >= self.least_log).count().max(1)
    }
}

/// Runs of fewer steps end with a lower order.
const FEW: usize = 15;

#[derive(Debug)]
pub(super) struct DpmSolver {
    prediction: Prediction,
    solving: Solving,
    /// Noise by picture, one more than steps.
    levels: Vec<f64>,
    ends_at_lowest: bool,
    /// Whether there are enough steps for the full order to the end.
    many: bool,
    /// The pictures seen in the last steps, the latest first.
    pictures: VecDeque<Vec<f32>>,
}

/// Strengths of picture and noise, and the logarithm of their quotient.
#[derive(Clone, Copy)]
struct At {
    picture: f64,
    noise: f64,
    log: f64,
}

impl At {
    fn level(level: f64) -> Self {
        let (picture, noise) = strengths(level);
        Self { picture, noise, log: picture.ln() - noise.ln() }
    }
}

fn strengths(level: f64) -> (f64, f64) {
    let picture = 1.0 / (level.powi(2) + 1.0).sqrt();
    (picture, level * picture)
}

impl DpmSolver {
    pub(super) fn new(
        config: &Discrete,
        sigmas: &Sigmas,
        solving: Solving,
        steps: usize,
    ) -> (Vec<Place>, Self) {
        let levels = config.noise_levels();
        let usable = solving.usable(&levels);
        let levels = NoiseLevels::new(levels);
        let mut times: Vec<f64> = match config.spacing {
            Spacing::Linspace => linspace(0.0, (usable - 1) as f64, steps + 1).rev().take(steps).collect(),
            Spacing::Leading => {
                let apart = usable / (steps + 1);
                (1..=steps).rev().map(|step| (step * apart + config.offset) as f64).collect()
            }
            Spacing::Trailing => {
                let ratio = config.times() as f64 / steps as f64;
                let times =
                    (0..steps).map(|step| (usable as f64 - ratio * step as f64).round_ties_even() - 1.0);
                // The reference has a time before the first one where the last rounds to it.
                times.filter(|time| *time >= 0.0).collect()
            }
        };
        times.iter_mut().for_each(|time| *time = time.round_ties_even());
        let mut chosen: Vec<f64> = times.iter().map(|time| levels.at(*time)).collect();
        if let Some(curved) = sigmas.on_curve(levels.highest(), levels.lowest(), steps) {
            let rounds = sigmas.curve == Curve::Karras && config.rounds_times();
            let round = |time: f64| if rounds { time.round_ties_even() } else { time.trunc() };
            times = curved.iter().map(|level| round(levels.time_of(*level))).collect();
            chosen = curved;
        }
        // A time beyond the last one is the last one, and no step leads from a level to itself.
        let mut former = f32::INFINITY;
        let falls = |(_, level): &(f64, f64)| std::mem::replace(&mut former, *level as f32) > *level as f32;
        let (times, mut chosen): (Vec<f64>, Vec<f64>) = times.into_iter().zip(chosen).filter(falls).unzip();
        chosen.push(if sigmas.ends_at_lowest { levels.lowest() } else { 0.0 });
        let places = times.iter().map(|time| Place::plain(*time)).collect();
        let solver = Self {
            prediction: config.prediction,
            solving,
            levels: chosen.into_iter().map(|level| f64::from(level as f32)).collect(),
            ends_at_lowest: sigmas.ends_at_lowest,
            many: times.len() >= FEW,
            pictures: VecDeque::new(),
        };
        (places, solver)
    }

    /// How many pictures this step looks at.
    fn order(&self, at: usize) -> usize {
        let Solving { order, lower_order_final, euler_at_final, .. } = self.solving;
        let left = self.levels.len() - 2 - at;
        let lowers = lower_order_final && !self.many;
        let most = match left {
            0 if euler_at_final || lowers || !self.ends_at_lowest => 1,
            1 if lowers => 2,
            _ => 3,
        };
        order.min(at + 1).min(most)
    }

    /// Factors of the latents, of the pictures, the latest first, and of noise.
    fn factors(&self, at: usize) -> (f64, [f64; 3], f64) {
        let here = At::level(self.levels[at]);
        let there = At::level(self.levels[at + 1]);
        let h = there.log - here.log;
        if h == 0.0 {
            // A curve ends at the lowest level, and so may the last step.
            return (1.0, [0.0; 3], 0.0);
        }
        // What a step would be without noise, in twice the time with it.
        let pace = if self.solving.stochastic { 2.0 } else { 1.0 };
        let lost = (-pace * h).exp() - 1.0;
        let stochastic = if self.solving.stochastic { (-h).exp() } else { 1.0 };
        let latents = there.noise / here.noise * stochastic;
        let noise = if self.solving.stochastic { there.noise * (1.0 - (-2.0 * h).exp()).sqrt() } else { 0.0 };
        let first = -there.picture * lost;
        let order = self.order(at);
        let before = |back: usize| At::level(self.levels[at - back]).log;
        if order == 1 {
            return (latents, [first, 0.0, 0.0], noise);
        }
        let ends = there.picture * (lost / (pace * h) + 1.0);
        let r0 = (here.log - before(1)) / h;
        if order == 2 {
            let slope = if self.solving.heun { ends } else { first / 2.0 } / r0;
            return (latents, [first + slope, -slope, 0.0], noise);
        }
        let r1 = (before(1) - before(2)) / h;
        let curve = -there.picture * ((lost + h) / h.powi(2) - 0.5);
        // Differences of neighbours, their difference, and what both orders take of them.
        let (of_last, of_before) = (1.0 / r0, 1.0 / r1);
        let recent = ends * (1.0 + r0 / (r0 + r1)) + curve / (r0 + r1);
        let earlier = -ends * r0 / (r0 + r1) - curve / (r0 + r1);
        let pictures =
            [first + recent * of_last, earlier * of_before - recent * of_last, -earlier * of_before];
        (latents, pictures, noise)
    }
}

impl Solver for DpmSolver {
    fn wants_noise(&self, at: usize) -> bool {
        self.solving.stochastic && self.levels[at + 1] > 0.0
    }

    fn step(&mut self, at: usize, latents: &mut [f32], output: &[f32], noise: &[f32]) {
        let here = At::level(self.levels[at]);
        let parts = self.prediction.picture(here.picture, here.noise);
        let picture = latents.iter().zip(output).map(|(latent, output)| parts.of(*latent, *output));
        let picture = picture.collect();
        self.pictures.push_front(picture);
        self.pictures.truncate(self.solving.order);
        let (kept, factors, fresh) = self.factors(at);
        latents.iter_mut().for_each(|latent| *latent *= kept as f32);
        for (factor, picture) in factors.into_iter().zip(&self.pictures) {
            latents.iter_mut().zip(picture).for_each(|(latent, value)| *latent += factor as f32 * value);
        }
        latents.iter_mut().zip(noise).for_each(|(latent, noise)| *latent += fresh as f32 * noise);
    }
}
