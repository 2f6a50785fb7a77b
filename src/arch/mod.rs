//! The architectures: code that turns weights into answers, one module per family.
//!
//! Every family reads the same way: a `Config` that mirrors the model's `config.json`, blocks with `load`
//! and `forward`, shapes in comments, the paper and the reference implementation named on top. A family has
//! two halves, as the pool loads in two halves: weights, read once and shared by all workers of a model
//! ([`EmbeddingWeights`], [`DecoderWeights`], [`ImageWeights`], [`VisionWeights`], [`DiffusionWeights`]), and the model
//! that one worker owns ([`TextEmbedder`], [`TextGenerator`], [`ImageEmbedder`], [`Describer`], [`ImageGenerator`]),
//! which copies nothing of them.
//!
//! Encoders and decoders both embed texts (`embedding`), packed end to end (`packed`). What
//! sentence-transformers puts around a network, from prompts to `Dense` stages, is the same for all of them
//! (`sentence`, `dense`). Vision transformers (`vit`) embed pictures (`image_embedding`), packed likewise.
//!
//! A decoder with eyes answers questions about pictures (`vision`), and BLIP captions them.
//!
//! Pictures are drawn by pipelines of several networks (`diffusion`): denoisers (`unet`, `diffusion_transformer`), readers
//! of prompts (`text_tower`, `t5`) and what makes latents pictures (`autoencoder`). A pipeline's own index says which.
//! For all other models [`Architecture::of`] is the one place where their configuration decides which code runs them.
//!
//! Nothing here starts a worker, reserves memory or reads a clock.

mod activation;
mod answer;
mod autoencoder;
mod bounds;
mod decoder;
mod dense;
mod diffusion;
mod diffusion_transformer;
mod distances;
mod embedding;
mod encoder;
mod error;
#[cfg(test)]
mod example;
mod image_embedding;
mod packed;
mod pieces;
mod preprocessing;
mod residual;
mod scope;
mod sentence;
mod t5;
mod text_tower;
mod unet;
mod vision;
mod vit;

use std::path::PathBuf;

use serde::Deserialize;

pub use crate::text::{RecipeError, TokenizerError};
#[doc(hidden)]
pub use decoder::{Continuation, DecoderProbe, ProbeLimits, ProbeRun};
pub use decoder::{DecoderConfig, DecoderFamily, DecoderOptions, DecoderPlan, DecoderWeights, TextGenerator};
pub(crate) use diffusion::is_pipeline;
pub use diffusion::{DiffusionPlan, DiffusionWeights, ImageGenerator};
pub use embedding::{
    EmbeddingPlan, EmbeddingWeights, MAX_TEXT_BYTES, NetworkConfig, TextEmbedder, estimated_cost, footprint,
};
pub use encoder::EncoderConfig;
pub use error::ArchError;
pub use image_embedding::{ImageEmbedder, ImagePlan, ImageWeights};
pub(crate) use scope::{Bias, Scope};
pub(crate) use sentence::has_pooling;
pub use text_tower::TextTowerConfig;
pub use vision::{Describer, VisionPlan, VisionWeights};
pub(crate) use vision::{gemma_sees, is_vision};
pub use vit::VitConfig;
pub(crate) use vit::is_vit;

use crate::weights::ModelFolder;

/// A family of networks that is implemented here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Architecture {
    /// BERT and what shares its graph: `MiniLM`, BGE, E5, GTE (base). Served by [`EmbeddingWeights`], as
    /// are all below.
    Bert,
    /// `RoBERTa`: all-distilroberta, all-roberta.
    Roberta,
    /// `XLM-RoBERTa`: BGE-M3, multilingual E5, paraphrase-multilingual-mpnet.
    XlmRoberta,
    /// `CamemBERT`.
    Camembert,
    /// `DistilBERT`: msmarco-distilbert, distiluse.
    DistilBert,
    /// `MPNet`: all-mpnet, multi-qa-mpnet.
    MpNet,
    /// `ModernBERT`: modernbert-embed, `GTE-ModernBERT`.
    ModernBert,
    /// Nomic-BERT: nomic-embed-text.
    NomicBert,
    /// CLIP, with quick GELU or GELU: as `OpenAI` and LAION made them. Its part that reads pictures is served by
    /// [`ImageWeights`], as are all below but decoders; its part that reads texts by [`EmbeddingWeights`].
    Clip,
    /// `SigLIP`, and `SigLIP` 2 of a fixed resolution; both parts, as CLIP's.
    Siglip,
    /// `SigLIP` 2 for pictures of any shape (`NaFlex`); both parts, as CLIP's.
    Siglip2,
    /// `DINOv2`.
    Dinov2,
    /// `DINOv2` with registers.
    Dinov2WithRegisters,
    /// `ViT`, and what shares its graph: the first DINO.
    Vit,
    /// `LLaVA` 1.5, and what shares its graph. Served by [`VisionWeights`].
    Llava,
    /// Idefics 3. Served by [`VisionWeights`], as are all below but decoders.
    Idefics3,
    /// `SmolVLM`.
    SmolVlm,
    /// Qwen 2 VL.
    Qwen2Vl,
    /// Qwen 2.5 VL.
    Qwen2_5Vl,
    /// `PaliGemma`.
    PaliGemma,
    /// BLIP that captions.
    Blip,
    /// A decoder; Gemma 3 may see as well. Served by [`DecoderWeights`]; by [`EmbeddingWeights`] where its folder says how to pool.
    Decoder(DecoderFamily),
}

impl Architecture {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Bert,
        Self::Roberta,
        Self::XlmRoberta,
        Self::Camembert,
        Self::DistilBert,
        Self::MpNet,
        Self::ModernBert,
        Self::NomicBert,
        Self::Clip,
        Self::Siglip,
        Self::Siglip2,
        Self::Dinov2,
        Self::Dinov2WithRegisters,
        Self::Vit,
        Self::Llava,
        Self::Idefics3,
        Self::SmolVlm,
        Self::Qwen2Vl,
        Self::Qwen2_5Vl,
        Self::PaliGemma,
        Self::Blip,
        Self::Decoder(DecoderFamily::Llama),
        Self::Decoder(DecoderFamily::Mistral),
        Self::Decoder(DecoderFamily::Mixtral),
        Self::Decoder(DecoderFamily::Qwen2),
        Self::Decoder(DecoderFamily::Qwen3),
        Self::Decoder(DecoderFamily::Qwen3Moe),
        Self::Decoder(DecoderFamily::Phi3),
        Self::Decoder(DecoderFamily::Gemma),
        Self::Decoder(DecoderFamily::Gemma2),
        Self::Decoder(DecoderFamily::Gemma3),
        Self::Decoder(DecoderFamily::SmolLm3),
        Self::Decoder(DecoderFamily::Olmo2),
    ];

    /// The `model_type` that `config.json` gives it.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Bert => "bert",
            Self::Roberta => "roberta",
            Self::XlmRoberta => "xlm-roberta",
            Self::Camembert => "camembert",
            Self::DistilBert => "distilbert",
            Self::MpNet => "mpnet",
            Self::ModernBert => "modernbert",
            Self::NomicBert => "nomic_bert",
            Self::Clip => "clip",
            Self::Siglip => "siglip",
            Self::Siglip2 => "siglip2",
            Self::Dinov2 => "dinov2",
            Self::Dinov2WithRegisters => "dinov2_with_registers",
            Self::Vit => "vit",
            Self::Llava => "llava",
            Self::Idefics3 => "idefics3",
            Self::SmolVlm => "smolvlm",
            Self::Qwen2Vl => "qwen2_vl",
            Self::Qwen2_5Vl => "qwen2_5_vl",
            Self::PaliGemma => "paligemma",
            Self::Blip => "blip",
            Self::Decoder(family) => family.model_type(),
        }
    }

    /// What the names of its classes in transformers begin with, before `Model` or `For...`.
    const fn class(self) -> &'static str {
        match self {
            Self::Bert => "Bert",
            Self::Roberta => "Roberta",
            Self::XlmRoberta => "XLMRoberta",
            Self::Camembert => "Camembert",
            Self::DistilBert => "DistilBert",
            Self::MpNet => "MPNet",
            Self::ModernBert => "ModernBert",
            Self::NomicBert => "NomicBert",
            Self::Clip => "CLIP",
            Self::Siglip => "Siglip",
            Self::Siglip2 => "Siglip2",
            Self::Dinov2 => "Dinov2",
            Self::Dinov2WithRegisters => "Dinov2WithRegisters",
            Self::Vit => "ViT",
            Self::Llava => "Llava",
            Self::Idefics3 => "Idefics3",
            Self::SmolVlm => "SmolVLM",
            Self::Qwen2Vl => "Qwen2VL",
            Self::Qwen2_5Vl => "Qwen2_5_VL",
            Self::PaliGemma => "PaliGemma",
            Self::Blip => "Blip",
            Self::Decoder(family) => family.class(),
        }
    }

    /// Whether `config.json` may call it `model_type`.
    fn is_called(self, model_type: &str) -> bool {
        match self {
            Self::Decoder(family) => DecoderFamily::named(model_type) == Some(family),
            // By themselves, their parts have names of their own.
            Self::Clip if matches!(model_type, "clip_vision_model" | "clip_text_model") => true,
            Self::Siglip if matches!(model_type, "siglip_vision_model" | "siglip_text_model") => true,
            Self::Siglip2 if matches!(model_type, "siglip2_vision_model" | "siglip2_text_model") => true,
            _ => self.model_type() == model_type,
        }
    }

    /// What the folder's `config.json` says it is, or that of its network where sentence-transformers keeps
    /// it in a folder of its own: by `model_type`, or where that is missing by the classes in `architectures`.
    ///
    /// # Errors
    ///
    /// [`ArchError::MissingFile`] without a `config.json`, [`ArchError::Unsupported`], which lists what is
    /// supported, for all that is not known here.
    pub fn of(folder: &ModelFolder) -> Result<Self, ArchError> {
        let named: Named = read_required(&sentence::network_folder(folder)?, "config.json")?;
        let class = named.architectures.first().map(String::as_str);
        let found = Self::ALL.iter().find(|family| match (named.model_type.as_deref(), class) {
            (Some(model_type), _) => family.is_called(model_type),
            (None, Some(class)) => is_of(class, family.class()),
            (None, None) => false,
        });
        let name = || named.model_type.as_deref().or(class).unwrap_or("a model without a type");
        found.copied().ok_or_else(|| unsupported(name()))
    }
}

/// Whether the class called `name` is the bare network of `family`, or that under some head.
fn is_of(name: &str, family: &str) -> bool {
    name.strip_prefix(family).is_some_and(|head| {
        ["For", "VisionModel", "TextModel"].iter().any(|part| head.starts_with(part)) || head == "Model"
    })
}

/// What the parts of a model of pictures and texts read, as far as they are in the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) pictures: bool,
    pub(crate) texts: bool,
}

impl Parts {
    /// Of a folder whose architecture is CLIP or `SigLIP`: both, unless `config.json` is that of one of them
    /// alone. A part that reads texts needs a tokenizer.
    pub(crate) fn of(folder: &ModelFolder) -> Result<Self, ArchError> {
        let network = sentence::network_folder(folder)?;
        let named: Named = read_required(&network, "config.json")?;
        let kind = named.model_type.or(named.architectures.into_iter().next()).unwrap_or_default();
        let has = |part: &str| kind.to_ascii_lowercase().replace('_', "").contains(part);
        let texts = !has("visionmodel") && network.file("tokenizer.json").is_some();
        Ok(Self { pictures: !has("textmodel"), texts })
    }
}

/// The part of `config.json` that names the architecture.
#[derive(Deserialize)]
struct Named {
    model_type: Option<String>,
    #[serde(default)]
    architectures: Vec<String>,
}

fn unsupported(found: &str) -> ArchError {
    let supported = Architecture::ALL.iter().map(|architecture| architecture.model_type()).collect();
    ArchError::Unsupported { what: "architecture", found: found.to_owned(), supported }
}

fn read_required<T: serde::de::DeserializeOwned>(
    folder: &ModelFolder,
    name: &'static str,
) -> Result<T, ArchError> {
    folder.read_json(name)?.ok_or_else(|| missing(folder, name))
}

/// Where a file is that every model of a kind has.
fn required_file(folder: &ModelFolder, name: &'static str) -> Result<PathBuf, ArchError> {
    folder.file(name).ok_or_else(|| missing(folder, name))
}

fn missing(folder: &ModelFolder, name: &'static str) -> ArchError {
    ArchError::MissingFile { name, folder: folder.label().to_owned() }
}
