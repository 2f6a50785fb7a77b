//! What all workers of one embedding model share.

use std::collections::BTreeMap;

use candle_core::{DType, Device};

use super::network::Network;
use super::pass::Pass;
use super::plan::EmbeddingPlan;
use crate::arch::packed::PackedTexts;
use crate::arch::sentence::SentenceHead;
use crate::arch::{ArchError, Scope, required_file};
use crate::capability::{EmbedInput, EmbedRequest, Embedding, InvalidRequest, ModelError, Overlong};
use crate::kernels::Dtype;
use crate::text::{EncodedText, Tokenizer, TokenizerError};
use crate::weights::{ModelFolder, WeightStore};

/// A loaded embedding model: network, tokenizer and recipe, read-only. Computing takes `&self`, so that any number
/// of workers can share one behind an `Arc`.
#[derive(Debug)]
pub struct EmbeddingWeights {
    plan: EmbeddingPlan,
    network: Network,
    head: SentenceHead,
    tokenizer: Tokenizer,
    /// How many tokens each prompt takes, where pooling leaves prompts out.
    prompt_tokens: BTreeMap<String, usize>,
}

/// What the network reads of a request: the same for two requests, their vectors are the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Input {
    pub(crate) text: EncodedText,
    /// How many tokens at the start are a prompt's and do not count.
    prompt_tokens: usize,
}

/// What a request wants done to its text's vector.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finishing {
    normalize: Option<bool>,
    dimensions: Option<usize>,
}

/// A request that has been checked and tokenized.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub(crate) input: Input,
    pub(crate) finishing: Finishing,
}

impl EmbeddingWeights {
    /// Loads a model folder in the layout of sentence-transformers, or of transformers alone (then texts get
    /// the mean of their tokens' vectors). Computes in `dtype` on the CPU, whatever the files hold.
    ///
    /// # Errors
    ///
    /// [`ArchError`] says which file is missing, damaged, or asks for something not implemented.
    pub fn load(folder: &ModelFolder, dtype: Dtype) -> Result<Self, ArchError> {
        let plan = EmbeddingPlan::read(folder, dtype)?;
        let tokenizer = load_tokenizer(&plan)?;
        let prompt_tokens = count_prompts(&plan, &tokenizer)?;
        let store = WeightStore::open(&plan.weight_files()?, DType::F32, &Device::Cpu)?;
        let root = Scope::root(&store, plan.precision);
        let network = plan.config.load(&root, plan.max_tokens())?;
        let head = plan.sentence.load()?;
        Ok(Self { plan, network, head, tokenizer, prompt_tokens })
    }

    /// What the folder's configuration says.
    pub fn plan(&self) -> &EmbeddingPlan {
        &self.plan
    }

    /// Embeds `requests` on the calling thread and its pool, without a worker, in as few passes as a worker
    /// would take. Answers come in order, and one request's failure is its own.
    pub fn embed(&self, requests: &[EmbedRequest]) -> Vec<Result<Embedding, ModelError>> {
        let mut answers: Vec<Option<Result<Embedding, ModelError>>> = vec![None; requests.len()];
        let mut waiting = Vec::with_capacity(requests.len());
        for (index, request) in requests.iter().enumerate() {
            match self.prepare(request) {
                Ok(prepared) => waiting.push((index, prepared)),
                Err(error) => answers[index] = Some(Err(error)),
            }
        }
        while !waiting.is_empty() {
            let pass = Pass::take(&mut waiting, rayon::current_num_threads());
            match pass.compute(self) {
                Ok(computed) => {
                    computed.into_iter().for_each(|(index, answer)| answers[index] = Some(answer));
                }
                Err(error) => pass.members().for_each(|index| answers[index] = Some(Err(error.clone()))),
            }
        }
        answers.into_iter().map(|answer| answer.expect("one pass or another took it")).collect()
    }

    /// Checks and tokenizes a request.
    pub(crate) fn prepare(&self, request: &EmbedRequest) -> Result<Prepared, ModelError> {
        self.plan.validate(request)?;
        let input = match &request.input {
            EmbedInput::Text(text) => self.read(text, request)?,
            EmbedInput::Tokens(ids) => Input { text: self.tokenizer.taken(ids), prompt_tokens: 0 },
        };
        let finishing = Finishing { normalize: request.normalize, dimensions: request.dimensions };
        Ok(Prepared { input, finishing })
    }

    /// The tokens of a text, with the prompt before it that the request asks for.
    fn read(&self, text: &str, request: &EmbedRequest) -> Result<Input, ModelError> {
        let prompt_name = self.plan.sentence.recipe.prompt_name(request)?;
        let text = match self.plan.sentence.recipe.prompt(prompt_name) {
            "" => self.tokenizer.encode(text, request.overlong),
            prompt => self.tokenizer.encode(&format!("{prompt}{text}"), request.overlong),
        };
        let text = text.map_err(|error| match error {
            overlong @ TokenizerError::Overlong { .. } => {
                InvalidRequest::new("text", overlong.to_string()).into()
            }
            error => ModelError::failed(error),
        })?;
        self.check_ids(&text)?;
        let prompt_tokens = prompt_name.and_then(|name| self.prompt_tokens.get(name)).copied().unwrap_or(0);
        Ok(Input { text, prompt_tokens })
    }

    /// The vector of each text, pooled and otherwise as the network made it.
    pub(crate) fn pooled(&self, texts: &[Prepared]) -> Result<Vec<Vec<f32>>, ModelError> {
        let packed = PackedTexts::new(texts.iter().map(|prepared| &prepared.input.text));
        let hidden = if packed.spans.is_empty() { Vec::new() } else { self.hidden(&packed)? };
        let width = self.plan.config.width();
        let mut rest = hidden.as_slice();
        let vectors = texts.iter().map(|prepared| {
            let (own, others) = rest.split_at(self.plan.config.vectors_of(prepared.tokens()) * width);
            rest = others;
            self.pool(own, prepared)
        });
        self.head.forward(vectors.collect()).map_err(ModelError::failed)
    }

    /// The vectors of all tokens, or texts, row by row.
    fn hidden(&self, packed: &PackedTexts) -> Result<Vec<f32>, ModelError> {
        let hidden = self.network.forward(packed).and_then(|hidden| hidden.flatten_all()?.to_vec1());
        hidden.map_err(ModelError::failed)
    }

    /// The vector of a text from those of its tokens.
    fn pool(&self, hidden: &[f32], prepared: &Prepared) -> Vec<f32> {
        let (pooling, width) = (&self.plan.sentence.recipe.pooling, self.plan.config.width());
        match hidden {
            // A tokenizer without special tokens makes nothing of an empty text: no tokens, no meaning.
            [] => vec![0.0; pooling.dimensions(width)],
            hidden => pooling.pool(hidden, width, prepared.input.prompt_tokens),
        }
    }

    /// The answer from a text's vector.
    pub(crate) fn finish(
        &self,
        text: &Prepared,
        vector: Vec<f32>,
        finishing: Finishing,
    ) -> Result<Embedding, ModelError> {
        let recipe = &self.plan.sentence.recipe;
        let values = recipe.finish(vector, finishing.normalize, finishing.dimensions);
        let values = values
            .ok_or_else(|| ModelError::Numeric("the embedding has a number that is not finite".into()))?;
        Ok(Embedding { values, tokens: text.tokens(), truncated: text.input.text.truncated })
    }

    /// The tables of the network bound what the tokenizer may say; they come from different files.
    fn check_ids(&self, text: &EncodedText) -> Result<(), InvalidRequest> {
        let beyond = |ids: &[u32], size: usize| ids.iter().copied().find(|id| *id as usize >= size);
        let c = &self.plan.config;
        if let Some(id) = beyond(&text.ids, c.vocab_size()) {
            let known = c.vocab_size();
            let reason = format!("the tokenizer makes token {id} of it, but the model knows only {known}");
            return Err(InvalidRequest::new("text", reason));
        }
        let Some(segments) = c.segments() else { return Ok(()) };
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
        self.input.text.ids.len()
    }
}

fn load_tokenizer(plan: &EmbeddingPlan) -> Result<Tokenizer, ArchError> {
    let path = required_file(&plan.network, "tokenizer.json")?;
    let tokenizer = Tokenizer::load(&path, &plan.settings, plan.max_tokens())?;
    Ok(match plan.config.filled() {
        Some((_, padding)) => tokenizer.filling(plan.max_tokens(), &plan.settings, padding),
        None => tokenizer,
    })
}

/// How many tokens stand before the text for each prompt: those of the prompt alone, less the special one
/// that ends it. Empty where prompts count like any other text.
fn count_prompts(plan: &EmbeddingPlan, tokenizer: &Tokenizer) -> Result<BTreeMap<String, usize>, ArchError> {
    let mut counts = BTreeMap::new();
    if plan.sentence.recipe.pooling.includes_prompt() {
        return Ok(counts);
    }
    for (name, prompt) in plan.sentence.recipe.prompts().filter(|(_, prompt)| !prompt.is_empty()) {
        let ids = tokenizer.encode(prompt, Overlong::Cut)?.ids;
        let ended = ids.last().is_some_and(|id| tokenizer.is_special(*id));
        counts.insert(name.to_owned(), ids.len() - usize::from(ended));
    }
    Ok(counts)
}
