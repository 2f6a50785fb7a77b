//! What a folder's small files say, before any weight is read.

use std::num::NonZeroUsize;

use candle_core::DType;

use super::defaults::Defaults;
use super::denoiser::{DenoiserConfig, Following};
use super::index::{Family, Index};
use super::prompts::PromptsPlan;
use super::schedule::Schedule;
use crate::ByteSize;
use crate::arch::ArchError;
use crate::arch::autoencoder::{AutoencoderConfig, Tiles};
use crate::arch::bounds::{bad, not_supported};
use crate::capability::{DrawRequest, InvalidRequest, MAX_DRAWN};
use crate::image::MAX_SIDE;
use crate::kernels::{Dtype, PixelGrid, Precision};
use crate::memory::Footprint;
use crate::weights::{ModelFolder, WeightFiles};

/// The most pictures of one pass through the denoiser, those that are looked at twice counted twice.
pub(super) const MOST_LOOKS: usize = 8;

/// The most bytes of pictures that one request has shown before its answer: whoever asked for them holds them all.
const MOST_PREVIEWS: u64 = 256 << 20;

/// Pixels on a side of pictures that are always decoded whole.
const WHOLE_SIDE: usize = 512;

/// Everything but weights: cheap to read, enough to check requests and to predict memory.
#[derive(Clone, Debug)]
pub struct DiffusionPlan {
    index: Index,
    pub(super) schedule: Schedule,
    pub(super) denoiser: DenoiserConfig,
    pub(super) autoencoder: AutoencoderConfig,
    pub(super) prompts: PromptsPlan,
    pub(super) precision: Precision,
    defaults: Defaults,
}

/// What is to be drawn, nothing left open but the seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Order {
    /// The latents of one picture.
    pub(super) grid: PixelGrid,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) steps: usize,
    pub(super) guidance: f32,
    /// The denoiser looks at the negative prompt as well.
    pub(super) twice: bool,
}

impl DiffusionPlan {
    /// Reads and checks the configuration files of a folder in the layout of diffusers, for a model that computes in
    /// `dtype`.
    ///
    /// # Errors
    ///
    /// [`ArchError`] for a missing or malformed file, a pipeline, a schedule or an option that is not implemented,
    /// numbers out of bounds, and parts that do not go together.
    pub fn read(folder: &ModelFolder, dtype: Dtype) -> Result<Self, ArchError> {
        let index = Index::read(folder)?;
        let schedule = Schedule::read(&index.part("scheduler")?, index.family.reading())?;
        let straight = matches!(index.family, Family::StableDiffusion3 | Family::Flux);
        if straight != schedule.goes_straight() {
            let supported = if straight { "one that matches flows" } else { "one that matches no flows" };
            return Err(not_supported("noise schedule of", index.family.name(), &[supported]));
        }
        let denoiser = DenoiserConfig::read(&index)?;
        let autoencoder = AutoencoderConfig::read(&index.part("vae")?)?;
        if autoencoder.latent_channels != denoiser.channels() {
            let expected = format!("the denoiser's latents have {}", denoiser.channels());
            return Err(bad("latent_channels", autoencoder.latent_channels, expected));
        }
        let prompts = PromptsPlan::read(&index, &denoiser)?;
        let defaults = Defaults::of(index.family, &schedule, &denoiser, &autoencoder);
        let precision = dtype.precision();
        Ok(Self { index, schedule, denoiser, autoencoder, prompts, precision, defaults })
    }

    /// All families of pipelines.
    pub const FAMILIES: [&'static str; 5] = Family::NAMES;

    /// The family of pipelines, in a word: one of [`FAMILIES`](Self::FAMILIES).
    pub fn family(&self) -> &'static str {
        self.index.family.name()
    }

    /// Width and height of a picture where a request does not say, in pixels.
    pub fn default_size(&self) -> (u32, u32) {
        (self.defaults.side, self.defaults.side)
    }

    /// How many denoising steps there are where a request does not say.
    pub fn default_steps(&self) -> u32 {
        self.defaults.steps
    }

    /// How strongly prompts are followed where a request does not say.
    pub fn default_guidance(&self) -> f32 {
        self.defaults.guidance
    }

    /// What a picture's sides must be multiples of, in pixels.
    pub fn side_multiple(&self) -> u32 {
        (self.autoencoder.reduction() * self.denoiser.side_multiple()) as u32
    }

    /// The most pixels of a picture: four times as many as the model was trained with.
    pub fn max_pixels(&self) -> u64 {
        let side = self.whole_side() as u64;
        4 * side * side
    }

    /// What linear layers and convolutions of the denoiser and of text encoders are kept in, `f32` or `bf16`.
    pub fn computes_in(&self) -> String {
        self.precision.to_string()
    }

    /// The parts with weights, by their folders, as far as they are loaded: headers are checked.
    ///
    /// # Errors
    ///
    /// [`ArchError::Weights`] if one has none or their headers are unreadable.
    pub fn parts(&self) -> Result<Vec<(&'static str, WeightFiles)>, ArchError> {
        let readers = self.prompts.readers.iter().map(|reader| Ok((reader.part, reader.weight_files()?)));
        let mut parts = readers.collect::<Result<Vec<_>, ArchError>>()?;
        for part in [self.denoiser.part(), "vae"] {
            parts.push((part, self.weight_files(part)?));
        }
        Ok(parts)
    }

    pub(super) fn weight_files(&self, part: &'static str) -> Result<WeightFiles, ArchError> {
        Ok(self.index.part(part)?.weight_files()?)
    }

    /// Refuses a request that this model could not serve.
    ///
    /// # Errors
    ///
    /// [`InvalidRequest`] names the field and says what would do.
    pub fn validate(&self, request: &DrawRequest) -> Result<(), InvalidRequest> {
        request.validate()?;
        self.prompts.validate(request)?;
        let order = self.order(request);
        let multiple = self.side_multiple();
        let pixels = u64::from(order.width) * u64::from(order.height);
        if !order.width.is_multiple_of(multiple) || !order.height.is_multiple_of(multiple) {
            let reason = format!("sides must be multiples of {multiple}");
            return Err(InvalidRequest::new("size", reason));
        }
        if order.width.max(order.height) > MAX_SIDE {
            let longest = order.width.max(order.height);
            let reason = format!("a side of {longest} pixels is longer than {MAX_SIDE}");
            return Err(InvalidRequest::new("size", reason));
        }
        if pixels > self.max_pixels() {
            let most = self.max_pixels();
            return Err(InvalidRequest::new(
                "size",
                format!("it has {pixels} pixels; at most {most} are drawn"),
            ));
        }
        let longest = self.denoiser.longest_side();
        if order.grid.height.max(order.grid.width) > longest {
            let most = longest.saturating_mul(self.autoencoder.reduction());
            return Err(InvalidRequest::new("size", format!("the model has places for sides of {most}")));
        }
        let steps = self.schedule.steps();
        if !steps.contains(&order.steps) {
            let (least, most) = steps.into_inner();
            let reason = format!("it is {}; the model's schedule has {least}..={most}", order.steps);
            return Err(InvalidRequest::new("steps", reason));
        }
        Self::check_previews(request, &order)?;
        if request.negative_prompt.is_some() && self.denoiser.following() != Following::Twice {
            return Err(InvalidRequest::new("negative_prompt", "this model looks at the prompt alone"));
        }
        let [_, channels, height, width] = request.latents.as_ref().map_or([0; 4], |noise| noise.shape);
        let wanted = [self.denoiser.channels(), order.grid.height, order.grid.width];
        if request.latents.is_some() && [channels, height, width] != wanted {
            let reason = format!("one picture's are {channels} x {height} x {width}, not {wanted:?}");
            return Err(InvalidRequest::new("latents", reason));
        }
        Ok(())
    }

    fn check_previews(request: &DrawRequest, order: &Order) -> Result<(), InvalidRequest> {
        let Some(every) = request.preview_every else { return Ok(()) };
        let shown = u64::from(request.n) * (order.steps as u64 / u64::from(every.max(1)));
        let bytes = shown * u64::from(order.width) * u64::from(order.height) * 3;
        if bytes > MOST_PREVIEWS {
            let reason =
                format!("{shown} pictures of {bytes} bytes are shown; at most {MOST_PREVIEWS} bytes are");
            return Err(InvalidRequest::new("preview_every", reason));
        }
        Ok(())
    }

    /// About how many latents the denoiser sees for a request in each step.
    pub fn cost(&self, request: &DrawRequest) -> u64 {
        let order = self.order(request);
        let looks = u64::from(request.n) * if order.twice { 2 } else { 1 };
        (order.grid.pixels() as u64).saturating_mul(looks)
    }

    pub(super) fn order(&self, request: &DrawRequest) -> Order {
        let (width, height) = request.size.unwrap_or(self.default_size());
        let reduction = self.autoencoder.reduction();
        let grid =
            PixelGrid { pictures: 1, height: height as usize / reduction, width: width as usize / reduction };
        let guidance = request.guidance.unwrap_or(self.defaults.guidance);
        let twice = self.denoiser.following() == Following::Twice && guidance > 1.0;
        let steps = request.steps.unwrap_or(self.defaults.steps) as usize;
        Order { grid, width, height, steps, guidance, twice }
    }

    /// Pixels on a side of a square that is decoded whole.
    fn whole_side(&self) -> usize {
        WHOLE_SIDE.max(self.defaults.side as usize)
    }

    /// The tiles that a picture is decoded in, if it is larger than those the model was trained with.
    pub(super) fn tiles(&self, grid: PixelGrid) -> Option<Tiles> {
        let side = self.whole_side() / self.autoencoder.reduction();
        (grid.pixels() > side * side).then_some(Tiles { side })
    }

    /// The most latents of one picture.
    pub(super) fn most_latents(&self) -> usize {
        let side = 2 * self.whole_side() / self.autoencoder.reduction();
        side * side
    }

    /// What a model folder takes when it is loaded to compute on workers of `threads` threads each, from headers and
    /// configuration alone.
    ///
    /// `weights` is all tensors that are loaded as f32, but for layers of the denoiser and of text encoders, which are
    /// kept in what the dtype means on this processor. `per_worker` is the most that reading a prompt, a pass of the
    /// denoiser or decoding holds for the largest picture that is admitted, beside what is kept of as many of them as
    /// one request may ask for.
    ///
    /// # Errors
    ///
    /// [`ArchError::Weights`] if there are no weight files or their headers are unreadable.
    pub fn footprint(&self, threads: NonZeroUsize) -> Result<Footprint, ArchError> {
        let denoiser = self.kept(&self.weight_files(self.denoiser.part())?, self.denoiser.linear_numbers());
        let readers = self.prompts.readers.iter();
        let texts = readers.map(|reader| Ok(self.kept(&reader.weight_files()?, reader.linear_numbers())));
        let texts = texts.sum::<Result<ByteSize, ArchError>>()?;
        let vae = self.weight_files("vae")?;
        let decoder = vae.tensors().filter(|tensor| !is_encoders(&tensor.name));
        let decoder: u64 = decoder.map(|tensor| tensor.elements() as u64).sum();
        let decoder = ByteSize::new(decoder).saturating_mul(4);
        let weights = denoiser.saturating_add(texts).saturating_add(decoder);
        Ok(Footprint { weights, per_worker: self.per_worker(threads) })
    }

    fn kept(&self, files: &WeightFiles, linear: u64) -> ByteSize {
        let all = files.predicted_bytes(DType::F32).bytes();
        // What a configuration claims beyond what its files hold is not there to be saved.
        let saved = linear.saturating_mul(4 - self.precision.bytes() as u64).min(all / 2);
        ByteSize::new(all - saved)
    }

    fn per_worker(&self, threads: NonZeroUsize) -> ByteSize {
        let reduction = self.autoencoder.reduction();
        let (whole, largest) = (self.whole_side() / reduction, 2 * self.whole_side() / reduction);
        let square = |pictures, side| PixelGrid { pictures, height: side, width: side };
        let length = self.prompts.length();
        let pass = |grid| self.denoiser.pass_numbers(grid, length, threads);
        // Looks share a pass up to twice the latents of the largest picture.
        let passes = pass(square(2, largest)).max(pass(square(MOST_LOOKS, largest / 2)));
        let part = Tiles { side: whole }.largest(square(1, largest));
        let decoding = self.autoencoder.decoding_numbers(part, threads);
        let pixels = (largest * reduction * largest * reduction) as u64;
        let largest = (largest * largest * self.denoiser.channels()) as u64;
        // Latents and what the schedule keeps of them, of every picture under way: the most are those of one request
        // that is admitted alone. What is told of prompts, of every request. Pictures of bytes, which are not numbers.
        let drawn = u64::from(MAX_DRAWN);
        let latents = largest.saturating_mul(2 + self.schedule.memory() as u64).saturating_mul(drawn);
        let told = (2 * length * self.denoiser.token_width() * MOST_LOOKS) as u64;
        let pictures = ByteSize::new(pixels).saturating_mul(3 * drawn);
        let numbers = passes.max(decoding.saturating_add(4 * pixels));
        let computing = ByteSize::new(numbers).saturating_mul(4).max(self.prompts.pass_bytes(threads));
        let kept = ByteSize::new(latents.saturating_add(told)).saturating_mul(4).saturating_add(pictures);
        computing.saturating_add(kept)
    }
}

/// Whether a tensor of this name in an autoencoder is of the half that reads pictures, which is not loaded.
fn is_encoders(name: &str) -> bool {
    name.starts_with("encoder.") || name.starts_with("quant_conv.")
}
