//! What all workers of one encoder share.

use std::collections::BTreeMap;

use candle_core::{DType, Device};

use super::config::Segments;
use super::embedder::STEP_TOKENS;
use super::network::Network;
use super::packed::PackedTexts;
use super::plan::EncoderPlan;
use crate::arch::sentence::SentenceHead;
use crate::arch::{ArchError, Scope};
use crate::capability::{EmbedRequest, Embedding, InvalidRequest, ModelError};
use crate::kernels::Dtype;
use crate::text::{EncodedText, Tokenizer};
use crate::weights::{ModelFolder, WeightStore};

/// A loaded encoder: network, tokenizer and recipe, read-only. Computing takes `&self`, so that any number
/// of workers can share one behind an `Arc`.
#[derive(Debug)]
pub struct EncoderWeights {
    plan: EncoderPlan,
    network: Network,
    head: SentenceHead,
    tokenizer: Tokenizer,
    /// How many tokens each prompt takes, where pooling leaves prompts out.
    prompt_tokens: BTreeMap<String, usize>,
}

/// A request that has been checked and tokenized.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) text: EncodedText,
    /// How many tokens at the start are a prompt's and do not count.
    prompt_tokens: usize,
    normalize: Option<bool>,
    dimensions: Option<usize>,
}

impl EncoderWeights {
    /// Loads a model folder in the layout of sentence-transformers, or of transformers alone (then texts get
    /// the mean of their tokens' vectors). Computes in `dtype` on the CPU, whatever the files hold.
    ///
    /// # Errors
    ///
    /// [`ArchError`] says which file is missing, damaged, or asks for something not implemented.
    pub fn load(folder: &ModelFolder, dtype: Dtype) -> Result<Self, ArchError> {
        let plan = EncoderPlan::read(folder, dtype)?;
        let tokenizer = load_tokenizer(&plan)?;
        let prompt_tokens = count_prompts(&plan, &tokenizer)?;
        let store = WeightStore::open(&plan.weight_files()?, DType::F32, &Device::Cpu)?;
        let root = Scope::root(&store, plan.precision);
        let network = Network::load(&root, &plan.config, plan.max_tokens())?;
        let head = plan.sentence.load()?;
        Ok(Self { plan, network, head, tokenizer, prompt_tokens })
    }

    /// What the folder's configuration says.
    pub fn plan(&self) -> &EncoderPlan {
        &self.plan
    }

    /// Embeds `requests` on the calling thread, without a pool or a worker, in as few passes as a worker
    /// would take. Answers come in order, and one request's failure is its own.
    pub fn embed(&self, requests: &[EmbedRequest]) -> Vec<Result<Embedding, ModelError>> {
        let prepared: Vec<_> = requests.iter().map(|request| self.prepare(request)).collect();
        let good: Vec<&Prepared> = prepared.iter().filter_map(|prepared| prepared.as_ref().ok()).collect();
        let mut answers = Vec::with_capacity(good.len());
        let mut rest = good.as_slice();
        while !rest.is_empty() {
            let (step, later) = rest.split_at(step_length(rest.iter().map(|prepared| prepared.tokens())));
            match self.compute(step) {
                Ok(step) => answers.extend(step),
                Err(error) => answers.extend(step.iter().map(|_| Err(error.clone()))),
            }
            rest = later;
        }
        let mut answers = answers.into_iter();
        let answer = |prepared: Result<Prepared, ModelError>| {
            prepared.and_then(|_| answers.next().expect("one answer to each good request"))
        };
        prepared.into_iter().map(answer).collect()
    }

    /// Checks and tokenizes a request.
    pub(crate) fn prepare(&self, request: &EmbedRequest) -> Result<Prepared, ModelError> {
        self.plan.validate(request)?;
        let prompt_name = self.plan.sentence.recipe.prompt_name(request)?;
        let prompt = self.plan.sentence.recipe.prompt(prompt_name);
        let text = match prompt {
            "" => self.tokenizer.encode(&request.text),
            prompt => self.tokenizer.encode(&format!("{prompt}{}", request.text)),
        };
        let text = text.map_err(ModelError::failed)?;
        self.check_ids(&text)?;
        let prompt_tokens = prompt_name.and_then(|name| self.prompt_tokens.get(name)).copied().unwrap_or(0);
        Ok(Prepared { text, prompt_tokens, normalize: request.normalize, dimensions: request.dimensions })
    }

    /// One pass over all of `batch`. An error is the whole pass's; a text whose numbers went wrong fails
    /// alone, its neighbours having never met it.
    pub(crate) fn compute(
        &self,
        batch: &[&Prepared],
    ) -> Result<Vec<Result<Embedding, ModelError>>, ModelError> {
        let packed = PackedTexts::new(batch.iter().map(|prepared| &prepared.text));
        let hidden = if packed.spans.is_empty() { Vec::new() } else { self.hidden(&packed)? };
        let width = self.plan.config.hidden_size;
        let mut rest = hidden.as_slice();
        let pooled = batch.iter().map(|prepared| {
            let (own, others) = rest.split_at(prepared.tokens() * width);
            rest = others;
            self.pool(own, prepared)
        });
        let vectors = self.head.forward(pooled.collect()).map_err(ModelError::failed)?;
        Ok(vectors.into_iter().zip(batch).map(|(vector, prepared)| self.answer(vector, prepared)).collect())
    }

    /// The vectors of all tokens, `[tokens, hidden]`, row by row.
    fn hidden(&self, packed: &PackedTexts) -> Result<Vec<f32>, ModelError> {
        let hidden = self.network.forward(packed).and_then(|hidden| hidden.flatten_all()?.to_vec1());
        hidden.map_err(ModelError::failed)
    }

    /// The vector of a text from those of its tokens.
    fn pool(&self, hidden: &[f32], prepared: &Prepared) -> Vec<f32> {
        let (pooling, width) = (&self.plan.sentence.recipe.pooling, self.plan.config.hidden_size);
        match hidden {
            // A tokenizer without special tokens makes nothing of an empty text: no tokens, no meaning.
            [] => vec![0.0; pooling.dimensions(width)],
            hidden => pooling.pool(hidden, width, prepared.prompt_tokens),
        }
    }

    fn answer(&self, vector: Vec<f32>, prepared: &Prepared) -> Result<Embedding, ModelError> {
        let values = self.plan.sentence.recipe.finish(vector, prepared.normalize, prepared.dimensions);
        let values = values
            .ok_or_else(|| ModelError::Numeric("the embedding has a number that is not finite".into()))?;
        Ok(Embedding { values, tokens: prepared.tokens(), truncated: prepared.text.truncated })
    }

    /// The tables of the network bound what the tokenizer may say; they come from different files.
    fn check_ids(&self, text: &EncodedText) -> Result<(), InvalidRequest> {
        let beyond = |ids: &[u32], size: usize| ids.iter().copied().find(|id| *id as usize >= size);
        let c = &self.plan.config;
        if let Some(id) = beyond(&text.ids, c.vocab_size) {
            let reason =
                format!("the tokenizer makes token {id} of it, but the model knows only {}", c.vocab_size);
            return Err(InvalidRequest::new("text", reason));
        }
        let Segments::Given(segments) = c.segments else { return Ok(()) };
        if let Some(id) = beyond(&text.type_ids, segments) {
            let reason =
                format!("the tokenizer puts it in segment {id}, but the model knows only {segments}");
            return Err(InvalidRequest::new("text", reason));
        }
        Ok(())
    }
}

impl Prepared {
    /// How many tokens it has.
    pub(crate) fn tokens(&self) -> usize {
        self.text.ids.len()
    }
}

/// How many of the texts, in order, make up one step: as many as fit the budget, and at least one.
pub(crate) fn step_length(tokens: impl Iterator<Item = usize>) -> usize {
    let mut sum = 0usize;
    let fitting = tokens.take_while(|tokens| {
        sum = sum.saturating_add(*tokens);
        sum <= STEP_TOKENS
    });
    fitting.count().max(1)
}

fn load_tokenizer(plan: &EncoderPlan) -> Result<Tokenizer, ArchError> {
    let folder = &plan.network;
    let missing = || ArchError::MissingFile { name: "tokenizer.json", folder: folder.label().to_owned() };
    let path = folder.file("tokenizer.json").ok_or_else(missing)?;
    Ok(Tokenizer::load(&path, &plan.settings, plan.max_tokens())?)
}

/// How many tokens stand before the text for each prompt: those of the prompt alone, less the special one
/// that ends it. Empty where prompts count like any other text.
fn count_prompts(plan: &EncoderPlan, tokenizer: &Tokenizer) -> Result<BTreeMap<String, usize>, ArchError> {
    let mut counts = BTreeMap::new();
    if plan.sentence.recipe.pooling.includes_prompt() {
        return Ok(counts);
    }
    for (name, prompt) in plan.sentence.recipe.prompts().filter(|(_, prompt)| !prompt.is_empty()) {
        let ids = tokenizer.encode(prompt)?.ids;
        let ended = ids.last().is_some_and(|id| tokenizer.is_special(*id));
        counts.insert(name.to_owned(), ids.len() - usize::from(ended));
    }
    Ok(counts)
}
