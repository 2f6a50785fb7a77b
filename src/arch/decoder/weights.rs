//! What all workers of one decoder share.

use std::sync::Arc;

use super::network::Network;
use super::plan::DecoderPlan;
use crate::arch::ArchError;
use crate::capability::{GenerateRequest, InvalidRequest, ModelError, Prompt};
use crate::text::{ChatTemplate, ChatTemplateError, CivilTime, EncodeChatError, PromptTokenizer};

/// A loaded decoder: network, tokenizer and chat template, read-only.
#[derive(Debug)]
pub struct DecoderWeights {
    plan: DecoderPlan,
    pub(super) network: Arc<Network>,
    pub(super) tokenizer: Arc<PromptTokenizer>,
    /// Why there is none, where there is none.
    template: Result<ChatTemplate, ChatTemplateError>,
    /// Tokens that end an answer.
    pub(super) ends: Vec<u32>,
}

impl DecoderWeights {
    /// Loads the network, tokenizer and chat template of the files that `plan` was read from.
    ///
    /// # Errors
    ///
    /// [`ArchError`] says which file is missing, damaged, or asks for something not implemented.
    pub fn load(plan: DecoderPlan) -> Result<Self, ArchError> {
        let tokenizer = plan.forms.read_tokenizer()?;
        let network = Network::read(&plan.forms.files, plan.config.clone(), plan.options)?;
        let template = ChatTemplate::new(&plan.chat, plan.template.as_deref());
        let ends = plan.forms.ends(&tokenizer);
        Ok(Self { plan, network: Arc::new(network), tokenizer: Arc::new(tokenizer), template, ends })
    }

    /// What the folder's configuration says.
    pub fn plan(&self) -> &DecoderPlan {
        &self.plan
    }

    /// The tokens of a request's prompt; all are in the network's vocabulary. `now` is what a chat template may
    /// know of the time.
    pub(super) fn tokenize(&self, request: &GenerateRequest, now: CivilTime) -> Result<Vec<u32>, ModelError> {
        let ids = match &request.prompt {
            Prompt::Raw(text) => self.tokenizer.encode_raw(text).map_err(ModelError::failed)?,
            Prompt::Chat(chat) => {
                let template = self.template.as_ref().map_err(|error| refused("messages", error))?;
                let rendered = template.render(chat, self.tokenizer.guard(), now);
                let rendered = rendered.map_err(|error| refused("messages", &error))?;
                self.tokenizer.encode_chat(&rendered).map_err(|error| match error {
                    EncodeChatError::Invalid(invalid) => invalid.into(),
                    EncodeChatError::Tokenizer(error) => ModelError::failed(error),
                })?
            }
        };
        let vocabulary = self.plan.config.vocab_size;
        match ids.iter().find(|id| **id as usize >= vocabulary) {
            Some(id) => {
                let reason =
                    format!("the tokenizer makes token {id} of it, but the model knows {vocabulary}");
                Err(InvalidRequest::new("prompt", reason).into())
            }
            None => Ok(ids),
        }
    }
}

fn refused(field: &'static str, error: &impl ToString) -> ModelError {
    InvalidRequest::new(field, error.to_string()).into()
}
