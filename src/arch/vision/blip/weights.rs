//! What all workers of one model share.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};

use super::memory::PictureMemory;
use super::network::Network;
use super::plan::BlipPlan;
use crate::arch::vision::patches::load_tower;
use crate::arch::vision::refusal::refused;
use crate::arch::{ArchError, Scope, required_file, vit};
use crate::capability::{ImageSource, InvalidRequest, ModelError};
use crate::image::{PixelValues, decode};
use crate::kernels::threads;
use crate::text::PromptTokenizer;
use crate::weights::WeightStore;

/// A loaded model that captions, read-only.
#[derive(Debug)]
pub(crate) struct BlipWeights {
    pub(super) plan: Arc<BlipPlan>,
    pub(super) tokenizer: Arc<PromptTokenizer>,
    tower: vit::Network,
    pub(super) network: Network,
}

impl BlipWeights {
    /// Loads both networks and the tokenizer of the folder that `plan` was read from.
    ///
    /// # Errors
    ///
    /// [`ArchError`] says which file is missing, damaged, or asks for something not implemented.
    pub(crate) fn load(plan: Arc<BlipPlan>) -> std::result::Result<Self, ArchError> {
        let config = &plan.config;
        let file = required_file(&plan.folder, "tokenizer.json")?;
        let tokenizer = PromptTokenizer::load(&file, &[config.text.begin, config.text.end])?;
        let store = WeightStore::open(&plan.folder.weight_files()?, DType::F32, &Device::Cpu)?;
        let root = Scope::root(&store, plan.precision());
        let tower = load_tower(&root, &config.tower)?;
        let network = Network::load(&root.sub("text_decoder"), &config.text, config.tower.hidden_size)?;
        Ok(Self { plan, tokenizer: Arc::new(tokenizer), tower, network })
    }

    /// What a text begins with: a token of its own, and the words of the prompt. The tokenizer puts one token before
    /// and one behind them; as in the reference, the first gives way to the model's own and the last goes.
    ///
    /// # Errors
    ///
    /// [`InvalidRequest`] for a prompt that leaves no room for so many tokens of an answer, or that has tokens that the
    /// network does not know.
    pub(super) fn prompt(&self, text: &str, max_tokens: usize) -> std::result::Result<Vec<u32>, ModelError> {
        let mut ids = self.tokenizer.encode_raw(text).map_err(ModelError::failed)?;
        ids.pop();
        match ids.first_mut() {
            Some(first) => *first = self.plan.config.text.begin,
            None => ids.push(self.plan.config.text.begin),
        }
        let vocabulary = self.plan.config.text.vocab_size;
        if let Some(id) = ids.iter().find(|id| **id as usize >= vocabulary) {
            let reason = format!("the tokenizer makes token {id} of it, but the model knows {vocabulary}");
            return Err(InvalidRequest::new("prompt", reason).into());
        }
        let most = self.plan.max_tokens();
        if ids.len().saturating_add(max_tokens) > most {
            let reason = format!(
                "prompt and answer have {most} tokens at most, and the prompt has {}: shorten it, or ask for a \
                 shorter answer than {max_tokens}",
                ids.len()
            );
            return Err(InvalidRequest::new("max_tokens", reason).into());
        }
        Ok(ids)
    }

    /// Decodes a picture and reads it.
    pub(super) fn see(&self, image: &ImageSource) -> std::result::Result<PictureMemory, ModelError> {
        let picture = decode(image).map_err(|error| refused(0, &error))?;
        let values = self.plan.preprocessor.apply(&picture);
        let (memory, whole) = threads::awake(|| self.read(&values)).map_err(ModelError::failed)?;
        if whole.is_finite() {
            return Ok(memory);
        }
        Err(ModelError::Numeric("what was made of a picture has a number that is not finite".to_owned()))
    }

    /// What is kept of a picture, and the sum of the magnitudes of its rows' numbers.
    fn read(&self, values: &PixelValues) -> Result<(PictureMemory, f32)> {
        let rows: Tensor = self.tower.forward(&[values])?;
        let whole = rows.abs()?.sum_all()?.to_scalar::<f32>()?;
        Ok((self.network.remember(&rows)?, whole))
    }
}
