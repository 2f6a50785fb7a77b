//! What all workers of one model share, whichever way it sees.

use std::sync::Arc;

use super::blip::BlipWeights;
use super::inlaid::InlaidWeights;
use super::plan::{VisionPlan, Way};
use crate::arch::ArchError;

/// A loaded model that sees and writes, read-only.
#[derive(Debug)]
pub struct VisionWeights {
    plan: VisionPlan,
    pub(super) loaded: Loaded,
}

#[derive(Debug)]
pub(super) enum Loaded {
    Inlaid(Arc<InlaidWeights>),
    Blip(Arc<BlipWeights>),
}

impl VisionWeights {
    /// Loads all networks, the tokenizer and the chat template, if there is one, of the folder that `plan` was read
    /// from.
    ///
    /// # Errors
    ///
    /// [`ArchError`] says which file is missing, damaged, or asks for something not implemented.
    pub fn load(plan: VisionPlan) -> Result<Self, ArchError> {
        let loaded = match &plan.way {
            Way::Inlaid(plan) => Loaded::Inlaid(Arc::new(InlaidWeights::load(plan.clone())?)),
            Way::Blip(plan) => Loaded::Blip(Arc::new(BlipWeights::load(plan.clone())?)),
        };
        Ok(Self { plan, loaded })
    }

    /// What the folder's configuration says.
    pub fn plan(&self) -> &VisionPlan {
        &self.plan
    }
}
