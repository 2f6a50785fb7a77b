//! The weights of a model in safetensors: one file, or shards with an index.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::DType;
use serde::Deserialize;

use super::error::WeightsError;
use super::folder::ModelFolder;
use super::json::read_json;
use super::plain_name::is_plain;
use super::validate::{Flaw, MAX_TENSORS, TensorInfo, read_header};
use crate::id::ByteSize;

/// The most shards accepted in one model.
pub const MAX_SHARDS: usize = 1000;

/// Why the shards of a model do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant's message describes its fields")]
pub enum ShardError {
    #[error("{index} names the shard {shard:?}, which is no plain file name; do not use this model")]
    BadName { index: String, shard: String },
    #[error("{index} names the shard {shard}, which is not there; download the model again")]
    Missing { index: String, shard: String },
    #[error("{index} names no shards")]
    Empty { index: String },
    #[error("{index} names {shards} shards; at most {MAX_SHARDS} are served")]
    TooMany { index: String, shards: usize },
    #[error("{index} says tensor {tensor:?} is in {shard}, which does not have it; download the model again")]
    NotInShard { index: String, tensor: String, shard: String },
    #[error("tensor {tensor:?} is in two shards of {model}; download the model again")]
    Duplicate { model: String, tensor: String },
    #[error("the shards of {model} hold more than {MAX_TENSORS} tensors together")]
    TooManyTensors { model: String },
}

/// The weights of one model on disk, their headers checked, nothing loaded.
#[derive(Clone, Debug)]
pub struct WeightFiles {
    label: Arc<str>,
    files: Vec<WeightFile>,
}

/// One checked file: what it holds, in file order, and how long it was when checked.
#[derive(Clone, Debug)]
pub(super) struct WeightFile {
    pub(super) path: Arc<Path>,
    pub(super) name: String,
    pub(super) len: u64,
    pub(super) tensors: Vec<TensorInfo>,
}

impl WeightFiles {
    /// One file that holds everything.
    pub(super) fn single(folder: &ModelFolder, path: &Path) -> Result<Self, WeightsError> {
        Ok(Self { label: folder.label_arc(), files: vec![WeightFile::check(folder, path)?] })
    }

    /// The shards that `index` names, all of them in `folder`.
    pub(super) fn sharded(folder: &ModelFolder, index: &str, path: &Path) -> Result<Self, WeightsError> {
        let index_name = folder.name_of(index);
        let ShardIndex { weight_map } = ShardIndex::read(path, &index_name)?;
        let mut files = BTreeMap::new();
        for shard in weight_map.values() {
            if files.contains_key(shard.as_str()) {
                continue;
            }
            let Some(path) = folder.file(shard) else {
                return Err(ShardError::Missing { index: index_name, shard: shard.clone() }.into());
            };
            files.insert(shard.as_str(), WeightFile::check(folder, &path)?);
        }
        let mut placed = HashMap::new();
        for (&shard, file) in &files {
            for tensor in &file.tensors {
                if placed.insert(tensor.name.as_str(), shard).is_some() {
                    let tensor = tensor.name.clone();
                    return Err(ShardError::Duplicate { model: folder.label().to_owned(), tensor }.into());
                }
            }
            if placed.len() > MAX_TENSORS {
                return Err(ShardError::TooManyTensors { model: folder.label().to_owned() }.into());
            }
        }
        if let Some((tensor, shard)) =
            weight_map.iter().find(|(t, s)| placed.get(t.as_str()) != Some(&s.as_str()))
        {
            let (tensor, shard) = (tensor.clone(), shard.clone());
            return Err(ShardError::NotInShard { index: index_name, tensor, shard }.into());
        }
        Ok(Self { label: folder.label_arc(), files: files.into_values().collect() })
    }

    /// What the model is called in messages.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Every tensor, in the order in which loading reads them.
    pub fn tensors(&self) -> impl Iterator<Item = &TensorInfo> {
        self.files.iter().flat_map(|file| &file.tensors)
    }

    /// The files, in the order in which loading reads them.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| &*file.path)
    }

    /// What the files take on disk.
    pub fn bytes_on_disk(&self) -> ByteSize {
        self.files.iter().map(|file| ByteSize::new(file.len)).sum()
    }

    /// What the weights take once loaded as `dtype`; exact on a CPU, from the headers alone.
    pub fn predicted_bytes(&self, dtype: DType) -> ByteSize {
        let per_element =
            |t: &TensorInfo| loaded_dtype(t, dtype).map_or(0, |loaded| loaded.size_in_bytes() as u64);
        self.tensors().map(|t| ByteSize::new(t.elements() as u64).saturating_mul(per_element(t))).sum()
    }

    pub(super) fn files(&self) -> &[WeightFile] {
        &self.files
    }
}

impl WeightFile {
    fn check(folder: &ModelFolder, path: &Path) -> Result<Self, WeightsError> {
        let name = folder.name_of(&path.file_name().unwrap_or_default().to_string_lossy());
        let path: Arc<Path> = Arc::from(path);
        let header = || {
            let file = File::open(&path)?;
            let len = file.metadata()?.len();
            Ok::<_, Flaw>((len, read_header(BufReader::new(file), len, &path)?))
        };
        match header() {
            Ok((len, tensors)) => Ok(Self { path, name, len, tensors }),
            Err(Flaw::Read(source)) => Err(WeightsError::Read { file: name, source }),
            Err(flaw) => Err(WeightsError::Invalid { file: name, flaw }),
        }
    }
}

/// How `tensor` is held once loaded: floats become `target`, integers stay what they are, and what candle
/// cannot compute with is `None`.
pub(super) fn loaded_dtype(tensor: &TensorInfo, target: DType) -> Option<DType> {
    let stored = stored_dtype(tensor)?;
    Some(if stored.is_float() { target } else { stored })
}

/// candle's name for the tensor's dtype in the file, unless it is one that candle can only carry around.
pub(super) fn stored_dtype(tensor: &TensorInfo) -> Option<DType> {
    DType::try_from(tensor.dtype).ok().filter(|dtype| dtype.size_in_bytes() > 0 && *dtype != DType::F8E8M0)
}

/// `model.safetensors.index.json`.
#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

impl ShardIndex {
    /// Shard names become paths, so none is let through that could leave the folder.
    fn read(path: &Path, index: &str) -> Result<Self, WeightsError> {
        let this: Self = read_json(path, index)?;
        if let Some(shard) = this.weight_map.values().find(|s| !is_plain(s) || !s.ends_with(".safetensors")) {
            let shard = shard.chars().take(96).collect();
            return Err(ShardError::BadName { index: index.to_owned(), shard }.into());
        }
        match this.shards().len() {
            0 => Err(ShardError::Empty { index: index.to_owned() }.into()),
            shards if shards > MAX_SHARDS => {
                Err(ShardError::TooMany { index: index.to_owned(), shards }.into())
            }
            _ => Ok(this),
        }
    }

    fn shards(&self) -> BTreeSet<&str> {
        self.weight_map.values().map(String::as_str).collect()
    }
}

/// The shards that the index at `path` names, each one a plain file name.
#[cfg(feature = "hub")]
pub(super) fn shard_names(path: &Path, index: &str) -> Result<Vec<String>, WeightsError> {
    Ok(ShardIndex::read(path, index)?.shards().into_iter().map(str::to_owned).collect())
}

/// The weights among the files of a folder: the name of the single file, or of the index.
///
/// `listed` tells which files there are; the order is the one in which transformers and diffusers look.
pub(super) fn find_weights(listed: impl Fn(&str) -> bool) -> Option<&'static str> {
    const NAMES: [&str; 4] = [
        "model.safetensors",
        "model.safetensors.index.json",
        "diffusion_pytorch_model.safetensors",
        "diffusion_pytorch_model.safetensors.index.json",
    ];
    NAMES.into_iter().find(|name| listed(name))
}

/// The only safetensors file of a folder whose weights have no standard name.
pub(super) fn only_safetensors(folder: &Path) -> Option<PathBuf> {
    let entries = folder.read_dir().ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut found =
        entries.filter(|path| path.extension().is_some_and(|e| e == "safetensors") && path.is_file());
    let only = found.next()?;
    found.next().is_none().then_some(only)
}
