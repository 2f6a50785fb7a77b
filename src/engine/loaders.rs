//! How the pools get their models.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::model::{Capabilities, ModelOptions};
use crate::arch::{
    DecoderOptions, DecoderPlan, DecoderWeights, Describer, DiffusionPlan, DiffusionWeights, EmbeddingPlan,
    EmbeddingWeights, ImageEmbedder, ImageGenerator, ImagePlan, ImageWeights, TextEmbedder, TextGenerator,
    VisionPlan, VisionWeights,
};
use crate::capability::{
    DescribeRequest, DrawRequest, EmbedImageRequest, EmbedRequest, GenerateRequest, ImageEmbedding,
    InvalidRequest, TextEmbedding, TextToImage, TextToText, Vision,
};
use crate::error::Error;
use crate::kernels::Dtype;
use crate::memory::Footprint;
use crate::pool::{LoadError, Loader};
use crate::weights::{ModelFiles, ModelFolder};

/// How a pool gets a model, whichever pool that is.
pub(super) enum AnyLoader {
    TextEmbedding(EmbeddingLoader),
    TextToText(DecoderLoader),
    ImageEmbedding(ImageLoader),
    TextToImage(DiffusionLoader),
    Vision(VisionLoader),
}

impl AnyLoader {
    /// Reads the files' configuration, as far as it bears on one thing that the model can do.
    pub(super) fn new(
        files: &ModelFiles,
        capability: Capabilities,
        threads: NonZeroUsize,
        options: ModelOptions,
    ) -> Result<Self, Error> {
        options.check(capability)?;
        let folder = || files.clone().folder();
        Ok(match capability {
            Capabilities::TextEmbedding => {
                Self::TextEmbedding(EmbeddingLoader::new(folder()?, threads, options.dtype)?)
            }
            Capabilities::TextToText => Self::TextToText(DecoderLoader::new(files, threads, options)?),
            Capabilities::ImageEmbedding => {
                Self::ImageEmbedding(ImageLoader::new(folder()?, threads, options.dtype)?)
            }
            Capabilities::TextToImage => {
                Self::TextToImage(DiffusionLoader::new(folder()?, threads, options.dtype)?)
            }
            Capabilities::Vision => Self::Vision(VisionLoader::new(&folder()?, threads, options)?),
        })
    }
}

/// Loads networks that embed for the text-embedding pool.
#[derive(Debug)]
pub struct EmbeddingLoader {
    folder: ModelFolder,
    pub(super) plan: Arc<EmbeddingPlan>,
    pub(super) threads: NonZeroUsize,
    dtype: Dtype,
}

impl EmbeddingLoader {
    /// Reads the folder's configuration. Each worker will compute on `threads` threads, in `dtype`.
    pub fn new(folder: ModelFolder, threads: NonZeroUsize, dtype: Dtype) -> Result<Self, Error> {
        let plan = Arc::new(EmbeddingPlan::read(&folder, dtype)?);
        Ok(Self { folder, plan, threads, dtype })
    }
}

impl Loader<TextEmbedding> for EmbeddingLoader {
    type Weights = EmbeddingWeights;
    type Model = TextEmbedder;

    fn footprint(&self) -> Result<Footprint, LoadError> {
        self.plan.footprint(self.threads).map_err(LoadError::invalid)
    }

    fn load(&self) -> Result<EmbeddingWeights, LoadError> {
        EmbeddingWeights::load(&self.folder, self.dtype).map_err(LoadError::invalid)
    }

    fn build(&self, weights: &Arc<EmbeddingWeights>) -> Result<TextEmbedder, LoadError> {
        Ok(TextEmbedder::new(weights.clone(), self.threads))
    }

    fn validate(&self, request: &EmbedRequest) -> Result<(), InvalidRequest> {
        self.plan.validate(request)
    }

    fn cost(&self, request: &EmbedRequest) -> u64 {
        self.plan.cost(request)
    }
}

/// Loads vision transformers for the image-embedding pool.
#[derive(Debug)]
pub struct ImageLoader {
    folder: ModelFolder,
    pub(super) plan: Arc<ImagePlan>,
    pub(super) threads: NonZeroUsize,
    dtype: Dtype,
}

impl ImageLoader {
    /// Reads the folder's configuration. Each worker will compute on `threads` threads, in `dtype`.
    pub fn new(folder: ModelFolder, threads: NonZeroUsize, dtype: Dtype) -> Result<Self, Error> {
        let plan = Arc::new(ImagePlan::read(&folder, dtype)?);
        Ok(Self { folder, plan, threads, dtype })
    }
}

impl Loader<ImageEmbedding> for ImageLoader {
    type Weights = ImageWeights;
    type Model = ImageEmbedder;

    fn footprint(&self) -> Result<Footprint, LoadError> {
        self.plan.footprint(self.threads).map_err(LoadError::invalid)
    }

    fn load(&self) -> Result<ImageWeights, LoadError> {
        ImageWeights::load(&self.folder, self.dtype).map_err(LoadError::invalid)
    }

    fn build(&self, weights: &Arc<ImageWeights>) -> Result<ImageEmbedder, LoadError> {
        Ok(ImageEmbedder::new(weights.clone(), self.threads))
    }

    fn validate(&self, request: &EmbedImageRequest) -> Result<(), InvalidRequest> {
        self.plan.validate(request)
    }

    fn cost(&self, request: &EmbedImageRequest) -> u64 {
        self.plan.cost(request)
    }
}

/// Loads folders in the layout of diffusers for the text-to-image pool.
#[derive(Debug)]
pub struct DiffusionLoader {
    folder: ModelFolder,
    pub(super) plan: Arc<DiffusionPlan>,
    pub(super) threads: NonZeroUsize,
    dtype: Dtype,
}

impl DiffusionLoader {
    /// Reads the folder's configuration. Each worker will compute on `threads` threads, in `dtype`.
    pub fn new(folder: ModelFolder, threads: NonZeroUsize, dtype: Dtype) -> Result<Self, Error> {
        let plan = Arc::new(DiffusionPlan::read(&folder, dtype)?);
        Ok(Self { folder, plan, threads, dtype })
    }
}

impl Loader<TextToImage> for DiffusionLoader {
    type Weights = DiffusionWeights;
    type Model = ImageGenerator;

    fn footprint(&self) -> Result<Footprint, LoadError> {
        self.plan.footprint(self.threads).map_err(LoadError::invalid)
    }

    fn load(&self) -> Result<DiffusionWeights, LoadError> {
        DiffusionWeights::load(&self.folder, self.dtype).map_err(LoadError::invalid)
    }

    fn build(&self, weights: &Arc<DiffusionWeights>) -> Result<ImageGenerator, LoadError> {
        Ok(ImageGenerator::new(weights.clone(), self.threads))
    }

    fn validate(&self, request: &DrawRequest) -> Result<(), InvalidRequest> {
        self.plan.validate(request)
    }

    fn cost(&self, request: &DrawRequest) -> u64 {
        self.plan.cost(request)
    }
}

/// Loads decoders for the text-to-text pool.
#[derive(Debug)]
pub struct DecoderLoader {
    pub(super) plan: Arc<DecoderPlan>,
    pub(super) threads: NonZeroUsize,
}

impl DecoderLoader {
    /// Reads the files' configuration. Each worker will compute on `threads` threads.
    pub fn new(files: &ModelFiles, threads: NonZeroUsize, options: ModelOptions) -> Result<Self, Error> {
        let options = DecoderOptions::from(options);
        let plan = Arc::new(DecoderPlan::of(files, options)?);
        Ok(Self { plan, threads })
    }
}

impl Loader<TextToText> for DecoderLoader {
    type Weights = DecoderWeights;
    type Model = TextGenerator;

    fn footprint(&self) -> Result<Footprint, LoadError> {
        self.plan.footprint(self.threads).map_err(LoadError::invalid)
    }

    fn load(&self) -> Result<DecoderWeights, LoadError> {
        DecoderWeights::load(DecoderPlan::clone(&self.plan)).map_err(LoadError::invalid)
    }

    fn build(&self, weights: &Arc<DecoderWeights>) -> Result<TextGenerator, LoadError> {
        Ok(TextGenerator::new(weights.clone(), self.threads, unix_now))
    }

    fn validate(&self, request: &GenerateRequest) -> Result<(), InvalidRequest> {
        self.plan.validate(request)
    }

    fn cost(&self, request: &GenerateRequest) -> u64 {
        self.plan.cost(request)
    }
}

/// Loads models that see and write for the vision pool.
#[derive(Debug)]
pub struct VisionLoader {
    pub(super) plan: Arc<VisionPlan>,
    pub(super) threads: NonZeroUsize,
}

impl VisionLoader {
    /// Reads the folder's configuration. Each worker will compute on `threads` threads.
    pub fn new(folder: &ModelFolder, threads: NonZeroUsize, options: ModelOptions) -> Result<Self, Error> {
        let plan = Arc::new(VisionPlan::read(folder, options.into())?);
        Ok(Self { plan, threads })
    }
}

impl Loader<Vision> for VisionLoader {
    type Weights = VisionWeights;
    type Model = Describer;

    fn footprint(&self) -> Result<Footprint, LoadError> {
        self.plan.footprint(self.threads).map_err(LoadError::invalid)
    }

    fn load(&self) -> Result<VisionWeights, LoadError> {
        VisionWeights::load(VisionPlan::clone(&self.plan)).map_err(LoadError::invalid)
    }

    fn build(&self, weights: &Arc<VisionWeights>) -> Result<Describer, LoadError> {
        Ok(Describer::new(weights.clone(), self.threads, unix_now))
    }

    fn validate(&self, request: &DescribeRequest) -> Result<(), InvalidRequest> {
        self.plan.validate(request)
    }

    fn cost(&self, request: &DescribeRequest) -> u64 {
        self.plan.cost(request)
    }
}

/// Seconds since 1970, for chat templates that tell the model the date.
fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
