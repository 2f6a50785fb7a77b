//! Noise schedules: at which times a network is run, and what becomes of a picture between two of them.
//!
//! A [`Schedule`] is what `scheduler_config.json` says and belongs to a model. [`Schedule::begin`] makes of it the
//! course of one picture, a [`Denoising`], which asks for one output of the network after the other: pure arithmetic
//! on slices, one file per schedule. Reference: `schedulers/` of Hugging Face diffusers, with whose times and
//! pictures these agree.

mod betas;
mod config;
mod ddim;
mod dpm_solver;
mod euler;
mod flow_match;
mod lcm;
mod options;
mod pndm;
mod prediction;
mod spacing;

use std::fmt::Debug;
use std::ops::RangeInclusive;

use config::Config;
use ddim::Ddim;
use dpm_solver::DpmSolver;
use euler::Euler;
use flow_match::FlowMatch;
pub(crate) use flow_match::Levels;
use lcm::Lcm;
use options::Options;
use pndm::Pndm;
use prediction::Prediction;
use spacing::Spacing;

use crate::arch::{ArchError, missing};
use crate::capability::MAX_DENOISING_STEPS;
use crate::weights::ModelFolder;

/// What no request asks for more of.
const MOST_STEPS: usize = MAX_DENOISING_STEPS as usize;

/// A noise schedule with its options.
#[derive(Clone, Debug)]
pub(crate) struct Schedule(Config);

/// What the pipeline around a schedule changes of its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Nothing.
    AsWritten,
    /// Pictures are not clipped and times begin at 1, as Stable Diffusion 1 and 2 were trained, whatever their older
    /// files say.
    StableDiffusion,
}

/// What is special about a schedule, from which defaults follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Haste {
    /// Nothing.
    Usual,
    /// Latent consistency: made for a few steps.
    Consistent,
    /// Euler's method from the last time on, for networks that were not trained to see pure noise at that time:
    /// those distilled to a few steps.
    Distilled,
}

/// One place on the way from noise to a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Place {
    /// What the network is told.
    time: f32,
    /// What it is shown is the latents times this.
    input_scale: f32,
}

impl Place {
    /// Where the network is shown the latents as they are.
    fn plain(time: f64) -> Self {
        Self { time: time as f32, input_scale: 1.0 }
    }

    /// Where so much noise is added to the picture.
    fn added(time: f64, level: f64) -> Self {
        let input_scale = (1.0 / (level.powi(2) + 1.0).sqrt()) as f32;
        Self { time: time as f32, input_scale }
    }
}

/// What becomes of latents by an output of the network.
trait Solver: Debug + Send {
    /// Whether the step from this place takes noise.
    fn wants_noise(&self, _at: usize) -> bool {
        false
    }

    /// Takes the latents from place `at` to the next. All slices are as long, but `noise` is empty where none is
    /// wanted. Places come in their order.
    fn step(&mut self, at: usize, latents: &mut [f32], output: &[f32], noise: &[f32]);
}

impl Schedule {
    /// Reads `scheduler_config.json` of the folder `scheduler`.
    ///
    /// # Errors
    ///
    /// [`ArchError`] for a missing or malformed file, and by its name for a schedule or an option that is not
    /// implemented.
    pub(crate) fn read(scheduler: &ModelFolder, reading: Reading) -> Result<Self, ArchError> {
        let mut options =
            Options::read(scheduler)?.ok_or_else(|| missing(scheduler, "scheduler_config.json"))?;
        if reading == Reading::StableDiffusion {
            (options.clip_sample, options.steps_offset) = (Some(false), Some(1));
        }
        Config::of(&options).map(Self)
    }

    /// How many steps there may be.
    pub(crate) fn steps(&self) -> RangeInclusive<usize> {
        match &self.0 {
            Config::Ddim { discrete, .. } | Config::Euler { discrete, .. } => {
                1..=discrete.times().min(MOST_STEPS)
            }
            Config::DpmSolver { discrete, solving, .. } => {
                let usable = solving.usable(&discrete.noise_levels());
                1..=(usable - 1).clamp(1, MOST_STEPS)
            }
            Config::Pndm { discrete, skips_runge_kutta } => {
                let least = if *skips_runge_kutta { 1 } else { 4 };
                least..=discrete.times().max(least).min(MOST_STEPS)
            }
            Config::Lcm { distilled, .. } => 1..=distilled.steps.min(MOST_STEPS),
            Config::FlowMatch(_) => 1..=MOST_STEPS,
        }
    }

    /// Whether it is for networks that go straight from noise to pictures.
    pub(crate) fn goes_straight(&self) -> bool {
        matches!(self.0, Config::FlowMatch(_))
    }

    /// What is special about it.
    pub(crate) fn haste(&self) -> Haste {
        match &self.0 {
            Config::Lcm { .. } => Haste::Consistent,
            Config::Euler { discrete, .. }
                if discrete.spacing == Spacing::Trailing && discrete.prediction == Prediction::Epsilon =>
            {
                Haste::Distilled
            }
            _ => Haste::Usual,
        }
    }

    /// The course of one picture of `tokens` tokens in so many steps, which must be in [`steps`](Self::steps).
    /// Networks that go straight from noise to pictures begin at `levels`.
    pub(crate) fn begin(&self, steps: usize, tokens: usize, levels: Levels) -> Denoising {
        let steps = steps.clamp(*self.steps().start(), *self.steps().end());
        match &self.0 {
            Config::Ddim { discrete, clip } => Denoising::of(Ddim::new(discrete, *clip, steps)),
            Config::Euler { discrete, sigmas, kind } => {
                let (places, solver, initial_scale) = Euler::new(discrete, sigmas, *kind, steps);
                Denoising { initial_scale, ..Denoising::of((places, solver)) }
            }
            Config::DpmSolver { discrete, sigmas, solving } => {
                Denoising::of(DpmSolver::new(discrete, sigmas, *solving, steps))
            }
            Config::Pndm { discrete, skips_runge_kutta } => {
                Denoising::of(Pndm::new(discrete, *skips_runge_kutta, steps))
            }
            Config::Lcm { discrete, distilled, clip } => {
                Denoising::of(Lcm::new(discrete, *distilled, *clip, steps))
            }
            Config::FlowMatch(flow) => Denoising::of(FlowMatch::new(flow, levels, tokens, steps)),
        }
    }

    /// How many vectors as long as the latents a picture's course keeps between steps, at most.
    pub(crate) fn memory(&self) -> usize {
        match &self.0 {
            Config::DpmSolver { solving, .. } => solving.order,
            Config::Pndm { .. } => 6,
            _ => 0,
        }
    }
}

/// The course of one picture.
#[derive(Debug)]
pub(crate) struct Denoising {
    places: Vec<Place>,
    initial_scale: f32,
    at: usize,
    solver: Box<dyn Solver>,
}

impl Denoising {
    fn of((places, solver): (Vec<Place>, impl Solver + 'static)) -> Self {
        Self { places, initial_scale: 1.0, at: 0, solver: Box::new(solver) }
    }

    /// How many outputs of the network it takes in all.
    pub(crate) fn evaluations(&self) -> usize {
        self.places.len()
    }

    /// How many it has taken.
    pub(crate) fn done(&self) -> usize {
        self.at
    }

    pub(crate) fn is_done(&self) -> bool {
        self.at == self.places.len()
    }

    /// What unit noise is multiplied by to begin with.
    pub(crate) fn initial_scale(&self) -> f32 {
        self.initial_scale
    }

    /// The time that the network is told next. There must be one, as everywhere below.
    pub(crate) fn time(&self) -> f32 {
        self.places[self.at].time
    }

    /// The network is shown the latents times this.
    pub(crate) fn input_scale(&self) -> f32 {
        self.places[self.at].input_scale
    }

    /// Whether the next step takes unit noise.
    pub(crate) fn wants_noise(&self) -> bool {
        self.solver.wants_noise(self.at)
    }

    /// Takes the latents one step on, by what the network gave for them. `noise` is as long as they are if it is
    /// wanted, else empty.
    pub(crate) fn step(&mut self, latents: &mut [f32], output: &[f32], noise: &[f32]) {
        self.solver.step(self.at, latents, output, noise);
        self.at += 1;
    }
}

#[cfg(test)]
mod tests;
