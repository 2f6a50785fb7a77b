//! Which of the times that a network was trained on it is run at, and how noisy pictures are then.

/// How times are chosen, by the names of the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spacing {
    /// Every so many from the first on, moved by an offset.
    Leading,
    /// Every so many from the last on.
    Trailing,
    /// From the first to the last.
    Linspace,
}

/// Numbers in even steps, both ends among them.
pub(super) fn linspace(from: f64, to: f64, count: usize) -> impl DoubleEndedIterator<Item = f64> {
    let step = (to - from) / (count.max(2) - 1) as f64;
    (0..count).map(move |at| if at > 0 && at + 1 == count { to } else { from + step * at as f64 })
}

impl Spacing {
    /// `steps` times of `times`, the latest first. Those from the first to the last may lie between whole ones.
    pub(super) fn times(self, times: usize, steps: usize, offset: usize) -> Vec<f64> {
        let ratio = times as f64 / steps as f64;
        let before_last = |step: usize| (times as f64 - ratio * step as f64).round_ties_even() - 1.0;
        match self {
            Self::Leading => (0..steps).rev().map(|step| (step * (times / steps) + offset) as f64).collect(),
            Self::Trailing => (0..steps).map(before_last).collect(),
            Self::Linspace => linspace(0.0, (times - 1) as f64, steps).rev().collect(),
        }
    }
}

/// What curve noise levels lie on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    /// That of the times.
    OfTimes,
    /// That of Karras et al., arXiv 2206.00364, equation 5.
    Karras,
    /// Evenly spaced logarithms.
    Exponential,
}

impl Curve {
    /// `steps` levels on this curve, the highest first; `None` if it is that of the times.
    pub(super) fn levels(self, highest: f64, lowest: f64, steps: usize) -> Option<Vec<f64>> {
        const RHO: f64 = 7.0;
        match self {
            Self::OfTimes => None,
            Self::Karras => {
                let (from, to) = (highest.powf(1.0 / RHO), lowest.powf(1.0 / RHO));
                Some(linspace(0.0, 1.0, steps).map(|at| (from + at * (to - from)).powf(RHO)).collect())
            }
            Self::Exponential => Some(linspace(highest.ln(), lowest.ln(), steps).map(f64::exp).collect()),
        }
    }
}

/// The noise levels of every time a network was trained on, the lowest first.
#[derive(Clone, Debug)]
pub(super) struct NoiseLevels(Vec<f32>);

impl NoiseLevels {
    pub(super) fn new(levels: Vec<f32>) -> Self {
        Self(levels)
    }

    pub(super) fn lowest(&self) -> f64 {
        f64::from(self.0[0])
    }

    pub(super) fn highest(&self) -> f64 {
        f64::from(self.0[self.0.len() - 1])
    }

    /// The level at a time between two.
    pub(super) fn at(&self, time: f64) -> f64 {
        let last = self.0.len() - 1;
        let time = time.clamp(0.0, last as f64);
        let before = (time as usize).min(last.saturating_sub(1));
        let (low, high) = (f64::from(self.0[before]), f64::from(self.0[(before + 1).min(last)]));
        low + (high - low) * (time - before as f64)
    }

    /// The time of a level, by logarithms: those of the table in f32, as in the reference, which decides on which
    /// side of a whole number the time lies.
    pub(super) fn time_of(&self, level: f64) -> f64 {
        let wanted = level.max(1e-10).ln();
        let log = |at: usize| f64::from(self.0[at].ln());
        let below = self.0.partition_point(|level| f64::from(level.ln()) <= wanted);
        let low = below.saturating_sub(1).min(self.0.len().saturating_sub(2));
        let high = (low + 1).min(self.0.len() - 1);
        let share = ((log(low) - wanted) / (log(low) - log(high))).clamp(0.0, 1.0);
        (1.0 - share) * low as f64 + share * high as f64
    }
}
