//! Forms that answers must have, compiled where requests come in.
//!
//! A form is a stranger's, and compiling one may take longer than many steps of all answers under way. So it
//! is compiled when a request is checked, on the caller's thread, and kept for the worker that admits the
//! request: plan and workers share one [`Forms`]. What compiling needs of the vocabulary is made once for a
//! model, when the first form is asked for.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::arch::bounds::bad;
use crate::arch::{ArchError, required_file};
use crate::capability::{InvalidRequest, ResponseFormat};
use crate::text::{ChatConfig, Constraint, GrammarCompiler, GrammarError, PromptTokenizer};
use crate::weights::ModelFiles;

/// How many forms are kept. More may wait for a worker at once, which then compiles the rest itself.
const KEPT: usize = 16;

/// A model's grammar compiler and the forms it compiled last.
#[derive(Debug)]
pub(super) struct Forms {
    pub(super) files: ModelFiles,
    pub(super) ends: Vec<u32>,
    /// Tokens that must not be made from a message, beside special ones.
    controls: Vec<u32>,
    /// More of them, as they are written.
    control_texts: Vec<String>,
    eos_token: Option<String>,
    /// How many tokens the network knows.
    vocabulary: usize,
    compiler: Mutex<Option<Arc<Compiler>>>,
    /// The last used one at the front. None has been put to use: answers get copies.
    recent: Mutex<VecDeque<(ResponseFormat, Arc<Constraint>)>>,
}

type Compiler = Result<GrammarCompiler, GrammarError>;

impl Forms {
    /// For the model of `files`. Reads nothing yet. `ends` are the tokens that end an answer, by the files;
    /// `vocabulary` is how many tokens the network knows.
    pub(super) fn new(files: ModelFiles, ends: Vec<u32>, chat: &ChatConfig, vocabulary: usize) -> Self {
        let eos_token = chat.eos_token().map(str::to_owned);
        let (compiler, recent) = (Mutex::new(None), Mutex::new(VecDeque::new()));
        let (controls, control_texts) = (ends.clone(), Vec::new());
        Self { files, ends, controls, control_texts, eos_token, vocabulary, compiler, recent }
    }

    /// With more tokens that must not be made from a message, by their ids and as they are written.
    pub(super) fn with_controls(mut self, controls: Vec<u32>, texts: Vec<String>) -> Self {
        self.controls.extend(controls);
        self.control_texts.extend(texts);
        self
    }

    /// The model's tokenizer, read anew.
    pub(super) fn read_tokenizer(&self) -> Result<PromptTokenizer, ArchError> {
        let tokenizer = self.read_with(&self.controls)?;
        let mut written = Vec::with_capacity(self.control_texts.len());
        for text in &self.control_texts {
            let unknown = || bad("a control token", text, "the tokenizer must know it".to_owned());
            written.push(tokenizer.id_of(text).ok_or_else(unknown)?);
        }
        if written.iter().all(|id| tokenizer.is_special(*id)) {
            return Ok(tokenizer);
        }
        // Only the tokenizer tells which ids these are.
        self.read_with(&[self.controls.as_slice(), &written].concat())
    }

    fn read_with(&self, controls: &[u32]) -> Result<PromptTokenizer, ArchError> {
        match &self.files {
            ModelFiles::Folder(folder) => {
                Ok(PromptTokenizer::load(&required_file(folder, "tokenizer.json")?, controls)?)
            }
            ModelFiles::Gguf(file) => Ok(PromptTokenizer::new(file.tokenizer()?.tokenizer, controls)?),
        }
    }

    /// The tokens that end an answer.
    pub(super) fn ends(&self, tokenizer: &PromptTokenizer) -> Vec<u32> {
        let mut ends = self.ends.clone();
        if ends.is_empty() {
            ends.extend(self.eos_token.as_deref().and_then(|token| tokenizer.id_of(token)));
        }
        ends
    }

    /// What holds answers to `format`; nothing for plain text. Compiles it unless it is kept. Each answer gets a
    /// copy of its own.
    ///
    /// # Errors
    ///
    /// [`InvalidRequest`] if the format is not understood or too large, or the model cannot be held to any.
    pub(super) fn compiled(
        &self,
        format: &ResponseFormat,
    ) -> Result<Option<Arc<Constraint>>, InvalidRequest> {
        if *format == ResponseFormat::Text {
            return Ok(None);
        }
        if let Some(kept) = self.kept(format) {
            return Ok(Some(kept));
        }
        let compiler = self.compiler()?;
        let compiler = compiler.as_ref().as_ref().map_err(refused)?;
        let made = compiler.compile(format)?.map(Arc::new);
        if let Some(constraint) = &made {
            let mut recent = self.recent.lock();
            recent.push_front((format.clone(), constraint.clone()));
            recent.truncate(KEPT);
        }
        Ok(made)
    }

    fn kept(&self, format: &ResponseFormat) -> Option<Arc<Constraint>> {
        let mut recent = self.recent.lock();
        let place = recent.iter().position(|(kept, _)| kept == format)?;
        let found = recent.remove(place)?;
        let constraint = found.1.clone();
        recent.push_front(found);
        Some(constraint)
    }

    /// The compiler; whoever comes while another makes it waits. Unreadable files are tried again next time.
    fn compiler(&self) -> Result<Arc<Compiler>, InvalidRequest> {
        let mut compiler = self.compiler.lock();
        if let Some(compiler) = &*compiler {
            return Ok(compiler.clone());
        }
        let tokenizer = self.read_tokenizer().map_err(|error| refused(&error))?;
        let ends = self.ends(&tokenizer);
        let made = Arc::new(GrammarCompiler::new(&tokenizer, &ends, self.vocabulary));
        *compiler = Some(made.clone());
        Ok(made)
    }
}

fn refused(error: &impl ToString) -> InvalidRequest {
    InvalidRequest::new("response_format", error.to_string())
}
