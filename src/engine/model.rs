//! What a model can do, and how it is to do it.

use std::num::NonZeroUsize;

use crate::arch::{
    ArchError, Architecture, DecoderFamily, DecoderOptions, Parts, gemma_sees, has_pooling, is_pipeline,
    is_vision, is_vit,
};
pub use crate::capability::Capabilities;
use crate::error::Error;
use crate::kernels::{Dtype, KvFormat};
use crate::weights::ModelFiles;
use crate::weights::gguf::Quantization;

impl Capabilities {
    /// What the model in `files` can do, by its architecture; a decoder embeds if a `modules.json` says how to
    /// pool, and writes otherwise. Of a model that can do several things the first of [`all`](Self::all). Reads no
    /// weights.
    ///
    /// # Errors
    ///
    /// As [`Architecture::of`], and for a malformed `modules.json`; a GGUF file is checked when it is added.
    pub fn of(files: &ModelFiles) -> Result<Self, Error> {
        Ok(Self::all(files)?.0)
    }

    /// What the model in `files` can do, and what it can do besides: CLIP and `SigLIP` embed pictures, and if their
    /// folder has a tokenizer texts as well; Gemma 3 writes, and sees if its folder has that part. A folder in the
    /// layout of diffusers draws.
    ///
    /// # Errors
    ///
    /// As [`of`](Self::of).
    pub fn all(files: &ModelFiles) -> Result<(Self, Option<Self>), Error> {
        let ModelFiles::Folder(folder) = files else { return Ok((Self::TextToText, None)) };
        if is_pipeline(folder) {
            return Ok((Self::TextToImage, None));
        }
        Ok(match Architecture::of(folder)? {
            Architecture::Decoder(family) if !has_pooling(folder)? => {
                let sees = family == DecoderFamily::Gemma3 && gemma_sees(folder)?;
                (Self::TextToText, sees.then_some(Self::Vision))
            }
            Architecture::Clip | Architecture::Siglip | Architecture::Siglip2 => match Parts::of(folder)? {
                Parts { pictures: true, texts } => {
                    (Self::ImageEmbedding, texts.then_some(Self::TextEmbedding))
                }
                Parts { pictures: false, .. } => (Self::TextEmbedding, None),
            },
            family if is_vision(family) => (Self::Vision, None),
            family if is_vit(family) => (Self::ImageEmbedding, None),
            _ => (Self::TextEmbedding, None),
        })
    }
}

/// How a model computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelOptions {
    /// What its weights are kept and multiplied in. Default: [`Dtype::Auto`].
    pub dtype: Dtype,
    /// What the weights of text generation, and of what writes in vision, are quantised to while they load, where the
    /// files hold numbers. Default: nothing.
    pub quantize: Option<Quantization>,
    /// How many tokens a worker of text generation or vision keeps keys and values of. Default: 8192, or what the model
    /// reads if that is less.
    pub cache_tokens: Option<usize>,
    /// What those keys and values are kept as. Default: f16 where most weights have 4 to 6 bits (`Q4_K`, `Q5_K`,
    /// `Q6_K`), f32 otherwise.
    pub kv_format: Option<KvFormat>,
    /// How many threads each of its workers computes on. Default: as
    /// [`Engine::threads_per_worker`](super::Engine::threads_per_worker) says.
    pub threads: Option<NonZeroUsize>,
}

impl ModelOptions {
    /// Refuses what a model that can do so does not know.
    ///
    /// # Errors
    ///
    /// [`ArchError::Unsupported`] for quantizing the weights of a model that does not write.
    pub(crate) fn check(self, capability: Capabilities) -> Result<(), ArchError> {
        match (capability, self.quantize) {
            (Capabilities::TextToText | Capabilities::Vision, _) | (_, None) => Ok(()),
            (Capabilities::TextEmbedding, Some(to)) => Err(unquantized("quantization of text embedding", to)),
            (Capabilities::ImageEmbedding, Some(to)) => {
                Err(unquantized("quantization of image embedding", to))
            }
            (Capabilities::TextToImage, Some(to)) => Err(unquantized("quantization of text to image", to)),
        }
    }

    /// Sets [`dtype`](Self::dtype).
    #[must_use]
    pub fn dtype(mut self, dtype: Dtype) -> Self {
        self.dtype = dtype;
        self
    }

    /// Sets [`quantize`](Self::quantize).
    #[must_use]
    pub fn quantize(mut self, to: Quantization) -> Self {
        self.quantize = Some(to);
        self
    }

    /// Sets [`cache_tokens`](Self::cache_tokens).
    #[must_use]
    pub fn cache_tokens(mut self, tokens: usize) -> Self {
        self.cache_tokens = Some(tokens);
        self
    }

    /// Sets [`kv_format`](Self::kv_format).
    #[must_use]
    pub fn kv_format(mut self, format: KvFormat) -> Self {
        self.kv_format = Some(format);
        self
    }

    /// Sets [`threads`](Self::threads).
    #[must_use]
    pub fn threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = Some(threads);
        self
    }
}

fn unquantized(what: &'static str, to: Quantization) -> ArchError {
    ArchError::Unsupported { what, found: to.to_string(), supported: vec!["none"] }
}

impl From<ModelOptions> for DecoderOptions {
    fn from(options: ModelOptions) -> Self {
        let ModelOptions { dtype, quantize, cache_tokens, kv_format, threads: _ } = options;
        Self { dtype, quantize, cache_tokens, kv_format }
    }
}
