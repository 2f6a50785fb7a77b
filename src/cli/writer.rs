//! A model that writes, ready to be asked.

use super::failure::Failure;
use super::model::ModelArgs;
use crate::arch::DecoderPlan;
use crate::capability::{GenerateRequest, TextToText};
use crate::engine::{Capabilities, Engine};
use crate::pool::{Pool, Ticket};

/// An engine with one model that writes. It loads with the first request.
pub(super) struct Writer<'a> {
    engine: Engine,
    key: &'a str,
    plan: DecoderPlan,
}

impl<'a> Writer<'a> {
    /// Fetches the model if need be, and reads what it says of itself.
    pub(super) fn open(model: &'a ModelArgs) -> Result<Self, Failure> {
        let files = model.files()?;
        let engine = model.engine(files.clone(), Capabilities::TextToText)?;
        Ok(Self { engine, key: &model.model, plan: model.decoder_plan(&files)? })
    }

    pub(super) fn submit(&self, request: GenerateRequest) -> Result<Ticket<TextToText>, Failure> {
        Ok(self.pool().submit(self.key, request).map_err(crate::Error::from)?)
    }

    pub(super) fn pool(&self) -> &Pool<TextToText> {
        self.engine.text_to_text()
    }

    /// The name it is asked by.
    pub(super) fn key(&self) -> &'a str {
        self.key
    }

    /// What the files say of it.
    pub(super) fn plan(&self) -> &DecoderPlan {
        &self.plan
    }

    /// The tokens that end an answer, as far as the files say.
    pub(super) fn ends(&self) -> &[u32] {
        self.plan.ending_tokens()
    }
}
