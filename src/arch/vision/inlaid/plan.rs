//! What a model folder's small files say, before any weight is read.

use std::num::NonZeroUsize;
use std::sync::Arc;

use super::family::Family;
use super::gemma::GemmaVision;
use super::idefics3::Idefics3;
use super::llava::Llava;
use super::qwen::QwenVl;
use crate::ByteSize;
use crate::arch::bounds::{bad, not_supported};
use crate::arch::vision::plan::{FAMILIES, gemma_sees};
use crate::arch::vision::refusal::of_image;
use crate::arch::{ArchError, Architecture, DecoderFamily, DecoderOptions, DecoderPlan};
use crate::capability::{Capacity, DescribeRequest, InvalidRequest};
use crate::image::{MAX_DECODING, MAX_ENCODED, check};
use crate::memory::Footprint;
use crate::text::PromptTokenizer;
use crate::weights::{ModelFiles, ModelFolder};

/// Everything but tokenizer and weights: cheap to read and to clone, enough to check requests and to predict memory.
#[derive(Clone, Debug)]
pub(crate) struct InlaidPlan {
    pub(super) decoder: DecoderPlan,
    pub(super) family: Arc<dyn Family>,
    pub(super) folder: ModelFolder,
    pub(super) options: DecoderOptions,
}

impl InlaidPlan {
    /// Reads and checks a folder's configuration files.
    ///
    /// # Errors
    ///
    /// [`ArchError`] for a missing or malformed file, an architecture or preprocessing that is not implemented, and
    /// numbers out of bounds.
    pub(crate) fn read(
        folder: &ModelFolder,
        architecture: Architecture,
        options: DecoderOptions,
    ) -> Result<Self, ArchError> {
        let decoder = DecoderPlan::of(&ModelFiles::Folder(folder.clone()), options)?;
        let hidden_size = decoder.config.hidden_size;
        let family: Arc<dyn Family> = match architecture {
            Architecture::Llava => Arc::new(Llava::read(folder, hidden_size)?),
            Architecture::Idefics3 | Architecture::SmolVlm => Arc::new(Idefics3::read(folder, hidden_size)?),
            Architecture::Qwen2Vl | Architecture::Qwen2_5Vl => Arc::new(QwenVl::read(folder, hidden_size)?),
            Architecture::Decoder(DecoderFamily::Gemma3) if gemma_sees(folder)? => {
                Arc::new(GemmaVision::gemma3(folder, hidden_size)?)
            }
            Architecture::PaliGemma => Arc::new(GemmaVision::paligemma(folder, hidden_size)?),
            other => return Err(not_supported("architecture of vision", other.model_type(), &FAMILIES)),
        };
        let controls = family.controls();
        let tokens: Vec<u32> =
            [family.image_token(), family.placeholder()].into_iter().chain(controls.ids).collect();
        if let Some(token) = tokens.iter().find(|token| **token as usize >= decoder.config.vocab_size) {
            let expected = format!("the decoder has {} tokens", decoder.config.vocab_size);
            return Err(bad("a token that pictures are written with", token, expected));
        }
        let decoder = decoder.with_controls(tokens, controls.texts);
        Ok(Self { decoder, family, folder: folder.clone(), options })
    }

    /// The plan of the decoder that reads what pictures become, and writes.
    pub(crate) fn decoder(&self) -> &DecoderPlan {
        &self.decoder
    }

    /// The text that stands for a picture in this model's prompts. Reads the tokenizer.
    ///
    /// # Errors
    ///
    /// [`ArchError`] if the tokenizer cannot be read, or does not know it.
    pub(crate) fn placeholder(&self) -> Result<String, ArchError> {
        placeholder(&*self.family, &self.decoder.read_tokenizer()?)
    }

    /// The `model_type` of the network that reads pictures, and how many pixels a side of its patches has.
    pub(crate) fn tower(&self) -> (&'static str, usize) {
        self.family.tower()
    }

    /// How many of the decoder's tokens most pictures take.
    pub(crate) fn tokens_per_image(&self) -> usize {
        self.family.rows().usual
    }

    /// Refuses a request that this model could not serve, as far as can be told without tokenizing it and without
    /// decoding pictures.
    ///
    /// # Errors
    ///
    /// As [`DecoderPlan::validate`], and for what is no picture, and more pictures than there is room for.
    pub(crate) fn validate(&self, request: &DescribeRequest) -> Result<(), InvalidRequest> {
        self.check(request)?;
        self.decoder.validate(&request.generate)
    }

    /// All of [`validate`](Self::validate) but the form of the answer.
    pub(super) fn check(&self, request: &DescribeRequest) -> Result<(), InvalidRequest> {
        request.validate()?;
        self.decoder.check(&request.generate)?;
        let (images, most) = (request.images.len(), self.decoder.max_tokens());
        let fewest = self.family.rows().fewest.saturating_mul(images);
        if fewest.saturating_add(request.generate.least_tokens()) > most {
            return Err(too_many(fewest, most));
        }
        for (index, image) in request.images.iter().enumerate() {
            check(image).map_err(|error| of_image(index, &error))?;
        }
        Ok(())
    }

    /// What a request weighs: about the tokens of its prompt, pictures included, and those of its answers.
    pub(crate) fn cost(&self, request: &DescribeRequest) -> u64 {
        let pictures = self.family.rows().usual.saturating_mul(request.images.len()) as u64;
        self.decoder.cost(&request.generate).saturating_add(pictures).min(self.capacity().cost)
    }

    pub(super) fn capacity(&self) -> Capacity {
        self.decoder.capacity()
    }

    /// How many rows of pictures a worker keeps: as many as its cache holds tokens, so that what fits into the one
    /// fits into the other.
    pub(super) fn kept_rows(&self) -> usize {
        self.decoder.cache_tokens()
    }

    /// What loading takes: all tensors as they are kept; and for each worker of so many threads its cache, the rows
    /// of pictures that it keeps, and its largest step, with a picture being decoded and read.
    ///
    /// # Errors
    ///
    /// [`ArchError::Weights`] if there are no weight files or their headers are unreadable.
    pub(crate) fn footprint(&self, threads: NonZeroUsize) -> Result<Footprint, ArchError> {
        let decoders = |name: &str| self.family.is_decoders(name);
        let together = self.family.longest_together(self.decoder.max_tokens());
        let Footprint { weights, per_worker } = self.decoder.footprint_of(threads, decoders, together)?;
        let files = self.folder.weight_files()?;
        let precision = self.options.dtype.precision().bytes() as u64;
        let eyes = files.tensors().filter(|tensor| !decoders(&tensor.name)).map(|tensor| {
            let is_layer = tensor.shape.len() > 1 && !tensor.name.contains("position");
            (tensor.elements() as u64).saturating_mul(if is_layer { precision } else { 4 })
        });
        let eyes = eyes.fold(0, u64::saturating_add);
        let kept = (self.kept_rows() as u64).saturating_mul(4 * self.decoder.config.hidden_size as u64);
        let pass = self.family.pass_numbers(threads).saturating_mul(4);
        let looking = kept.saturating_add(pass).saturating_add(MAX_DECODING + MAX_ENCODED);
        Ok(Footprint {
            weights: weights.saturating_add(ByteSize::new(eyes)),
            per_worker: per_worker.saturating_add(ByteSize::new(looking)),
        })
    }
}

/// The text of the token that stands for a picture.
pub(super) fn placeholder(family: &dyn Family, tokenizer: &PromptTokenizer) -> Result<String, ArchError> {
    let id = family.placeholder();
    let unknown = || bad("image_token_id", id, "the tokenizer must know it".to_owned());
    tokenizer.written(id).filter(|text| !text.is_empty()).ok_or_else(unknown)
}

/// Pictures of so many tokens do not fit.
pub(super) fn too_many(tokens: usize, most: usize) -> InvalidRequest {
    let reason = format!(
        "the pictures are {tokens} tokens at least, and prompt and answer have {most} at most: show fewer, or ask \
         for a shorter answer"
    );
    InvalidRequest::new("images", reason)
}
