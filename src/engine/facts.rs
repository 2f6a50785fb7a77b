//! What there is to say of a model before it is loaded.

use serde::{Deserialize, Serialize};

use super::loaders::{AnyLoader, DecoderLoader, DiffusionLoader, EmbeddingLoader, ImageLoader, VisionLoader};
use super::model::Capabilities;
use crate::memory::Footprint;

/// A model as far as its configuration tells, for one of the things that it can do. Read when it is added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ModelFacts {
    /// What it does.
    pub capability: Capabilities,
    /// Its family: the `model_type` of its `config.json`, or the kind of its pipeline.
    pub architecture: String,
    /// What most of its weights are kept in, such as `f32`, `bf16` or `q4_k`.
    pub dtype: String,
    /// The most tokens that it takes: of a text that it embeds, or of a prompt and its answer together. `None` of models
    /// that read no text, or cut it as they like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_length: Option<usize>,
    /// How many numbers its embeddings have, if it embeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<usize>,
    /// The memory that it is expected to take; `None` where its weights' headers cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub footprint: Option<Footprint>,
    /// How many threads each of its workers computes on.
    pub threads: usize,
    /// Whether it puts conversations into words.
    pub has_chat_template: bool,
    /// Whether its conversations know of tools: its template mentions them.
    pub knows_tools: bool,
    /// The names of its own prompts, of which a text to embed may have one put before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prompts: Vec<String>,
}

impl ModelFacts {
    fn new(capability: Capabilities, architecture: &str, dtype: String, threads: usize) -> Self {
        Self {
            capability,
            architecture: architecture.to_owned(),
            dtype,
            context_length: None,
            dimensions: None,
            footprint: None,
            threads,
            has_chat_template: false,
            knows_tools: false,
            prompts: Vec::new(),
        }
    }
}

impl AnyLoader {
    /// What the files' configuration tells.
    pub(super) fn facts(&self) -> ModelFacts {
        match self {
            Self::TextEmbedding(loader) => of_embedding(loader),
            Self::TextToText(loader) => of_decoder(loader),
            Self::ImageEmbedding(loader) => of_image(loader),
            Self::TextToImage(loader) => of_diffusion(loader),
            Self::Vision(loader) => of_vision(loader),
        }
    }
}

fn of_embedding(loader: &EmbeddingLoader) -> ModelFacts {
    let (plan, threads) = (&loader.plan, loader.threads);
    let family = plan.config().architecture().model_type();
    ModelFacts {
        context_length: Some(plan.max_tokens()),
        dimensions: Some(plan.dimensions()),
        footprint: plan.footprint(threads).ok(),
        prompts: plan.prompt_names().map(str::to_owned).collect(),
        ..ModelFacts::new(Capabilities::TextEmbedding, family, plan.computes_in(), threads.get())
    }
}

fn of_decoder(loader: &DecoderLoader) -> ModelFacts {
    let (plan, threads) = (&loader.plan, loader.threads);
    ModelFacts {
        context_length: Some(plan.max_tokens()),
        footprint: plan.footprint(threads).ok(),
        has_chat_template: plan.has_chat_template(),
        knows_tools: plan.knows_tools(),
        ..ModelFacts::new(Capabilities::TextToText, plan.family(), plan.computes_in(), threads.get())
    }
}

fn of_image(loader: &ImageLoader) -> ModelFacts {
    let (plan, threads) = (&loader.plan, loader.threads);
    let family = plan.config().architecture.model_type();
    ModelFacts {
        dimensions: Some(plan.dimensions()),
        footprint: plan.footprint(threads).ok(),
        ..ModelFacts::new(Capabilities::ImageEmbedding, family, plan.computes_in(), threads.get())
    }
}

fn of_diffusion(loader: &DiffusionLoader) -> ModelFacts {
    let (plan, threads) = (&loader.plan, loader.threads);
    ModelFacts {
        footprint: plan.footprint(threads).ok(),
        ..ModelFacts::new(Capabilities::TextToImage, plan.family(), plan.computes_in(), threads.get())
    }
}

fn of_vision(loader: &VisionLoader) -> ModelFacts {
    let (plan, threads) = (&loader.plan, loader.threads);
    let family = plan.architecture().model_type();
    ModelFacts {
        context_length: Some(plan.max_tokens()),
        footprint: plan.footprint(threads).ok(),
        has_chat_template: plan.has_chat_template(),
        knows_tools: plan.knows_tools(),
        ..ModelFacts::new(Capabilities::Vision, family, plan.computes_in(), threads.get())
    }
}
