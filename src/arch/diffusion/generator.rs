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

    /// Reads the prompts of all requests that wait. One that cannot be read fails alone.
    fn read_prompts(&mut self, out: &mut Outbox<TextToImage>) {
        let Self { weights, jobs, seeds } = self;
        jobs.retain_mut(|job| {
            let Stage::Waiting(request) = &job.stage else { return true };
            match read(weights, request) {
                Ok(told) => {
                    let seed = request.seed.unwrap_or_else(|| seeds.u64(..));
                    let sheet = Sheet::new(weights.plan(), request, seed, told);
                    job.stage = Stage::Drawing(Box::new(sheet));
                    true
                }
                Err(error) => {
                    out.fail(job.slot, error);
                    false
                }
            }
        });
    }

    /// Decodes one picture that has no noise left, if there is one, and answers when it was the last of its request.
    fn decode_one(&mut self, out: &mut Outbox<TextToImage>) -> bool {
        let place = self.jobs.iter().enumerate().find_map(|(number, job)| {
            let canvases = job.sheet()?.canvases.iter();
            let at = canvases.clone().position(|at| at.denoising.is_done() && at.picture.is_none())?;
            Some((number, at))
        });
        let Some((number, at)) = place else { return false };
        let slot = self.jobs[number].slot;
        let Some(sheet) = self.jobs[number].sheet_mut() else { return false };
        let latents = std::mem::take(&mut sheet.canvases[at].latents);
        match self.weights.decode(latents, &sheet.order) {
            Ok(picture) => sheet.canvases[at].picture = Some(picture),
            Err(error) => {
                out.fail(slot, error);
                self.jobs.remove(number);
                return true;
            }
        }
        if sheet.canvases.iter().all(|canvas| canvas.picture.is_some()) {
            out.finish(slot, answer(sheet));
            self.jobs.remove(number);
        }
        true
    }

    /// The pictures that share the next pass: of one size, those of the job whose turn it is before the others, and
    /// of each job those that have taken the fewest steps. Its jobs are last in turn afterwards.
    fn next_pass(&mut self) -> Vec<Place> {
        let Some(grid) = self.jobs.iter().find_map(|job| Some(job.sheet()?.order.grid)) else {
            return Vec::new();
        };
        let rows = 2 * self.weights.plan().most_latents();
        let most = (rows / grid.rows().max(1)).clamp(2, MOST_LOOKS);
        self.jobs.sort_by_key(|job| job.sheet().is_none_or(|sheet| sheet.order.grid != grid));
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

    /// One pass of the denoiser over these pictures, and a step of each.
    fn denoise(&mut self, chosen: &[Place]) -> Result<(), ModelError> {
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
        let mut output = output.map_err(ModelError::failed)?.into_iter();
        for (job, at) in chosen {
            let Some(sheet) = self.jobs[*job].sheet_mut() else { continue };
            let numbers = sheet.canvases[*at].latents.len() * sheet.looks();
            let outputs: Vec<f32> = output.by_ref().take(numbers).collect();
            sheet.step(*at, &outputs);
        }
        Ok(())
    }

    /// Tells of every step that all pictures of a request have taken.
    fn report(&mut self, chosen: &[Place], out: &mut Outbox<TextToImage>) -> Result<(), ModelError> {
        let mut numbers: Vec<usize> = chosen.iter().map(|(job, _)| *job).collect();
        numbers.dedup();
        for number in numbers {
            let Job { slot, stage: Stage::Drawing(sheet) } = &mut self.jobs[number] else { continue };
            let done = sheet.steps_done();
            if done == sheet.reported {
                continue;
            }
            sheet.reported = done;
            let of = sheet.canvases[0].denoising.evaluations();
            let shows = sheet.preview_every.is_some_and(|every| done.is_multiple_of(every as usize));
            let preview = if shows && done < of { preview(&self.weights, sheet)? } else { Vec::new() };
            out.event(*slot, DenoisingStep { step: done as u32, of: of as u32, preview });
        }
        Ok(())
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

fn preview(weights: &DiffusionWeights, sheet: &Sheet) -> Result<Vec<DrawnPicture>, ModelError> {
    let canvases = sheet.canvases.iter();
    canvases.map(|canvas| weights.decode(canvas.seen().collect(), &sheet.order)).collect()
}

fn answer(sheet: &mut Sheet) -> Drawing {
    Drawing {
        pictures: sheet.canvases.iter_mut().filter_map(|canvas| canvas.picture.take()).collect(),
        seed: sheet.seed,
        truncated: sheet.told().any(|told| told.truncated),
    }
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

    /// Decodes one picture if one has no noise left; else one denoising step of pictures of one size. A request that
    /// is canceled in between is not decoded.
    fn step(&mut self, out: &mut Outbox<TextToImage>) -> Result<(), ModelError> {
        self.read_prompts(out);
        if self.decode_one(out) {
            return Ok(());
        }
        let chosen = self.next_pass();
        if chosen.is_empty() {
            return Ok(());
        }
        self.denoise(&chosen)?;
        self.report(&chosen, out)?;
        let served = chosen.iter().map(|(job, _)| job + 1).max().unwrap_or(0);
        self.jobs.rotate_left(served);
        Ok(())
    }

    fn cancel(&mut self, slot: Slot) {
        self.jobs.retain(|job| job.slot != slot);
    }
}
