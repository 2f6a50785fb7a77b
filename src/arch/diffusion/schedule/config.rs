//! `scheduler_config.json`: which schedule, and its options, by the names and with the defaults of diffusers.

use std::sync::Arc;

use super::betas::{Growth, noise_level, shares};
use super::dpm_solver::Solving;
use super::euler::Kind;
use super::flow_match::{Dynamic, Flow, Shift};
use super::lcm::Distilled;
use super::options::Options;
use super::prediction::Prediction;
use super::spacing::{Curve, Spacing};
use crate::arch::ArchError;
use crate::arch::bounds::{bad, not_supported, within};

/// The schedules that are implemented, as diffusers calls them.
const CLASSES: [&str; 7] = [
    "DDIMScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "PNDMScheduler",
    "LCMScheduler",
    "FlowMatchEulerDiscreteScheduler",
];

/// A schedule and its options.
#[derive(Clone, Debug)]
pub(super) enum Config {
    Ddim { discrete: Discrete, clip: Option<f32> },
    Euler { discrete: Discrete, sigmas: Sigmas, kind: Kind },
    DpmSolver { discrete: Discrete, sigmas: Sigmas, solving: Solving },
    Pndm { discrete: Discrete, skips_runge_kutta: bool },
    Lcm { discrete: Discrete, distilled: Distilled, clip: Option<f32> },
    FlowMatch(Flow),
}

/// What schedules have in common whose networks were trained on a thousand or so times.
#[derive(Clone, Debug)]
pub(super) struct Discrete {
    /// The variance of the picture at each time.
    shares: Arc<[f32]>,
    /// That before the first time.
    share_before: f32,
    pub(super) prediction: Prediction,
    pub(super) spacing: Spacing,
    pub(super) offset: usize,
    zero_terminal: bool,
    rounds_times: bool,
}

impl Discrete {
    /// How many times the network was trained on.
    pub(super) fn times(&self) -> usize {
        self.shares.len()
    }

    /// The times of so many steps, the latest first.
    pub(super) fn spaced(&self, steps: usize) -> Vec<f64> {
        self.spacing.times(self.times(), steps, self.offset)
    }

    /// How many times lie between two of so many steps.
    pub(super) fn distance(&self, steps: usize) -> i64 {
        time(self.times() / steps)
    }

    /// How much picture and how much noise there is at a time; before the first one, at the end.
    pub(super) fn strengths(&self, time: i64) -> (f64, f64) {
        let last = self.shares.len() - 1;
        let share = usize::try_from(time).map_or(self.share_before, |time| self.shares[time.min(last)]);
        (f64::from(share).sqrt(), f64::from(1.0 - share).sqrt())
    }

    /// Noise by picture at each time; where there is no picture, as much as the reference says.
    pub(super) fn noise_levels(&self) -> Vec<f32> {
        let mut levels: Vec<f32> = self.shares.iter().copied().map(noise_level).collect();
        if let (true, Some(last)) = (self.zero_terminal, levels.last_mut()) {
            *last = noise_level((-24f32).exp2());
        }
        levels
    }

    /// Whether times of levels that lie on a curve of their own are rounded.
    pub(super) fn rounds_times(&self) -> bool {
        self.rounds_times
    }
}

/// The time of this number; there are others before the first.
pub(super) fn time(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// How noise levels are chosen, where they are not those of the times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sigmas {
    pub(super) curve: Curve,
    highest: Option<f64>,
    lowest: Option<f64>,
    /// The last level is the lowest there is, not none.
    pub(super) ends_at_lowest: bool,
}

impl Sigmas {
    /// The levels, if they lie on a curve of their own, between these unless the options say otherwise.
    pub(super) fn on_curve(&self, highest: f64, lowest: f64, steps: usize) -> Option<Vec<f64>> {
        self.curve.levels(self.highest.unwrap_or(highest), self.lowest.unwrap_or(lowest), steps)
    }
}

impl Config {
    pub(super) fn of(options: &Options) -> Result<Self, ArchError> {
        options.check()?;
        let class = options.class.as_deref().unwrap_or("a schedule without a class");
        Ok(match class {
            "DDIMScheduler" => Self::Ddim {
                discrete: options.discrete(Spacing::Leading, "linear", true)?,
                clip: options.clip(true)?,
            },
            "EulerDiscreteScheduler" => Self::Euler {
                discrete: options.discrete(Spacing::Linspace, "linear", true)?,
                sigmas: options.sigmas()?,
                kind: Kind::Plain,
            },
            "EulerAncestralDiscreteScheduler" => Self::Euler {
                discrete: options.discrete(Spacing::Linspace, "linear", true)?.without_sample(class)?,
                sigmas: Sigmas { curve: Curve::OfTimes, highest: None, lowest: None, ends_at_lowest: false },
                kind: Kind::Ancestral,
            },
            "DPMSolverMultistepScheduler" => Self::DpmSolver {
                discrete: options.discrete(Spacing::Linspace, "linear", true)?,
                sigmas: options.sigmas()?,
                solving: options.solving()?,
            },
            "PNDMScheduler" => Self::Pndm {
                discrete: options
                    .unstretched()
                    .discrete(Spacing::Leading, "linear", false)?
                    .without_sample(class)?,
                skips_runge_kutta: options.skip_prk_steps.unwrap_or(false),
            },
            "LCMScheduler" => {
                let discrete = options.discrete(Spacing::Leading, "scaled_linear", true)?;
                let distilled = options.distilled(discrete.times())?;
                Self::Lcm { discrete, distilled, clip: options.clip(false)? }
            }
            "FlowMatchEulerDiscreteScheduler" => Self::FlowMatch(options.flow()?),
            other => return Err(not_supported("noise schedule", other, &CLASSES)),
        })
    }
}

impl Discrete {
    fn without_sample(self, class: &str) -> Result<Self, ArchError> {
        match self.prediction {
            Prediction::Sample => Err(not_supported(
                "prediction_type of this noise schedule",
                class,
                &["epsilon", "v_prediction"],
            )),
            _ => Ok(self),
        }
    }
}

impl Options {
    /// Without the option that stretches shares of noise to 1, for a class that has no such option.
    fn unstretched(&self) -> Self {
        let mut options = self.clone();
        options.rescale_betas_zero_snr = None;
        options
    }

    fn discrete(&self, spacing: Spacing, growth: &str, ends_at_one: bool) -> Result<Discrete, ArchError> {
        let times = self.times()?;
        let growth = self.growth(growth, times)?;
        let zero_terminal = self.rescale_betas_zero_snr.unwrap_or(false);
        let shares = shares(&growth, times, zero_terminal);
        let falls = shares.windows(2).all(|pair| pair[1] <= pair[0]);
        if !falls || !shares.iter().all(|share| (0.0..1.0).contains(share)) {
            return Err(bad(
                "beta_start",
                "a share of noise",
                "shares of noise must lie between 0 and 1".into(),
            ));
        }
        let last = shares[times - 1];
        if last == 0.0 && !zero_terminal {
            return Err(bad("beta_end", "a share of noise", "something of the picture must be left".into()));
        }
        let offset = self.steps_offset.unwrap_or(0);
        within("steps_offset", offset, 0..=times - 1)?;
        let prediction = self.prediction()?;
        if zero_terminal && prediction == Prediction::Epsilon {
            let supported = &["v_prediction", "sample"];
            return Err(not_supported("prediction_type with rescale_betas_zero_snr", "epsilon", supported));
        }
        let to_one = self.set_alpha_to_one.unwrap_or(ends_at_one);
        Ok(Discrete {
            share_before: if to_one { 1.0 } else { shares[0] },
            shares: shares.into(),
            prediction,
            spacing: self.spacing(spacing)?,
            offset,
            zero_terminal,
            rounds_times: growth != Growth::SquaredCosine,
        })
    }

    fn times(&self) -> Result<usize, ArchError> {
        let times = self.num_train_timesteps.unwrap_or(1000);
        within("num_train_timesteps", times, 2..=100_000)?;
        Ok(times)
    }

    fn growth(&self, default: &str, times: usize) -> Result<Growth, ArchError> {
        if let Some(betas) = &self.trained_betas {
            within("trained_betas", betas.len(), times..=times)?;
            return Ok(Growth::Listed(betas.clone()));
        }
        let lcm = default == "scaled_linear";
        let from = self.beta_start.unwrap_or(if lcm { 0.000_85 } else { 0.000_1 });
        let to = self.beta_end.unwrap_or(if lcm { 0.012 } else { 0.02 });
        if !(from > 0.0 && from < 1.0 && to > 0.0 && to < 1.0) {
            return Err(bad(
                "beta_start",
                format!("{from} (and beta_end {to})"),
                "it must be in 0..1".into(),
            ));
        }
        match self.beta_schedule.as_deref().unwrap_or(default) {
            "linear" => Ok(Growth::Linear { from, to }),
            "scaled_linear" => Ok(Growth::ScaledLinear { from, to }),
            "squaredcos_cap_v2" => Ok(Growth::SquaredCosine),
            other => {
                Err(not_supported("beta_schedule", other, &["linear", "scaled_linear", "squaredcos_cap_v2"]))
            }
        }
    }

    fn prediction(&self) -> Result<Prediction, ArchError> {
        match self.prediction_type.as_deref().unwrap_or("epsilon") {
            "epsilon" => Ok(Prediction::Epsilon),
            "v_prediction" => Ok(Prediction::Velocity),
            "sample" | "original_sample" => Ok(Prediction::Sample),
            other => Err(not_supported("prediction_type", other, &["epsilon", "v_prediction", "sample"])),
        }
    }

    fn spacing(&self, default: Spacing) -> Result<Spacing, ArchError> {
        match self.timestep_spacing.as_deref() {
            None => Ok(default),
            Some("leading") => Ok(Spacing::Leading),
            Some("trailing") => Ok(Spacing::Trailing),
            Some("linspace") => Ok(Spacing::Linspace),
            Some(other) => {
                Err(not_supported("timestep_spacing", other, &["leading", "trailing", "linspace"]))
            }
        }
    }

    fn clip(&self, default: bool) -> Result<Option<f32>, ArchError> {
        let range = self.clip_sample_range.unwrap_or(1.0);
        if !(range > 0.0 && range.is_finite()) {
            return Err(bad("clip_sample_range", range, "it must be positive".to_owned()));
        }
        Ok(self.clip_sample.unwrap_or(default).then_some(range))
    }

    fn curve(&self) -> Result<Curve, ArchError> {
        match (self.use_karras_sigmas, self.use_exponential_sigmas) {
            (Some(true), Some(true)) => {
                let supported = &["false where use_karras_sigmas is true"];
                Err(not_supported("use_exponential_sigmas", "true", supported))
            }
            (Some(true), _) => Ok(Curve::Karras),
            (_, Some(true)) => Ok(Curve::Exponential),
            _ => Ok(Curve::OfTimes),
        }
    }

    fn sigmas(&self) -> Result<Sigmas, ArchError> {
        for (field, level) in [("sigma_min", self.sigma_min), ("sigma_max", self.sigma_max)] {
            if level.is_some_and(|level| !(level > 0.0 && level.is_finite())) {
                return Err(bad(field, level.unwrap_or_default(), "it must be positive".to_owned()));
            }
        }
        let ends_at_lowest = match self.final_sigmas_type.as_deref() {
            None | Some("zero") => false,
            Some("sigma_min") => true,
            Some(other) => return Err(not_supported("final_sigmas_type", other, &["zero", "sigma_min"])),
        };
        Ok(Sigmas { curve: self.curve()?, highest: self.sigma_max, lowest: self.sigma_min, ends_at_lowest })
    }

    fn solving(&self) -> Result<Solving, ArchError> {
        let order = self.solver_order.unwrap_or(2);
        within("solver_order", order, 1..=3)?;
        let stochastic = match self.algorithm_type.as_deref().unwrap_or("dpmsolver++") {
            "dpmsolver++" | "deis" => false,
            "sde-dpmsolver++" if order < 3 => true,
            "sde-dpmsolver++" => {
                return Err(not_supported("solver_order of sde-dpmsolver++", "3", &["1", "2"]));
            }
            other => {
                return Err(not_supported("algorithm_type", other, &["dpmsolver++", "sde-dpmsolver++"]));
            }
        };
        let heun = match self.solver_type.as_deref().unwrap_or("midpoint") {
            "midpoint" | "logrho" | "bh1" | "bh2" => false,
            "heun" => true,
            other => return Err(not_supported("solver_type", other, &["midpoint", "heun"])),
        };
        Ok(Solving {
            order,
            stochastic,
            heun,
            lower_order_final: self.lower_order_final.unwrap_or(true),
            euler_at_final: self.euler_at_final.unwrap_or(false),
            least_log: self.lambda_min_clipped.unwrap_or(f64::NEG_INFINITY),
        })
    }

    fn distilled(&self, times: usize) -> Result<Distilled, ArchError> {
        let steps = self.original_inference_steps.unwrap_or(50);
        within("original_inference_steps", steps, 1..=times)?;
        let time_scale = self.timestep_scaling.unwrap_or(10.0);
        if !(time_scale > 0.0 && time_scale.is_finite()) {
            return Err(bad("timestep_scaling", time_scale, "it must be positive".to_owned()));
        }
        Ok(Distilled { steps, time_scale })
    }

    fn flow(&self) -> Result<Flow, ArchError> {
        let exponential = match self.time_shift_type.as_deref().unwrap_or("exponential") {
            "exponential" => true,
            "linear" => false,
            other => return Err(not_supported("time_shift_type", other, &["exponential", "linear"])),
        };
        let tokens = (self.base_image_seq_len.unwrap_or(256), self.max_image_seq_len.unwrap_or(4096));
        let shift = match self.use_dynamic_shifting {
            Some(true) => Shift::Dynamic(Dynamic {
                base: (tokens.0 as f64, self.base_shift.unwrap_or(0.5)),
                most: (tokens.1 as f64, self.max_shift.unwrap_or(1.15)),
                exponential,
            }),
            _ => Shift::Fixed(self.shift.unwrap_or(1.0)),
        };
        let sane = match shift {
            Shift::Fixed(shift) => (1e-6..=1e6).contains(&shift),
            Shift::Dynamic(Dynamic { base, most, exponential }) => {
                let range = if exponential { -20.0..=20.0 } else { 1e-6..=1e6 };
                base.0 < most.0 && range.contains(&base.1) && range.contains(&most.1)
            }
        };
        if !sane {
            return Err(bad(
                "shift",
                "of no use",
                "no sane schedule has it (nor base_shift, max_shift)".into(),
            ));
        }
        let terminal = self.shift_terminal.filter(|level| *level != 0.0);
        if terminal.is_some_and(|level| !(level > 0.0 && level < 1.0)) {
            return Err(bad("shift_terminal", terminal.unwrap_or_default(), "it must be in 0..1".to_owned()));
        }
        let stochastic = self.stochastic_sampling.unwrap_or(false);
        Ok(Flow { times: self.times()?, shift, terminal, curve: self.curve()?, stochastic })
    }
}
