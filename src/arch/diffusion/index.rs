//! `model_index.json`: which pipeline a folder is, and what its parts are.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::schedule::Reading;
use crate::arch::bounds::not_supported;
use crate::arch::{ArchError, read_required};
use crate::weights::ModelFolder;

const FILE: &str = "model_index.json";

/// A family of pipelines, by the denoiser and by how prompts are read for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Stable Diffusion 1 and 2, and what is distilled from them.
    StableDiffusion,
    /// The same, distilled to a few steps and told the guidance.
    LatentConsistency,
    StableDiffusionXl,
    StableDiffusion3,
    Flux,
}

impl Family {
    /// What diffusers calls the pipeline.
    const CLASSES: [(&'static str, Self); 5] = [
        ("StableDiffusionPipeline", Self::StableDiffusion),
        ("LatentConsistencyModelPipeline", Self::LatentConsistency),
        ("StableDiffusionXLPipeline", Self::StableDiffusionXl),
        ("StableDiffusion3Pipeline", Self::StableDiffusion3),
        ("FluxPipeline", Self::Flux),
    ];

    /// All of them, in a word each.
    pub(super) const NAMES: [&'static str; 5] = [
        Self::StableDiffusion.name(),
        Self::LatentConsistency.name(),
        Self::StableDiffusionXl.name(),
        Self::StableDiffusion3.name(),
        Self::Flux.name(),
    ];

    /// In a word.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::StableDiffusion => "stable-diffusion",
            Self::LatentConsistency => "latent-consistency",
            Self::StableDiffusionXl => "stable-diffusion-xl",
            Self::StableDiffusion3 => "stable-diffusion-3",
            Self::Flux => "flux",
        }
    }

    /// What the pipeline changes of its schedule.
    pub(super) fn reading(self) -> Reading {
        if self == Self::StableDiffusion { Reading::StableDiffusion } else { Reading::AsWritten }
    }
}

/// What the file says.
#[derive(Clone, Debug)]
pub(super) struct Index {
    pub(super) family: Family,
    /// Whether a negative prompt that is not given is told as zeros, rather than as a text without words.
    pub(super) zeros_for_nothing: bool,
    /// The class of each part that there is.
    classes: BTreeMap<String, String>,
    folder: ModelFolder,
}

#[derive(Deserialize)]
struct File {
    #[serde(rename = "_class_name")]
    class: Option<String>,
    #[serde(default)]
    force_zeros_for_empty_prompt: Option<bool>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

/// Whether a folder is one of diffusers.
pub(crate) fn is_pipeline(folder: &ModelFolder) -> bool {
    folder.file(FILE).is_some()
}

impl Index {
    pub(super) fn read(folder: &ModelFolder) -> Result<Self, ArchError> {
        let file: File = read_required(folder, FILE)?;
        let class = file.class.unwrap_or_default();
        let known = Family::CLASSES.iter().find(|(name, _)| *name == class);
        let Some((_, family)) = known else {
            return Err(not_supported("pipeline", &class, &Family::CLASSES.map(|(name, _)| name)));
        };
        // A part is a library and a class; of one that is left out both are null.
        let class_of = |value: &Value| Some(value.as_array()?.get(1)?.as_str()?.to_owned());
        let parts = file.others.iter().filter_map(|(part, value)| Some((part.clone(), class_of(value)?)));
        let zeros = file.force_zeros_for_empty_prompt.unwrap_or(true);
        Ok(Self {
            family: *family,
            zeros_for_nothing: *family == Family::StableDiffusionXl && zeros,
            classes: parts.collect(),
            folder: folder.clone(),
        })
    }

    /// The class of a part, if there is one.
    pub(super) fn class(&self, part: &str) -> Option<&str> {
        self.classes.get(part).map(String::as_str)
    }

    /// The folder of a part that must be there.
    pub(super) fn part(&self, name: &'static str) -> Result<ModelFolder, ArchError> {
        let missing = || ArchError::MissingFile { name, folder: self.folder.label().to_owned() };
        self.folder.subfolder(name).ok_or_else(missing)
    }
}
