//! What all workers of one model share.

use candle_core::{DType, Device};
use rayon::prelude::*;

use super::pass::passes;
use super::plan::ImagePlan;
use crate::arch::vit::Network;
use crate::arch::{ArchError, Scope};
use crate::capability::{EmbedImageRequest, ImageVector, InvalidRequest, ModelError};
use crate::image::{DecodingRoom, ImageError, PixelValues};
use crate::kernels::Dtype;
use crate::text::normalize_in_place;
use crate::weights::{ModelFolder, WeightStore};

/// A loaded model, read-only. Computing takes `&self`, so that any number of workers can share one behind an
/// `Arc`.
#[derive(Debug)]
pub struct ImageWeights {
    plan: ImagePlan,
    network: Network,
}

/// A picture as the network reads it.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) pixels: PixelValues,
    /// Patches and what comes before them.
    pub(super) tokens: usize,
    normalize: bool,
}

/// What became of the request of that name.
pub(super) type Answer<T> = (T, Result<ImageVector, ModelError>);

impl ImageWeights {
    /// Loads a model folder in the layout of transformers, or of sentence-transformers around it. Computes in
    /// `dtype` on the CPU, whatever the files hold.
    ///
    /// # Errors
    ///
    /// [`ArchError`] says which file is missing, damaged, or asks for something not implemented.
    pub fn load(folder: &ModelFolder, dtype: Dtype) -> Result<Self, ArchError> {
        let plan = ImagePlan::read(folder, dtype)?;
        let store = WeightStore::open(&plan.weight_files()?, DType::F32, &Device::Cpu)?;
        let network = Network::load(&Scope::root(&store, plan.precision), &plan.config, plan.usual())?;
        Ok(Self { plan, network })
    }

    /// What the folder's configuration says.
    pub fn plan(&self) -> &ImagePlan {
        &self.plan
    }

    /// Embeds `requests` on the calling thread and its pool, without a worker. Answers come in order, and one
    /// request's failure is its own.
    pub fn embed(&self, requests: &[EmbedImageRequest]) -> Vec<Result<ImageVector, ModelError>> {
        let room = DecodingRoom::default();
        let mut answers: Vec<_> = requests.iter().map(|_| None).collect();
        for (first, batch) in
            requests.chunks(BATCH).enumerate().map(|(number, batch)| (number * BATCH, batch))
        {
            let named = batch.iter().enumerate().map(|(index, request)| (first + index, request)).collect();
            match self.answer(named, &room) {
                Ok(answered) => {
                    answered.into_iter().for_each(|(index, answer)| answers[index] = Some(answer));
                }
                Err(error) => {
                    (first..first + batch.len()).for_each(|at| answers[at] = Some(Err(error.clone())));
                }
            }
        }
        answers.into_iter().map(|answer| answer.expect("one batch or another has it")).collect()
    }

    /// Answers all requests, in as few passes as the calling thread's pool should take. An error is that of all;
    /// what is wrong with one request is told as its answer.
    pub(super) fn answer<T: Copy + Send + Sync>(
        &self,
        requests: Vec<(T, &EmbedImageRequest)>,
        room: &DecodingRoom,
    ) -> Result<Vec<Answer<T>>, ModelError> {
        let prepare = |(name, request)| (name, self.prepare(request, room));
        // A single picture, the common case, is not worth a thread's waking up.
        let prepared: Vec<_> = match requests.len() {
            0 | 1 => requests.into_iter().map(prepare).collect(),
            _ => requests.into_par_iter().map(prepare).collect(),
        };
        let (mut answers, mut pictures) = (Vec::with_capacity(prepared.len()), Vec::new());
        for (name, prepared) in prepared {
            match prepared {
                Ok(prepared) => pictures.push((name, prepared)),
                Err(error) => answers.push((name, Err(error))),
            }
        }
        for pass in passes(&pictures, rayon::current_num_threads()) {
            answers.extend(pass.compute(self)?);
        }
        Ok(answers)
    }

    /// Decodes a picture and makes of it what the network reads.
    fn prepare(&self, request: &EmbedImageRequest, room: &DecodingRoom) -> Result<Prepared, ModelError> {
        let pixels = room.with_picture(&request.image, |picture| {
            let (height, width) = self.plan.preprocessor().size_of(picture.height(), picture.width());
            self.plan.check_size(height, width).map(|()| self.plan.preprocessor().apply(&picture)).map_err(
                |why| {
                    let (from_height, from_width) = (picture.height(), picture.width());
                    format!("{from_width} x {from_height} pixels would become {width} x {height}, but {why}")
                },
            )
        });
        let pixels = pixels
            .map_err(|error| refused(&error))?
            .map_err(|reason| InvalidRequest::new("image", reason))?;
        let patches = self.plan.grid(pixels.height, pixels.width).patches();
        let tokens = patches + self.plan.config.tokens_before();
        Ok(Prepared { pixels, tokens, normalize: request.normalize.unwrap_or(self.plan.normalizes()) })
    }

    /// The vectors of some pictures, as the network made them.
    pub(super) fn vectors(&self, pictures: &[&Prepared]) -> Result<Vec<Vec<f32>>, ModelError> {
        let pixels: Vec<_> = pictures.iter().map(|picture| &picture.pixels).collect();
        self.network.forward(&pixels).and_then(|vectors| vectors.to_vec2()).map_err(ModelError::failed)
    }
}

/// How many pictures [`ImageWeights::embed`] holds decoded at a time.
const BATCH: usize = 64;

impl Prepared {
    /// The answer from the picture's vector.
    pub(super) fn finish(&self, mut values: Vec<f32>) -> Result<ImageVector, ModelError> {
        if self.normalize {
            normalize_in_place(&mut values);
        }
        if values.iter().all(|value| value.is_finite()) {
            return Ok(ImageVector { values });
        }
        Err(ModelError::Numeric("the embedding has a number that is not finite".into()))
    }
}

/// A file that cannot be read now may be readable later; all else stays as it is.
fn refused(error: &ImageError) -> ModelError {
    if error.may_pass() {
        return ModelError::failed(error.to_string());
    }
    InvalidRequest::new("image", error.to_string()).into()
}
