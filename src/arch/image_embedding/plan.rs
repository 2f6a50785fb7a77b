//! What a model folder's small files say, before any weight is read.

use std::num::NonZeroUsize;

use super::embedder::MOST_PICTURES;
use crate::ByteSize;
use crate::arch::bounds::{bad, not_supported};
use crate::arch::pieces::PASS_TOKENS;
use crate::arch::preprocessing::read_preprocessor;
use crate::arch::sentence::{network_folder, normalizes_pictures};
use crate::arch::vit::{self, Grid, Head, Places, VitConfig};
use crate::arch::{ArchError, Architecture};
use crate::capability::{EmbedImageRequest, ImageSource, InvalidRequest};
use crate::image::{MAX_DECODING, MAX_ENCODED, Preprocessor, SMALL_DECODING, check};
use crate::kernels::{Dtype, Precision};
use crate::memory::Footprint;
use crate::weights::{ModelFolder, WeightFiles};

/// The most patches of one picture: attention looks from each at all.
const MAX_PATCHES: usize = 8192;

/// Everything but weights: cheap to read, enough to check requests and to predict memory.
#[derive(Clone, Debug)]
pub struct ImagePlan {
    pub(super) config: VitConfig,
    preprocessor: Preprocessor,
    pub(super) precision: Precision,
    /// Where configuration and weights are.
    network: ModelFolder,
    normalize: bool,
}

impl ImagePlan {
    /// Reads and checks the folder's configuration files, for a model that computes in `dtype`.
    ///
    /// # Errors
    ///
    /// [`ArchError`] for a missing or malformed file, an architecture or preprocessing that is not implemented,
    /// numbers out of bounds, and preprocessing that makes pictures of another size than the network reads.
    pub fn read(folder: &ModelFolder, dtype: Dtype) -> Result<Self, ArchError> {
        let network = network_folder(folder)?;
        let family = Architecture::of(folder)?;
        let Some(mut config) = vit::read(&network, family)? else {
            return Err(not_supported(
                "architecture of image embedding",
                family.model_type(),
                &vit::FAMILIES,
            ));
        };
        if matches!(config.head, Head::Pooler { .. }) && !has_pooler(&network.weight_files()?) {
            config.head = Head::Class { projection: None };
        }
        let preprocessor = read_preprocessor(&network)?.lower(config.processor)?;
        let (precision, normalize) = (dtype.precision(), normalizes_pictures(folder)?);
        let plan = Self { config, preprocessor, precision, network, normalize };
        plan.check_sizes()?;
        Ok(plan)
    }

    /// The shape of the network.
    pub fn config(&self) -> &VitConfig {
        &self.config
    }

    /// How pictures are prepared for the network.
    pub fn preprocessor(&self) -> &Preprocessor {
        &self.preprocessor
    }

    /// How many numbers a picture's vector has.
    pub fn dimensions(&self) -> usize {
        self.config.dimensions()
    }

    /// Rows and columns of the picture that the network reads; `None` if it reads any.
    pub fn reads(&self) -> Option<(usize, usize)> {
        self.preprocessor.fixed_size()
    }

    /// Whether vectors are scaled to length 1 where a request does not say: if the folder is one of
    /// sentence-transformers whose last stage does so.
    pub fn normalizes(&self) -> bool {
        self.normalize
    }

    /// What the linear layers are kept in, `f32` or `bf16`; sums are f32 in any case.
    pub fn computes_in(&self) -> String {
        self.precision.to_string()
    }

    /// Refuses a request that this model could not serve, as far as can be told without opening files and without
    /// decoding.
    ///
    /// # Errors
    ///
    /// [`InvalidRequest`] for what is no picture.
    pub fn validate(&self, request: &EmbedImageRequest) -> Result<(), InvalidRequest> {
        check(&request.image).map_err(|error| InvalidRequest::new("image", error.to_string()))
    }

    /// About how many tokens a picture becomes: patches and what comes before them.
    pub fn cost(&self, request: &EmbedImageRequest) -> u64 {
        let (height, width) = match (&request.image, self.reads()) {
            (_, Some(fixed)) => fixed,
            (ImageSource::Pixels { width, height, .. }, None) => self.preprocessor.size_of(*height, *width),
            _ => return self.guess() as u64,
        };
        (self.grid(height, width).patches().min(MAX_PATCHES) + self.config.tokens_before()) as u64
    }

    /// The network's weights: their headers are checked, nothing is loaded.
    ///
    /// # Errors
    ///
    /// [`ArchError::Weights`] if there are none or their headers are unreadable.
    pub fn weight_files(&self) -> Result<WeightFiles, ArchError> {
        Ok(self.network.weight_files()?)
    }

    /// What a model folder takes when it is loaded to compute on workers of `threads` threads each, from headers
    /// and configuration alone.
    ///
    /// `weights` is the tensors of the part that reads pictures as f32, but for linear layers, which are kept in
    /// what the dtype means on this processor. `per_worker` is what one step holds at most: the largest picture
    /// that is decoded, and a pass. Between steps a worker holds next to nothing.
    ///
    /// # Errors
    ///
    /// [`ArchError::Weights`] if there are no weight files or their headers are unreadable.
    pub fn footprint(&self, threads: NonZeroUsize) -> Result<Footprint, ArchError> {
        let files = self.weight_files()?;
        let all = ByteSize::new(own_numbers(&files)).saturating_mul(4);
        // What a configuration claims beyond what its files hold is not there to be saved.
        let saved = self.config.linear_numbers().saturating_mul(4 - self.precision.bytes() as u64);
        let weights = ByteSize::new(all.bytes().saturating_sub(saved.min(all.bytes() / 2)));
        let longest = self.usual().map_or(self.most_patches(), Grid::patches) + self.config.tokens_before();
        let batch = PASS_TOKENS.saturating_mul(threads.get());
        let pass = ByteSize::new(self.config.pass_numbers(batch, longest, threads)).saturating_mul(4);
        // Each thread has read a file before it waits for its turn.
        let each = ByteSize::new(SMALL_DECODING + MAX_ENCODED).saturating_mul(threads.get() as u64);
        let decoding = ByteSize::new(MAX_DECODING).saturating_add(each);
        let per_worker = decoding.saturating_add(pass).saturating_add(self.surplus(batch));
        Ok(Footprint { weights, per_worker })
    }

    /// What the pictures that a step of `batch` tokens takes can hold beyond one pass, as prepared: before they are
    /// decoded, pictures of any size are taken for ones of the usual size.
    fn surplus(&self, batch: usize) -> ByteSize {
        if self.reads().is_some() {
            return ByteSize::ZERO;
        }
        let others = (batch / self.guess().max(1)).saturating_sub(1).min(MOST_PICTURES - 1);
        let numbers = others.saturating_mul(self.most_patches()).saturating_mul(self.config.patch_numbers());
        ByteSize::new(numbers as u64).saturating_mul(4)
    }

    /// How many tokens a picture is taken for before it is decoded, where pictures are of any size: those of the ones
    /// trained with, or as many as it may have.
    fn guess(&self) -> usize {
        let side = self.config.image_size;
        let trained = || self.grid(side, side).patches().min(MAX_PATCHES);
        self.preprocessor.patches().map_or_else(trained, |(_, most)| most) + self.config.tokens_before()
    }

    /// The most patches that a picture can have.
    fn most_patches(&self) -> usize {
        self.preprocessor.patches().map_or(MAX_PATCHES, |(_, most)| most.min(MAX_PATCHES))
    }

    /// The patches of a picture of these sides, as prepared.
    pub(super) fn grid(&self, height: usize, width: usize) -> Grid {
        Grid::of(height, width, self.config.patch_size)
    }

    /// The patches that every picture has, if that does not depend.
    pub(super) fn usual(&self) -> Option<Grid> {
        self.reads().map(|(height, width)| self.grid(height, width))
    }

    /// Refuses pictures that the network does not read, by their sides as prepared.
    ///
    /// # Errors
    ///
    /// What the network reads.
    pub(super) fn check_size(&self, height: usize, width: usize) -> Result<(), String> {
        let (side, patches) = (self.config.image_size, self.grid(height, width).patches());
        match self.config.places {
            Places::Fixed if (height, width) != (side, side) => {
                Err(format!("the network reads {side} x {side} pixels"))
            }
            _ if !(1..=MAX_PATCHES).contains(&patches) => {
                let patch = self.config.patch_size;
                Err(format!("that is {patches} patches of {patch} x {patch}, not 1 to {MAX_PATCHES}"))
            }
            _ => Ok(()),
        }
    }

    fn check_sizes(&self) -> Result<(), ArchError> {
        if let Some((patch, _)) = self.preprocessor.patches()
            && patch != self.config.patch_size
        {
            let expected = format!("the network's patches have {} pixels on a side", self.config.patch_size);
            return Err(bad("patch_size of preprocessor_config.json", patch, expected));
        }
        let Some((height, width)) = self.reads() else { return Ok(()) };
        let wrong =
            |expected| bad("the size that pictures are prepared to", format!("{height} x {width}"), expected);
        self.check_size(height, width).map_err(wrong)
    }
}

/// How many numbers of the files are loaded: not those of the part that reads texts.
fn own_numbers(files: &WeightFiles) -> u64 {
    let own = files.tensors().filter(|tensor| !tensor.name.starts_with("text_"));
    own.map(|tensor| tensor.elements() as u64).sum()
}

/// Whether the checkpoint has the layer behind the class token; older ones have, classifiers have not.
fn has_pooler(files: &WeightFiles) -> bool {
    files.tensors().any(|tensor| tensor.name.ends_with("pooler.dense.weight"))
}
