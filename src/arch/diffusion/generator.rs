//! The model that one worker owns.

use std::num::NonZeroUsize;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::Conditioning;
use super::canvas::Sheet;
use super::plan::MOST_LOOKS;
use super::prompts::Told;
use super::weights::DiffusionWeights;
use crate::capability::{
    Capacity, DenoisingStep, DrawRequest, Drawing, DrawnPicture, JobContext, Model, ModelError, Outbox, Slot,
    TextToImage,
};
use crate::kernels::{PixelGrid, threads};

/// How many requests are under way at once: pictures of one size share passes.
const MOST_REQUESTS: u32 = 8;

/// One worker's model: shared weights, and the pictures under way.
#[derive(Debug)]
pub struct ImageGenerator {
    weights: Arc<DiffusionWeights>,
    /// Whose turn is next comes first.
    jobs: Vec<Job>,
    seeds: fastrand::Rng,
}

#[derive(Debug)]
struct Job {
    slot: Slot,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Waiting(Box<DrawRequest>),
    Drawing(Box<Sheet>),
}

/// Which picture of which job.
type Place = (usize, usize);

impl ImageGenerator {
    /// A model on `weights` for the calling thread, which gets `threads` threads to compute on, itself included.
    /// Copies none of the weights.
    ///
    /// A thread takes its threads once and keeps them while it lives: for a second model on the same thread
    /// `threads` changes nothing.
    pub fn new(weights: Arc<DiffusionWeights>, threads: NonZeroUsize) -> Self {
        threads::adopt(threads);
        Self { weights, jobs: Vec::new(), seeds: fastrand::Rng::new() }
    }

    /// The shared weights.
    pub fn weights(&self) -> &Arc<DiffusionWeights> {
        &self.weights
    }

    /// Reads the prompts of one request that waits, if one does. Where that cannot be done the request fails alone.
    fn read_one(&mut self, out: &mut Outbox<TextToImage>) {
        let Self { weights, jobs, seeds } = self;
        let waiting = jobs.iter_mut().enumerate().find_map(|(number, job)| match &job.stage {
            Stage::Waiting(request) => Some((number, job.slot, read(weights, request))),
            Stage::Drawing(_) => None,
        });
        match waiting {
            Some((number, _, Ok(told))) => {
                let Stage::Waiting(request) = &jobs[number].stage else { return };
                let seed = request.seed.unwrap_or_else(|| seeds.u64(..));
                let sheet = Sheet::new(weights.plan(), request, seed, told);
                jobs[number].stage = Stage::Drawing(Box::new(sheet));
            }
            Some((number, slot, Err(error))) => {
                out.fail(slot, error);
                jobs.remove(number);
            }
            None => {}
        }
    }

    /// Decodes one picture of a request whose pictures are to be shown or have no noise left, if there is one; tells
    /// of the step or answers when it was the last of them.
    fn decode_one(&mut self, out: &mut Outbox<TextToImage>) -> bool {
        let Self { weights, jobs, .. } = self;
        let next = jobs.iter_mut().enumerate().find_map(|(number, job)| {
            let slot = job.slot;
            let sheet = job.sheet_mut()?;
            let latents = sheet.take_to_decode()?;
            Some((number, slot, sheet, latents))
        });
        let Some((number, slot, sheet, latents)) = next else { return false };
        let ended = match weights.decode(latents, &sheet.order) {
            Ok(picture) => {
                sheet.decoded.push(picture);
                sheet.decoded.len() == sheet.canvases.len() && tell(slot, sheet, out)
            }
            Err(error) => {
                out.fail(slot, error);
                true
            }
        };
        if ended {
            jobs.remove(number);
        }
        true
    }

    /// The pictures that share the next pass: of one size, those of the job whose turn it is before the others, and
    /// of each job those that have taken the fewest steps.
    fn next_pass(&self) -> Vec<Place> {
        let Some(grid) = self.jobs.iter().find_map(|job| Some(job.sheet()?.order.grid)) else {
            return Vec::new();
        };
        let rows = 2 * self.weights.plan().most_latents();
        let most = (rows / grid.rows().max(1)).clamp(2, MOST_LOOKS);
        let (mut chosen, mut looks) = (Vec::new(), 0);
        for (number, job) in self.jobs.iter().enumerate() {
            let Some(sheet) = job.sheet().filter(|sheet| sheet.order.grid == grid) else { continue };
            let mut waiting: Vec<usize> =
                (0..sheet.canvases.len()).filter(|at| !sheet.canvases[*at].denoising.is_done()).collect();
            waiting.sort_by_key(|at| sheet.canvases[*at].denoising.done());
            for at in waiting {
                if looks + sheet.looks() > most && !chosen.is_empty() {
                    return chosen;
                }
                looks += sheet.looks();
                chosen.push((number, at));
            }
        }
        chosen
    }

    /// What the denoiser gives for these pictures in one pass, one after the other, at each look.
    fn look(&self, chosen: &[Place]) -> Result<Vec<f32>, ModelError> {
        let sheets: Vec<&Sheet> = chosen.iter().filter_map(|(job, _)| self.jobs[*job].sheet()).collect();
        let looks: usize = sheets.iter().map(|sheet| sheet.looks()).sum();
        let grid = PixelGrid { pictures: looks, ..sheets[0].order.grid };
        let (mut latents, mut times) = (Vec::new(), Vec::new());
        for (sheet, (_, at)) in sheets.iter().zip(chosen) {
            let canvas = &sheet.canvases[*at];
            for _ in 0..sheet.looks() {
                latents.extend(canvas.seen());
                times.push(canvas.denoising.time());
            }
        }
        let pass = || {
            let told = conditioning(&sheets)?;
            let channels = latents.len() / grid.rows();
            let latents = Tensor::from_vec(latents, (grid.rows(), channels), &Device::Cpu)?;
            let output = self.weights.denoiser.forward(&latents, grid, &times, &told)?;
            output.flatten_all()?.to_vec1::<f32>()
        };
        let output: candle_core::Result<Vec<f32>> = threads::awake(pass);
        output.map_err(ModelError::failed)
    }

    /// One pass of the denoiser over these pictures, and a step of each. Their jobs are last in turn afterwards; what
    /// goes wrong ends those that it concerns.
    fn denoise(&mut self, chosen: &[Place], out: &mut Outbox<TextToImage>) {
        let output = self.look(chosen);
        let mut from = 0;
        let jobs = std::mem::take(&mut self.jobs).into_iter().enumerate();
        let (served, others): (Vec<_>, Vec<_>) =
            jobs.partition(|(number, _)| chosen.iter().any(|(job, _)| job == number));
        self.jobs.extend(others.into_iter().map(|(_, job)| job));
        for (number, mut job) in served {
            let slot = job.slot;
            let Some(sheet) = job.sheet_mut() else { continue };
            let pictures = chosen.iter().filter(|(job, _)| *job == number).map(|(_, at)| *at);
            let stepped = output.as_ref().map_err(ModelError::clone);
            match stepped.and_then(|output| sheet.step(pictures, output, &mut from)) {
                Ok(()) => {
                    report(slot, sheet, out);
                    self.jobs.push(job);
                }
                Err(error) => out.fail(slot, error),
            }
        }
    }
}

impl Job {
    fn sheet(&self) -> Option<&Sheet> {
        match &self.stage {
            Stage::Drawing(sheet) => Some(sheet),
            Stage::Waiting(_) => None,
        }
    }

    fn sheet_mut(&mut self) -> Option<&mut Sheet> {
        match &mut self.stage {
            Stage::Drawing(sheet) => Some(sheet),
            Stage::Waiting(_) => None,
        }
    }
}

/// What the denoiser is told for a request, of the prompt and of what must not be seen.
fn read(weights: &DiffusionWeights, request: &DrawRequest) -> Result<(Told, Option<Told>), ModelError> {
    let twice = weights.plan().order(request).twice;
    threads::awake(|| {
        let positive = weights.prompts.positive(request)?;
        let negative = twice.then(|| weights.prompts.negative(request, &positive)).transpose()?;
        Ok((positive, negative))
    })
}

/// What the denoiser is told, once for each look.
fn conditioning(sheets: &[&Sheet]) -> candle_core::Result<Conditioning> {
    let looks = || sheets.iter().flat_map(|sheet| sheet.told().map(move |told| (sheet.order, told)));
    let tokens: Vec<&Tensor> = looks().map(|(_, told)| &told.tokens).collect();
    let pooled: Vec<&Tensor> = looks().filter_map(|(_, told)| told.pooled.as_ref()).collect();
    let sizes = looks().map(|(order, _)| {
        let (width, height) = (order.width as f32, order.height as f32);
        [height, width, 0.0, 0.0, height, width]
    });
    Ok(Conditioning {
        length: tokens[0].dim(0)?,
        tokens: Tensor::cat(&tokens, 0)?,
        pooled: if pooled.is_empty() { None } else { Some(Tensor::cat(&pooled, 0)?) },
        sizes: Some(sizes.collect()),
        guidance: Some(looks().map(|(order, _)| order.guidance).collect()),
    })
}

/// Tells of a step that all pictures of a request have taken, or has them decoded first if they are to be shown.
fn report(slot: Slot, sheet: &mut Sheet, out: &mut Outbox<TextToImage>) {
    let done = sheet.steps_done();
    if done == sheet.reported {
        return;
    }
    sheet.reported = done;
    let shows = sheet.preview_every.is_some_and(|every| done.is_multiple_of(every as usize));
    sheet.shows = shows && !sheet.is_done();
    if !sheet.shows {
        out.event(slot, step_of(sheet, Vec::new()));
    }
}

/// Hands decoded pictures over: with the step that shows them, or as the answer, which ends the request.
fn tell(slot: Slot, sheet: &mut Sheet, out: &mut Outbox<TextToImage>) -> bool {
    let pictures = std::mem::take(&mut sheet.decoded);
    if std::mem::take(&mut sheet.shows) {
        out.event(slot, step_of(sheet, pictures));
        return false;
    }
    let truncated = sheet.told().any(|told| told.truncated);
    out.finish(slot, Drawing { pictures, seed: sheet.seed, truncated });
    true
}

fn step_of(sheet: &Sheet, preview: Vec<DrawnPicture>) -> DenoisingStep {
    let of = sheet.canvases[0].denoising.evaluations();
    DenoisingStep { step: sheet.reported as u32, of: of as u32, preview }
}

impl Model<TextToImage> for ImageGenerator {
    fn capacity(&self) -> Capacity {
        Capacity { jobs: MOST_REQUESTS, cost: 4 * self.weights.plan().most_latents() as u64 }
    }

    fn admit(&mut self, slot: Slot, request: DrawRequest, _: &JobContext) -> Result<(), ModelError> {
        self.weights.plan().validate(&request)?;
        self.jobs.push(Job { slot, stage: Stage::Waiting(Box::new(request)) });
        Ok(())
    }

    /// Reads the prompts of one request that waits. Then decodes one picture, if one is to be shown or has no noise
    /// left; else takes one denoising step of pictures of one size. A request that is canceled in between is not
    /// decoded.
    fn step(&mut self, out: &mut Outbox<TextToImage>) -> Result<(), ModelError> {
        self.read_one(out);
        if self.decode_one(out) {
            return Ok(());
        }
        let chosen = self.next_pass();
        if !chosen.is_empty() {
            self.denoise(&chosen, out);
        }
        Ok(())
    }

    fn cancel(&mut self, slot: Slot) {
        self.jobs.retain(|job| job.slot != slot);
    }
}
