//! Pictures under way.

use super::noise::{Noise, Use};
use super::plan::{DiffusionPlan, Order};
use super::prompts::Told;
use super::schedule::Denoising;
use crate::capability::{DrawRequest, DrawnPicture, ModelError};

/// The pictures of one request.
#[derive(Debug)]
pub(super) struct Sheet {
    pub(super) order: Order,
    pub(super) seed: u64,
    pub(super) positive: Told,
    /// Where the denoiser looks twice.
    pub(super) negative: Option<Told>,
    pub(super) preview_every: Option<u32>,
    pub(super) canvases: Vec<Canvas>,
    /// How many steps have been reported.
    pub(super) reported: usize,
    /// The pictures are decoded as they are, to be shown with that step. None of them takes another before.
    pub(super) shows: bool,
    /// Those that are, the first ones.
    pub(super) decoded: Vec<DrawnPicture>,
}

/// One picture.
#[derive(Debug)]
pub(super) struct Canvas {
    /// `[rows, channels]`
    pub(super) latents: Vec<f32>,
    pub(super) denoising: Denoising,
    noise: Noise,
}

impl Sheet {
    /// Latents of nothing but noise.
    pub(super) fn new(
        plan: &DiffusionPlan,
        request: &DrawRequest,
        seed: u64,
        (positive, negative): (Told, Option<Told>),
    ) -> Self {
        let order = plan.order(request);
        let canvas = |number: u32| {
            let tokens = plan.denoiser.tokens(order.grid);
            let denoising = plan.schedule.begin(order.steps, tokens, plan.denoiser.levels());
            let channels = plan.denoiser.channels();
            let noise = Noise::of(seed, number);
            let mut latents = match &request.latents {
                Some(given) => by_pixels(given.values.as_ref(), number as usize, channels, order.grid.rows()),
                None => noise.normal(Use::Beginning, order.grid.rows() * channels),
            };
            let scale = denoising.initial_scale();
            latents.iter_mut().for_each(|latent| *latent *= scale);
            Canvas { latents, denoising, noise }
        };
        Self {
            order,
            seed,
            positive,
            negative,
            preview_every: request.preview_every,
            canvases: (0..request.n).map(canvas).collect(),
            reported: 0,
            shows: false,
            decoded: Vec::new(),
        }
    }

    /// Steps that all its pictures have taken.
    pub(super) fn steps_done(&self) -> usize {
        self.canvases.iter().map(|canvas| canvas.denoising.done()).min().unwrap_or(0)
    }

    /// Whether no picture has noise left.
    pub(super) fn is_done(&self) -> bool {
        self.canvases.iter().all(|canvas| canvas.denoising.is_done())
    }

    /// The latents of the picture that is to be decoded next, if one is.
    pub(super) fn take_to_decode(&mut self) -> Option<Vec<f32>> {
        let next = self.decoded.len();
        if self.is_done() {
            return Some(std::mem::take(&mut self.canvases[next].latents));
        }
        self.shows.then(|| self.canvases[next].seen().collect())
    }

    /// How often the denoiser looks at each picture in a step.
    pub(super) fn looks(&self) -> usize {
        if self.negative.is_some() { 2 } else { 1 }
    }

    /// What the denoiser is told, once for each look: the negative prompt first.
    pub(super) fn told(&self) -> impl Iterator<Item = &Told> {
        self.negative.iter().chain([&self.positive])
    }

    /// Takes these pictures a step on. What the denoiser gave for them at each look begins `from` there in `output`,
    /// and afterwards `from` is where it ends.
    ///
    /// # Errors
    ///
    /// [`ModelError::Numeric`] if that leaves no finite latents.
    pub(super) fn step(
        &mut self,
        pictures: impl Iterator<Item = usize>,
        output: &[f32],
        from: &mut usize,
    ) -> Result<(), ModelError> {
        let mut finite = true;
        for picture in pictures {
            let numbers = self.canvases[picture].latents.len() * self.looks();
            self.step_one(picture, &output[*from..][..numbers]);
            *from += numbers;
            finite &= self.canvases[picture].latents.iter().all(|latent| latent.is_finite());
        }
        if finite {
            return Ok(());
        }
        Err(ModelError::Numeric("a denoising step gave latents that are not finite".into()))
    }

    fn step_one(&mut self, picture: usize, outputs: &[f32]) {
        let guidance = self.order.guidance;
        let canvas = &mut self.canvases[picture];
        if self.negative.is_none() {
            return canvas.step(outputs);
        }
        let (negative, positive) = outputs.split_at(canvas.latents.len());
        let both = negative.iter().zip(positive);
        let guided: Vec<f32> = both.map(|(from, to)| from + guidance * (to - from)).collect();
        canvas.step(&guided);
    }
}

impl Canvas {
    fn step(&mut self, output: &[f32]) {
        let noise = if self.denoising.wants_noise() {
            self.noise.normal(Use::Step(self.denoising.done() as u32), self.latents.len())
        } else {
            Vec::new()
        };
        self.denoising.step(&mut self.latents, output, &noise);
    }

    /// What the denoiser is shown.
    pub(super) fn seen(&self) -> impl Iterator<Item = f32> {
        let scale = if self.denoising.is_done() { 1.0 } else { self.denoising.input_scale() };
        self.latents.iter().map(move |latent| latent * scale)
    }
}

/// One picture of `[pictures, channels, rows]`, as `[rows, channels]`.
fn by_pixels(values: &[f32], picture: usize, channels: usize, rows: usize) -> Vec<f32> {
    let picture = &values[picture * channels * rows..][..channels * rows];
    (0..rows).flat_map(|row| (0..channels).map(move |channel| picture[channel * rows + row])).collect()
}
