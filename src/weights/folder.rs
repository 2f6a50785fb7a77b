//! A model's files on disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::error::WeightsError;
use super::json::{read_json, read_text};
use super::plain_name::is_relative;
use super::safetensors::{WeightFiles, find_weights, only_safetensors};
use super::source::SourceError;
use crate::id::ByteSize;

/// Models have folders in folders in their own, and no more.
const MAX_DEPTH: usize = 4;

/// A folder in Hugging Face or diffusers layout.
///
/// Files are reached by plain relative names only, so nothing a model's own files say can lead out of the
/// folder. Symbolic links are followed wherever they lead: the hub cache is made of them, and whoever could
/// plant one in the folder could have planted the file. Only regular files are ever opened.
#[derive(Clone, Debug)]
pub struct ModelFolder {
    root: PathBuf,
    label: Arc<str>,
}

impl ModelFolder {
    /// The folder at `path`, called by its own name in messages.
    pub fn local(path: impl AsRef<Path>) -> Result<Self, WeightsError> {
        let root = path.as_ref();
        if !root.is_dir() {
            return Err(SourceError::NotFound { name: last_component(root) }.into());
        }
        // "." and "x/.." have no name of their own; the folder they mean has.
        let label = match root.file_name() {
            Some(name) => name.to_string_lossy().into_owned(),
            None => root.canonicalize().map_or_else(|_| last_component(root), |full| last_component(&full)),
        };
        Ok(Self { root: root.to_owned(), label: label.into() })
    }

    /// The folder `root`, called `label` in messages.
    #[cfg(feature = "hub")]
    pub(super) fn labeled(root: PathBuf, label: &str) -> Self {
        Self { root, label: label.into() }
    }

    /// What the model is called in messages: the folder's name, or the model id.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The file called `name`, if there is one; `name` may be a relative path such as `1_Pooling/config.json`.
    pub fn file(&self, name: &str) -> Option<PathBuf> {
        let path = is_relative(name).then(|| self.root.join(name))?;
        path.is_file().then_some(path)
    }

    /// The folder called `name` inside this one, if there is one: a sentence-transformers module, a part of a
    /// diffusers pipeline.
    pub fn subfolder(&self, name: &str) -> Option<Self> {
        let root = is_relative(name).then(|| self.root.join(name))?;
        root.is_dir().then(|| Self { root, label: self.name_of(name).into() })
    }

    /// Reads the JSON file called `name`; `None` if there is none.
    pub fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, WeightsError> {
        if !is_relative(name) {
            return Err(SourceError::BadFileName { name: name.chars().take(96).collect() }.into());
        }
        match self.file(name) {
            Some(path) => Ok(Some(read_json(&path, &self.name_of(name))?)),
            None => Ok(None),
        }
    }

    /// Reads the text file called `name`, of at most [`MAX_JSON`](super::MAX_JSON); `None` if there is none.
    pub fn read_text(&self, name: &str) -> Result<Option<String>, WeightsError> {
        match self.file(name) {
            Some(path) => Ok(Some(read_text(&path, &self.name_of(name))?)),
            None => Ok(None),
        }
    }

    /// Finds the weights and checks their headers: `model.safetensors`, its sharded form, the diffusers names
    /// of both, or the only safetensors file there is.
    pub fn weight_files(&self) -> Result<WeightFiles, WeightsError> {
        if let Some(name) = find_weights(|name| self.file(name).is_some()) {
            let path = self.root.join(name);
            return match name.strip_suffix(".index.json") {
                Some(_) => WeightFiles::sharded(self, name, &path),
                None => WeightFiles::single(self, &path),
            };
        }
        match only_safetensors(&self.root) {
            Some(path) => WeightFiles::single(self, &path),
            None => Err(self.no_weights().into()),
        }
    }

    /// How many bytes its files have together. What cannot be read, and what lies absurdly deep, counts nothing.
    pub fn size_on_disk(&self) -> ByteSize {
        ByteSize::new(bytes_below(&self.root, MAX_DEPTH))
    }

    /// Says what is there instead of weights.
    fn no_weights(&self) -> SourceError {
        let folder = self.label.to_string();
        let names: Vec<String> = self.root.read_dir().map_or_else(
            |_| Vec::new(),
            |entries| entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect(),
        );
        SourceError::no_weights(folder, names.iter().map(String::as_str))
    }

    /// `folder/file`, as messages write it.
    pub(super) fn name_of(&self, file: &str) -> String {
        format!("{}/{file}", self.label)
    }

    pub(super) fn label_arc(&self) -> Arc<str> {
        self.label.clone()
    }
}

fn bytes_below(folder: &Path, depth: usize) -> u64 {
    let Ok(entries) = folder.read_dir() else { return 0 };
    let bytes = entries.filter_map(Result::ok).map(|entry| match entry.file_type() {
        // A link to a folder could lead round in a circle; no model has one.
        Ok(kind) if kind.is_dir() && depth > 0 => bytes_below(&entry.path(), depth - 1),
        Ok(kind) if kind.is_dir() => 0,
        _ => entry.path().metadata().ok().filter(std::fs::Metadata::is_file).map_or(0, |file| file.len()),
    });
    bytes.fold(0, u64::saturating_add)
}

fn last_component(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
