//! Euler's method on straight lines from noise to pictures: Esser et al., arXiv 2403.03206.

use super::spacing::{Curve, linspace};
use super::{Place, Solver};

/// What `scheduler_config.json` says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Flow {
    pub(super) times: usize,
    pub(super) shift: Shift,
    /// The last noise level, if levels are stretched to end there.
    pub(super) terminal: Option<f64>,
    pub(super) curve: Curve,
    /// Each step throws in noise of its own.
    pub(super) stochastic: bool,
}

/// How much longer than the rest the noisy part of the way takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Shift {
    Fixed(f64),
    /// The more the larger the picture.
    Dynamic(Dynamic),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Dynamic {
    /// At so many tokens so much.
    pub(super) base: (f64, f64),
    pub(super) most: (f64, f64),
    /// It is the exponential of what the line through these says, or that itself.
    pub(super) exponential: bool,
}

/// Where the levels come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Levels {
    /// From the highest to the lowest that the network was trained on.
    Trained,
    /// From 1 in as many even steps as there are.
    Even,
}

impl Shift {
    /// Of a picture of so many tokens.
    fn factor(self, tokens: usize) -> f64 {
        match self {
            Self::Fixed(shift) => shift,
            Self::Dynamic(Dynamic { base, most, exponential }) => {
                let slope = (most.1 - base.1) / (most.0 - base.0);
                let mu = tokens as f64 * slope + (base.1 - slope * base.0);
                // As far as the line goes beyond the two.
                if exponential { mu.clamp(-20.0, 20.0).exp() } else { mu.clamp(1e-6, 1e6) }
            }
        }
    }
}

fn shifted(level: f64, factor: f64) -> f64 {
    factor * level / (1.0 + (factor - 1.0) * level)
}

#[derive(Debug)]
pub(super) struct FlowMatch {
    levels: Vec<f32>,
    stochastic: bool,
}

impl FlowMatch {
    pub(super) fn new(flow: &Flow, from: Levels, tokens: usize, steps: usize) -> (Vec<Place>, Self) {
        let factor = flow.shift.factor(tokens);
        let lowest = 1.0 / flow.times as f64;
        let lowest = match flow.shift {
            Shift::Fixed(shift) => shifted(lowest, shift),
            Shift::Dynamic(_) => lowest,
        };
        let end = if from == Levels::Trained { lowest } else { 1.0 / steps as f64 };
        let mut levels: Vec<f64> = linspace(1.0, end, steps).map(|level| shifted(level, factor)).collect();
        let last = levels[steps - 1];
        // Where the last level is the first one there is nothing to stretch.
        if let Some(terminal) = flow.terminal.filter(|_| last < 1.0) {
            let stretch = (1.0 - last) / (1.0 - terminal);
            levels.iter_mut().for_each(|level| *level = 1.0 - (1.0 - *level) / stretch);
        }
        if let Some(curved) = flow.curve.levels(levels[0], levels[steps - 1], steps) {
            levels = curved;
        }
        let times = flow.times as f32;
        let place = |level: &f64| {
            let level = *level as f32;
            Place { time: level * times, input_scale: 1.0 }
        };
        let places = levels.iter().map(place).collect();
        levels.push(0.0);
        let levels = levels.into_iter().map(|level| level as f32).collect();
        (places, Self { levels, stochastic: flow.stochastic })
    }
}

impl Solver for FlowMatch {
    fn wants_noise(&self, at: usize) -> bool {
        self.stochastic && self.levels[at + 1] > 0.0
    }

    fn step(&mut self, at: usize, latents: &mut [f32], output: &[f32], noise: &[f32]) {
        let (level, next) = (self.levels[at], self.levels[at + 1]);
        if !self.stochastic {
            let moved = latents.iter_mut().zip(output);
            return moved.for_each(|(latent, output)| *latent += (next - level) * output);
        }
        for (latent, output) in latents.iter_mut().zip(output) {
            *latent = (1.0 - next) * (*latent - level * output);
        }
        latents.iter_mut().zip(noise).for_each(|(latent, noise)| *latent += next * noise);
    }
}
