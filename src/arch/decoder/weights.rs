//! What all workers of one decoder share.

use std::sync::Arc;

use candle_core::{DType, Device};

use super::form::Form;
use super::gguf::GgufTensors;
use super::network::Network;
use super::plan::{DecoderOptions, DecoderPlan};
use super::tensors::Checkpoint;
use crate::arch::{ArchError, Scope};
use crate::capability::{GenerateRequest, InvalidRequest, ModelError, Prompt, ResponseFormat};
use crate::text::{
    ChatTemplate, ChatTemplateError, CivilTime, Constraint, EncodeChatError, GrammarCompiler, PromptTokenizer,
};
use crate::weights::{GgufFile, ModelFiles, ModelFolder, WeightStore, WeightsError};

/// A loaded decoder: network, tokenizer and chat template, read-only.
#[derive(Debug)]
pub struct DecoderWeights {
    plan: DecoderPlan,
    pub(super) network: Arc<Network>,
    pub(super) tokenizer: Arc<PromptTokenizer>,
    /// Why there is none, where there is none.
    template: Result<ChatTemplate, ChatTemplateError>,
    grammars: Result<GrammarCompiler, crate::text::GrammarError>,
    /// Tokens that end an answer.
    pub(super) ends: Vec<u32>,
}

impl DecoderWeights {
    /// Loads a folder or a GGUF file.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn of(files: &ModelFiles, options: DecoderOptions) -> Result<Self, ArchError> {
        match files {
            ModelFiles::Folder(folder) => Self::load(folder, options),
            ModelFiles::Gguf(file) => Self::from_gguf(file, options),
        }
    }

    /// Loads a model folder in the layout of transformers.
    ///
    /// # Errors
    ///
    /// [`ArchError`] says which file is missing, damaged, or asks for something not implemented.
    pub fn load(folder: &ModelFolder, options: DecoderOptions) -> Result<Self, ArchError> {
        let plan = DecoderPlan::read(folder, options)?;
        let missing = || ArchError::MissingFile { name: "tokenizer.json", folder: folder.label().to_owned() };
        let path = folder.file("tokenizer.json").ok_or_else(missing)?;
        let tokenizer = PromptTokenizer::load(&path, &plan.ends)?;
        let store = WeightStore::open(&folder.weight_files()?, DType::F32, &Device::Cpu)?;
        let root = Scope::root(&store, plan.options.dtype.precision());
        let tensors = Checkpoint::new(root, &plan.config, Form::of(plan.options));
        let network = Network::load(&tensors, plan.config.clone())?;
        Ok(Self::whole(plan, network, tokenizer))
    }

    /// Loads a GGUF file: network, tokenizer and chat template.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn from_gguf(file: &GgufFile, options: DecoderOptions) -> Result<Self, ArchError> {
        let plan = DecoderPlan::from_gguf(file, options)?;
        let library = file.tokenizer().map_err(WeightsError::from)?.tokenizer;
        let tokenizer = PromptTokenizer::new(library, &plan.ends)?;
        let tensors = GgufTensors::new(file, Form::of(plan.options));
        let network = Network::load(&tensors, plan.config.clone())?;
        Ok(Self::whole(plan, network, tokenizer))
    }

    fn whole(plan: DecoderPlan, network: Network, tokenizer: PromptTokenizer) -> Self {
        let mut ends = plan.ends.clone();
        if ends.is_empty() {
            ends.extend(plan.chat.eos_token().and_then(|token| tokenizer.id_of(token)));
        }
        let template = ChatTemplate::new(&plan.chat, plan.template.as_deref());
        let grammars = GrammarCompiler::new(&tokenizer, &ends);
        Self { plan, network: Arc::new(network), tokenizer: Arc::new(tokenizer), template, grammars, ends }
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

    /// What holds an answer to the form that a request asks for.
    pub(super) fn constraint(&self, format: &ResponseFormat) -> Result<Option<Constraint>, ModelError> {
        if *format == ResponseFormat::Text {
            return Ok(None);
        }
        let grammars = self.grammars.as_ref().map_err(|error| refused("response_format", error))?;
        Ok(grammars.compile(format)?)
    }
}

fn refused(field: &'static str, error: &impl ToString) -> ModelError {
    InvalidRequest::new(field, error.to_string()).into()
}
