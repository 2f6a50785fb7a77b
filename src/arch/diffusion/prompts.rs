//! What a denoiser is told of a prompt: what one or several encoders make of it, put together as its family was
//! trained. References: `encode_prompt` of the pipelines of Hugging Face diffusers.

use std::num::NonZeroUsize;

use candle_core::{DType, Device, Result, Tensor};

use super::denoiser::DenoiserConfig;
use super::index::{Family, Index};
use super::reader::{Read, Reader, ReaderPlan};
use crate::ByteSize;
use crate::arch::ArchError;
use crate::arch::bounds::{bad, not_supported};
use crate::arch::text_tower::Depth;
use crate::capability::{DrawRequest, InvalidRequest, ModelError};
use crate::kernels::Precision;

/// How many tokens T5 reads for Stable Diffusion 3, and for FLUX.1.
const T5_TOKENS: [usize; 2] = [256, 512];

/// The encoders of a pipeline, before they are loaded.
#[derive(Clone, Debug)]
pub(super) struct PromptsPlan {
    family: Family,
    pub(super) readers: Vec<ReaderPlan>,
    zeros_for_nothing: bool,
    token_width: usize,
}

/// The encoders.
#[derive(Debug)]
pub(super) struct Prompts {
    plan: PromptsPlan,
    readers: Vec<Reader>,
}

/// What a denoiser is told of one prompt.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// `[length, width]`
    pub(super) tokens: Tensor,
    /// `[1, width]`
    pub(super) pooled: Option<Tensor>,
    pub(super) truncated: bool,
}

impl PromptsPlan {
    pub(super) fn read(index: &Index, denoiser: &DenoiserConfig) -> std::result::Result<Self, ArchError> {
        let family = index.family;
        let most = if family == Family::Flux { T5_TOKENS[1] } else { T5_TOKENS[0] };
        let parts = [
            ("text_encoder", "tokenizer"),
            ("text_encoder_2", "tokenizer_2"),
            ("text_encoder_3", "tokenizer_3"),
        ];
        let parts = parts.into_iter().filter(|(part, _)| index.class(part).is_some());
        let readers = parts.map(|(part, tokenizer)| ReaderPlan::read(index, part, tokenizer, most));
        let readers = readers.collect::<std::result::Result<Vec<_>, _>>()?;
        let zeros_for_nothing = index.zeros_for_nothing;
        let plan = Self { family, readers, zeros_for_nothing, token_width: denoiser.token_width() };
        plan.check(denoiser)?;
        Ok(plan)
    }

    /// Refuses other encoders than the family has, and widths that do not go with the denoiser's.
    fn check(&self, denoiser: &DenoiserConfig) -> std::result::Result<(), ArchError> {
        let kinds: Vec<bool> = self.readers.iter().map(ReaderPlan::is_clip).collect();
        let wanted: &[&[bool]] = match self.family {
            Family::StableDiffusion | Family::LatentConsistency => &[&[true]],
            Family::StableDiffusionXl => &[&[true, true]],
            Family::StableDiffusion3 => &[&[true, true, false], &[true, true]],
            Family::Flux => &[&[true, false]],
        };
        if !wanted.contains(&kinds.as_slice()) {
            let found = self.readers.iter().map(|reader| reader.part).collect::<Vec<_>>().join(" and ");
            let supported = match self.family {
                Family::StableDiffusion | Family::LatentConsistency => "one of CLIP",
                Family::StableDiffusionXl => "two of CLIP",
                Family::StableDiffusion3 => "two of CLIP, with T5 or without",
                Family::Flux => "CLIP and T5",
            };
            return Err(not_supported("set of text encoders", &found, &[supported]));
        }
        let length = self.readers[0].length;
        if let Some(other) = self.clips().find(|reader| reader.length != length) {
            let expected =
                format!("vectors of both lie side by side, and {} reads {length}", self.readers[0].part);
            return Err(bad("model_max_length", other.length, expected));
        }
        let clip: usize = self.clips().map(ReaderPlan::width).sum();
        let t5 = self.readers.iter().filter(|reader| !reader.is_clip()).map(ReaderPlan::width);
        let fits = match self.family {
            Family::StableDiffusion3 => clip <= self.token_width && t5.clone().all(|w| w == self.token_width),
            Family::Flux => t5.clone().all(|width| width == self.token_width),
            _ => clip == self.token_width,
        };
        if !fits {
            let expected = format!("the denoiser reads vectors of {} numbers", self.token_width);
            return Err(bad("hidden_size", clip.max(t5.max().unwrap_or(0)), expected));
        }
        match (denoiser.pooled_width(), self.pooled_width()) {
            (Some(wanted), found) if wanted != found => {
                Err(bad("projection_dim", found, format!("the denoiser reads vectors of {wanted} numbers")))
            }
            _ => Ok(()),
        }
    }

    fn clips(&self) -> impl Iterator<Item = &ReaderPlan> {
        self.readers.iter().filter(|reader| reader.is_clip())
    }

    fn pooled_width(&self) -> usize {
        let mut widths = self.clips().filter_map(ReaderPlan::pooled_width);
        match self.family {
            Family::StableDiffusion3 => widths.sum(),
            Family::StableDiffusionXl => widths.last().unwrap_or(0),
            _ => widths.next().unwrap_or(0),
        }
    }

    /// Tokens that the denoiser sees of a prompt.
    pub(super) fn length(&self) -> usize {
        let clip = self.readers[0].length;
        match self.family {
            Family::StableDiffusion3 => clip + T5_TOKENS[0],
            Family::Flux => T5_TOKENS[1],
            _ => clip,
        }
    }

    /// What reading one prompt holds at most.
    pub(super) fn pass_bytes(&self, threads: NonZeroUsize) -> ByteSize {
        self.readers.iter().map(|reader| reader.pass_bytes(threads)).max().unwrap_or(ByteSize::ZERO)
    }

    /// Refuses to leave out more layers than there are, or layers of what the denoiser sees no tokens of.
    pub(super) fn validate(&self, request: &DrawRequest) -> std::result::Result<(), InvalidRequest> {
        if self.family == Family::Flux && request.clip_skip > 0 {
            return Err(InvalidRequest::new("clip_skip", "this model's tokens are read by T5, not by CLIP"));
        }
        let layers = self.clips().map(ReaderPlan::layers).min().unwrap_or(0);
        let most = layers.saturating_sub(1 + self.skipped());
        if request.clip_skip as usize > most {
            let reason = format!("it is {}, and the model has {most} layers to leave out", request.clip_skip);
            return Err(InvalidRequest::new("clip_skip", reason));
        }
        Ok(())
    }

    /// How many layers of CLIP the model was trained without.
    fn skipped(&self) -> usize {
        match self.family {
            Family::StableDiffusionXl | Family::StableDiffusion3 => 1,
            _ => 0,
        }
    }

    pub(super) fn load(self, precision: Precision) -> std::result::Result<Prompts, ArchError> {
        let readers = self.readers.iter().map(|reader| reader.load(precision));
        let readers = readers.collect::<std::result::Result<_, _>>()?;
        Ok(Prompts { plan: self, readers })
    }
}

impl Prompts {
    /// What the denoiser is told of the prompt of `request`.
    pub(super) fn positive(&self, request: &DrawRequest) -> std::result::Result<Told, ModelError> {
        self.told("prompt", &request.prompt, request, request.clip_skip as usize)
    }

    /// And of what must not be seen; `positive` is what it is told of the prompt. All layers read it, as in the
    /// reference.
    pub(super) fn negative(
        &self,
        request: &DrawRequest,
        positive: &Told,
    ) -> std::result::Result<Told, ModelError> {
        let prompt = match &request.negative_prompt {
            None if self.plan.zeros_for_nothing => return zeros_like(positive).map_err(ModelError::failed),
            None => "",
            Some(prompt) => prompt,
        };
        self.told("negative_prompt", prompt, request, 0)
    }

    fn told(
        &self,
        field: &'static str,
        prompt: &str,
        request: &DrawRequest,
        skip: usize,
    ) -> std::result::Result<Told, ModelError> {
        let depth = match self.plan.skipped() {
            0 => Depth::Normed(skip),
            skipped => Depth::Raw(skipped + skip),
        };
        let read = |reader: &Reader| reader.read(field, prompt, depth, request.overlong);
        let reads = self.readers.iter().map(read).collect::<std::result::Result<Vec<_>, _>>()?;
        self.joined(reads).map_err(ModelError::failed)
    }

    fn joined(&self, reads: Vec<Read>) -> Result<Told> {
        let truncated = reads.iter().any(|read| read.truncated);
        let (clips, t5): (Vec<Read>, Vec<Read>) = reads.into_iter().partition(|read| read.pooled.is_some());
        let side_by_side = || {
            let tokens: Vec<&Tensor> = clips.iter().map(|read| &read.tokens).collect();
            Tensor::cat(&tokens, 1)
        };
        let mut pooled = clips.iter().filter_map(|read| read.pooled.clone());
        let (tokens, pooled) = match self.plan.family {
            Family::StableDiffusion | Family::LatentConsistency => (side_by_side()?, None),
            Family::StableDiffusionXl => (side_by_side()?, pooled.next_back()),
            Family::StableDiffusion3 => {
                let both: Vec<Tensor> = pooled.collect();
                let clip = side_by_side()?;
                let (rows, width) = clip.dims2()?;
                let wide = Tensor::cat(&[clip, zeros(rows, self.plan.token_width - width)?], 1)?;
                let whole = match t5.first() {
                    Some(read) => read.tokens.clone(),
                    None => zeros(T5_TOKENS[0], self.plan.token_width)?,
                };
                (Tensor::cat(&[wide, whole], 0)?, Some(Tensor::cat(&both, 1)?))
            }
            Family::Flux => {
                let tokens = t5.first().map(|read| read.tokens.clone());
                (tokens.map_or_else(|| zeros(T5_TOKENS[1], self.plan.token_width), Ok)?, pooled.next())
            }
        };
        Ok(Told { tokens, pooled, truncated })
    }
}

fn zeros(rows: usize, width: usize) -> Result<Tensor> {
    Tensor::zeros((rows, width), DType::F32, &Device::Cpu)
}

fn zeros_like(told: &Told) -> Result<Told> {
    let pooled = told.pooled.as_ref().map(Tensor::zeros_like).transpose()?;
    Ok(Told { tokens: told.tokens.zeros_like()?, pooled, truncated: false })
}
