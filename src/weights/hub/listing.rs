//! Which files of a repository make up a servable model.
//!
//! Configurations and tokenizers by name, weights in safetensors, and the same again in the folders that
//! `modules.json` (sentence-transformers) and `model_index.json` (diffusers) name. Never code, never pickle.

use std::collections::BTreeMap;

use hf_hub::api::RepoInfo;
use serde::Deserialize;
use serde_json::Value;

use super::cache::Commit;
use super::error::HubError;
use crate::weights::error::WeightsError;
use crate::weights::folder::ModelFolder;
use crate::weights::model_id::ModelId;
use crate::weights::plain_name::is_relative;
use crate::weights::safetensors::find_weights;
use crate::weights::source::SourceError;

const MAX_FILES: usize = 100_000;

const DESCRIPTIONS: [&str; 20] = [
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "config.json",
    "config_sentence_transformers.json",
    "generation_config.json",
    "merges.txt",
    "model_index.json",
    "modules.json",
    "preprocessor_config.json",
    "processor_config.json",
    "scheduler_config.json",
    "sentence_bert_config.json",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
];

/// The part of a pipeline that is as large as others and not served: it judges the pictures.
const NEVER_RUN: &str = "safety_checker";

/// What the classes of parts without weights are called.
const WEIGHTLESS: [&str; 4] = ["Scheduler", "Tokenizer", "Processor", "FeatureExtractor"];

/// The files of one commit of one model.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) commit: Commit,
    files: Vec<String>,
}

impl Listing {
    /// Refuses the whole repository if one name would lead out of its folder: an honest hub has no such
    /// repository.
    pub(super) fn new(id: &ModelId, info: RepoInfo) -> Result<Self, HubError> {
        let bad_reply = |detail| HubError::BadReply { what: id.to_string(), detail };
        let commit = Commit::new(&info.sha).ok_or_else(|| bad_reply("its commit is no commit"))?;
        if info.siblings.len() > MAX_FILES {
            return Err(bad_reply("it lists too many files"));
        }
        let files: Vec<String> = info.siblings.into_iter().map(|sibling| sibling.rfilename).collect();
        match files.iter().find(|name| leaves_folder(name)) {
            Some(name) => {
                Err(HubError::BadName { model: id.to_string(), name: name.chars().take(96).collect() })
            }
            None => Ok(Self { commit, files }),
        }
    }

    /// Fails, before anything is downloaded, if there is nothing to load.
    pub(super) fn check_servable(&self, id: &ModelId) -> Result<(), SourceError> {
        if self.files.iter().any(|file| file.ends_with(".safetensors")) {
            return Ok(());
        }
        Err(SourceError::no_weights(id.to_string(), self.files.iter().map(String::as_str)))
    }

    /// The configurations and tokenizer files in `dir` ("" is the root).
    pub(super) fn descriptions(&self, dir: &str) -> Vec<String> {
        DESCRIPTIONS.iter().map(|name| join(dir, name)).filter(|path| self.has(path)).collect()
    }

    /// The weights in `dir`: a single file, or an index.
    pub(super) fn weights(&self, dir: &str) -> Option<String> {
        let standard = find_weights(|name| self.has(&join(dir, name))).map(|name| join(dir, name));
        standard.or_else(|| {
            let in_dir =
                |file: &&String| file.strip_prefix(&join(dir, "")).is_some_and(|name| !name.contains('/'));
            let mut found = self.files.iter().filter(in_dir).filter(|file| file.ends_with(".safetensors"));
            let only = found.next()?;
            found.next().is_none().then(|| only.clone())
        })
    }

    /// Whether a path may be joined to the snapshot and is in the repository.
    pub(super) fn has(&self, path: &str) -> bool {
        is_relative(path) && self.files.iter().any(|file| file == path)
    }
}

/// The folders that hold further parts of the model whose descriptions are in `folder`.
pub(super) fn part_folders(folder: &ModelFolder) -> Result<Vec<String>, WeightsError> {
    #[derive(Deserialize)]
    struct Module {
        path: String,
    }

    let modules: Vec<Module> = folder.read_json("modules.json")?.unwrap_or_default();
    let parts = pipeline(folder)?.into_keys();
    let mut folders: Vec<String> = modules.into_iter().map(|module| module.path).chain(parts).collect();
    folders.retain(|path| is_relative(path) && path != NEVER_RUN);
    folders.sort();
    folders.dedup();
    Ok(folders)
}

/// Those of the [`part_folders`] of a pipeline that hold its networks, and so weights.
pub(super) fn network_folders(folder: &ModelFolder) -> Result<Vec<String>, WeightsError> {
    let classes = pipeline(folder)?;
    let has_weights = |class: &String| !WEIGHTLESS.iter().any(|kind| class.contains(kind));
    let mut folders = part_folders(folder)?;
    folders.retain(|part| classes.get(part).is_some_and(has_weights));
    Ok(folders)
}

/// The parts that `model_index.json` names, each with its class. One without a class is not there.
fn pipeline(folder: &ModelFolder) -> Result<BTreeMap<String, String>, WeightsError> {
    let index: BTreeMap<String, Value> = folder.read_json("model_index.json")?.unwrap_or_default();
    let class = |value: &Value| Some(value.get(1)?.as_str()?.to_owned());
    Ok(index.into_iter().filter_map(|(name, value)| Some((name, class(&value)?))).collect())
}

/// `dir/name`, or `name` in the root.
pub(super) fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

fn leaves_folder(name: &str) -> bool {
    name.is_empty()
        || name.starts_with('/')
        || name.contains('\0')
        || name.split(['/', '\\']).any(|part| part == "..")
}
