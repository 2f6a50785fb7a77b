//! What all workers of one model share.

use std::sync::Arc;

use candle_core::{DType, Device};

use super::family::Eyes;
use super::plan::{InlaidPlan, placeholder};
use crate::arch::bounds::bad;
use crate::arch::{ArchError, DecoderWeights, Scope};
use crate::weights::WeightStore;

/// A loaded model that sees and writes, read-only.
#[derive(Debug)]
pub(crate) struct InlaidWeights {
    pub(super) plan: Arc<InlaidPlan>,
    pub(super) decoder: Arc<DecoderWeights>,
    pub(super) eyes: Box<dyn Eyes>,
    /// What stands for a picture in a prompt's words.
    pub(super) placeholder: String,
    /// How a picture is written in a prompt without a template.
    pub(super) mark: String,
}

impl InlaidWeights {
    /// Loads both networks, the tokenizer and the chat template of the folder that `plan` was read from.
    ///
    /// # Errors
    ///
    /// [`ArchError`] says which file is missing, damaged, or asks for something not implemented.
    pub(crate) fn load(plan: Arc<InlaidPlan>) -> Result<Self, ArchError> {
        let decoder = Arc::new(DecoderWeights::load(plan.decoder.clone())?);
        let store = WeightStore::open(&plan.folder.weight_files()?, DType::F32, &Device::Cpu)?;
        let eyes = plan.family.load(&Scope::root(&store, plan.options.dtype.precision()))?;
        let placeholder = placeholder(&*plan.family, decoder.tokenizer())?;
        let token = |id| decoder.tokenizer().written(id);
        let unknown =
            |id| bad("a token that pictures are written with", id, "the tokenizer must know it".to_owned());
        plan.family.filling([1, 1], &token).map_err(unknown)?;
        if let Some(id) = plan.family.controls().ids.into_iter().find(|id| token(*id).is_none()) {
            return Err(unknown(id));
        }
        let mark = plan.family.mark(&token).unwrap_or_else(|| placeholder.clone());
        Ok(Self { plan, decoder, eyes, placeholder, mark })
    }
}
