//! A decoder without tokenizer and pool: token ids in, the likeliest tokens out. For tests and benches.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::config::DecoderConfig;
use super::facts::kv_format;
use super::network::Network;
use super::plan::{DecoderOptions, READ_ALONE, READ_BESIDE};
use super::runner::Runner;
use super::scheduler::{Limits, TextId};
use crate::arch::ArchError;
use crate::capability::ModelError;
use crate::kernels::{KvFormat, threads};
use crate::weights::ModelFiles;

/// A network with nothing around it. Not part of the stable interface.
#[derive(Clone, Debug)]
pub struct DecoderProbe {
    network: Arc<Network>,
    kv: KvFormat,
}

/// What a [`ProbeRun`] may use.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "not part of the stable interface")]
pub struct ProbeLimits {
    pub blocks: usize,
    pub texts: usize,
    pub read_alone: usize,
    pub read_beside: usize,
}

impl Default for ProbeLimits {
    fn default() -> Self {
        Self { blocks: 64, texts: 16, read_alone: READ_ALONE, read_beside: READ_BESIDE }
    }
}

/// How a text was continued.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "not part of the stable interface")]
pub struct Continuation {
    /// After the prompt.
    pub logits: Vec<f32>,
    pub tokens: Vec<u32>,
    /// Prompt tokens that the cache knew.
    pub found: usize,
}

/// Texts under way.
#[derive(Debug)]
pub struct ProbeRun {
    runner: Runner,
    wanted: BTreeMap<TextId, (usize, Continuation)>,
    ended: Vec<Continuation>,
    order: Vec<TextId>,
}

impl DecoderProbe {
    /// Reads the configuration and weights of a folder or a GGUF file.
    pub fn load(files: &ModelFiles, options: DecoderOptions) -> Result<Self, ArchError> {
        let config = match files {
            ModelFiles::Folder(folder) => DecoderConfig::read(folder)?.that_writes()?,
            ModelFiles::Gguf(file) => DecoderConfig::from_gguf(file)?,
        };
        let kv = kv_format(files, &config, options);
        Ok(Self { network: Arc::new(Network::read(files, config, options)?), kv })
    }

    /// Gives the calling thread so many threads to compute on, itself included, for as long as it lives.
    pub fn adopt_threads(threads: NonZeroUsize) {
        threads::adopt(threads);
    }

    /// Starts with an empty cache.
    pub fn run(&self, limits: ProbeLimits) -> ProbeRun {
        let config = self.network.body().config();
        let limits = Limits {
            blocks: limits.blocks,
            context: config.context,
            texts: limits.texts,
            read_alone: limits.read_alone,
            read_beside: limits.read_beside,
            past: config.past(),
            stretch: config.stretches_over(),
        };
        let runner = Runner::new(self.network.clone(), limits, self.kv, 0);
        ProbeRun { runner, wanted: BTreeMap::new(), ended: Vec::new(), order: Vec::new() }
    }
}

impl ProbeRun {
    /// Takes in a text that is to become `tokens` longer; returns its number among those taken in. A refusal
    /// is returned as its message.
    pub fn admit(&mut self, prompt: &[u32], tokens: usize) -> Result<usize, String> {
        let id = self
            .runner
            .scheduler
            .admit(prompt.to_vec(), tokens, None)
            .map_err(|refusal| refusal.to_string())?;
        self.wanted.insert(id, (tokens, Continuation::default()));
        self.ended.push(Continuation::default());
        self.order.push(id);
        Ok(self.order.len() - 1)
    }

    /// Computes one step; whether there was one to compute.
    pub fn step(&mut self) -> Result<bool, ModelError> {
        let sayings = self.runner.step()?;
        sayings.each(|said| {
            let (wanted, text) = self.wanted.get_mut(&said.text).expect("only admitted texts are computed");
            if text.tokens.is_empty() {
                (text.logits, text.found) = (said.logits.to_vec(), self.runner.scheduler.found(said.text));
            }
            let likeliest = said.logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            text.tokens.push(likeliest.map_or(0, |(id, _)| id as u32));
            if text.tokens.len() < *wanted {
                self.runner.scheduler.push(said.text, *text.tokens.last().expect("it was just pushed"));
            } else {
                self.end(said.text);
            }
        })?;
        Ok(!self.wanted.is_empty())
    }

    fn end(&mut self, id: TextId) {
        self.runner.scheduler.end(id);
        let (_, text) = self.wanted.remove(&id).expect("it ends once");
        let place = self.order.iter().position(|other| *other == id).expect("it was admitted");
        self.ended[place] = text;
    }

    /// Gives up the `number`-th text.
    pub fn cancel(&mut self, number: usize) {
        if self.wanted.contains_key(&self.order[number]) {
            self.end(self.order[number]);
        }
    }

    /// Steps until all texts have ended.
    pub fn finish(&mut self) -> Result<&[Continuation], ModelError> {
        while self.step()? {}
        Ok(&self.ended)
    }

    /// What became of the texts so far, in the order of admission; empty for those under way.
    pub fn ended(&self) -> &[Continuation] {
        &self.ended
    }

    /// Blocks that no text holds, and all there are.
    pub fn free_blocks(&self) -> (usize, usize) {
        self.runner.scheduler.free_blocks()
    }
}
