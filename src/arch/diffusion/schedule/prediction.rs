//! What a network's output means.

/// By the names of the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prediction {
    /// The noise in what the network saw.
    Epsilon,
    /// The direction from the picture to the noise on the circle that joins them (Salimans and Ho, arXiv 2202.00512).
    Velocity,
    /// The picture.
    Sample,
}

/// Factors of what the network saw and of its output, whose sum is something else.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    pub(super) seen: f64,
    pub(super) output: f64,
}

impl Parts {
    pub(super) fn of(self, seen: f32, output: f32) -> f32 {
        self.seen as f32 * seen + self.output as f32 * output
    }
}

impl Prediction {
    /// The picture, where what the network saw was `picture` times a picture and `noise` times noise.
    pub(super) fn picture(self, picture: f64, noise: f64) -> Parts {
        match self {
            Self::Epsilon => Parts { seen: 1.0 / picture, output: -noise / picture },
            Self::Velocity => Parts { seen: picture, output: -noise },
            Self::Sample => Parts { seen: 0.0, output: 1.0 },
        }
    }

    /// The noise, likewise.
    pub(super) fn noise(self, picture: f64, noise: f64) -> Parts {
        match self {
            Self::Epsilon => Parts { seen: 0.0, output: 1.0 },
            Self::Velocity => Parts { seen: noise, output: picture },
            Self::Sample => Parts { seen: 1.0 / noise, output: -picture / noise },
        }
    }
}
