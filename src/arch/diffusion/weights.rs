//! What all workers of one model share.

use candle_core::{DType, Device, Tensor};

use super::denoiser::Denoiser;
use super::plan::{DiffusionPlan, Order};
use super::prompts::Prompts;
use crate::arch::autoencoder::Autoencoder;
use crate::arch::{ArchError, Scope};
use crate::capability::{DrawnPicture, ModelError};
use crate::kernels::{Dtype, Precision, threads};
use crate::weights::{ModelFolder, WeightStore};

/// A loaded pipeline, read-only. Computing takes `&self`, so that any number of workers can share one behind an
/// `Arc`.
#[derive(Debug)]
pub struct DiffusionWeights {
    plan: DiffusionPlan,
    pub(super) prompts: Prompts,
    pub(super) denoiser: Denoiser,
    autoencoder: Autoencoder,
}

impl DiffusionWeights {
    /// Loads a folder in the layout of diffusers. Computes in `dtype` on the CPU, whatever the files hold; pictures
    /// are decoded in f32.
    ///
    /// # Errors
    ///
    /// [`ArchError`] says which file is missing, damaged, or asks for something not implemented.
    pub fn load(folder: &ModelFolder, dtype: Dtype) -> Result<Self, ArchError> {
        let plan = DiffusionPlan::read(folder, dtype)?;
        let open = |part| {
            Ok::<_, ArchError>(WeightStore::open(&plan.weight_files(part)?, DType::F32, &Device::Cpu)?)
        };
        let store = open(plan.denoiser.part())?;
        let denoiser = plan.denoiser.load(&Scope::root(&store, plan.precision))?;
        let store = open("vae")?;
        let autoencoder = Autoencoder::load(&Scope::root(&store, Precision::F32), &plan.autoencoder)?;
        let prompts = plan.prompts.clone().load(plan.precision)?;
        Ok(Self { plan, prompts, denoiser, autoencoder })
    }

    /// What the folder's configuration says.
    pub fn plan(&self) -> &DiffusionPlan {
        &self.plan
    }

    /// The picture that the latents of one, `[rows, channels]`, are.
    pub(super) fn decode(&self, latents: Vec<f32>, order: &Order) -> Result<DrawnPicture, ModelError> {
        if !latents.iter().all(|value| value.is_finite()) {
            return Err(ModelError::Numeric("the latents have a number that is not finite".into()));
        }
        let shape = (order.grid.rows(), self.plan.denoiser.channels());
        let decode = || {
            let latents = Tensor::from_vec(latents, shape, &Device::Cpu)?;
            let (pixels, _) = match self.plan.tiles(order.grid) {
                Some(tiles) => self.autoencoder.decode_in_tiles(&latents, order.grid, tiles)?,
                None => self.autoencoder.decode(&latents, order.grid)?,
            };
            pixels.flatten_all()?.to_vec1::<f32>()
        };
        let colors: candle_core::Result<Vec<f32>> = threads::awake(decode);
        let colors = colors.map_err(ModelError::failed)?;
        if !colors.iter().all(|value| value.is_finite()) {
            return Err(ModelError::Numeric("the picture has a number that is not finite".into()));
        }
        let rgb = colors.into_iter().map(byte).collect();
        Ok(DrawnPicture { width: order.width, height: order.height, rgb })
    }
}

/// A color from -1 to 1 as a byte.
fn byte(color: f32) -> u8 {
    ((color / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8
}
