//! What all workers of one decoder share.

use std::sync::Arc;

use super::network::Network;
use super::plan::DecoderPlan;
use crate::arch::ArchError;
use crate::capability::{Chat, GenerateRequest, InvalidRequest, ModelError, Prompt};
use crate::text::{
    ChatTemplate, ChatTemplateError, CivilTime, EncodeChatError, GuardedText, PromptTokenizer, Shown,
};

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
            Prompt::Tokens(ids) => ids.clone(),
            Prompt::Chat(chat) => {
                let rendered = self.template()?.render(chat, self.tokenizer.guard(), now);
                self.tokenizer.encode_chat(&rendered.map_err(|error| refused("messages", &error))?)?
            }
        };
        self.known(ids)
    }

    fn template(&self) -> Result<&ChatTemplate, ModelError> {
        self.template.as_ref().map_err(|error| refused("messages", error))
    }

    /// A conversation that shows pictures, in the words of the model's template.
    pub(crate) fn render_shown(
        &self,
        chat: &Chat,
        shown: Shown<'_>,
        now: CivilTime,
    ) -> Result<GuardedText, ModelError> {
        let rendered = self.template()?.render_shown(chat, shown, self.tokenizer.guard(), now);
        rendered.map_err(|error| refused("messages", &error))
    }

    /// The tokens of a text that was put into words. The tokenizer's own special tokens are put around it, unless
    /// the words begin with one, as transformers' processors of texts with pictures do.
    pub(crate) fn tokens_of(&self, words: &GuardedText) -> Result<Vec<u32>, ModelError> {
        let begun = self.plan.chat.bos_token().is_some_and(|bos| words.begins_with(bos));
        let ids = if begun {
            self.tokenizer.encode_chat(words)?
        } else {
            self.tokenizer.encode_chat_and_around(words)?
        };
        self.known(ids)
    }

    /// The same with nothing put around it.
    pub(crate) fn tokens_of_bare(&self, words: &GuardedText) -> Result<Vec<u32>, ModelError> {
        self.known(self.tokenizer.encode_chat(words)?)
    }

    pub(crate) fn tokenizer(&self) -> &PromptTokenizer {
        &self.tokenizer
    }

    /// `ids`, if all are in the network's vocabulary.
    fn known(&self, ids: Vec<u32>) -> Result<Vec<u32>, ModelError> {
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

impl From<EncodeChatError> for ModelError {
    fn from(error: EncodeChatError) -> Self {
        match error {
            EncodeChatError::Invalid(invalid) => invalid.into(),
            EncodeChatError::Tokenizer(error) => Self::failed(error),
        }
    }
}

fn refused(field: &'static str, error: &impl ToString) -> ModelError {
    InvalidRequest::new(field, error.to_string()).into()
}
