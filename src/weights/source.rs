//! What a user may write where a model is asked for.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::error::WeightsError;
use super::folder::ModelFolder;
use super::gguf::GgufFile;
use super::model_id::{InvalidModelId, ModelId};

/// A model as a user names it.
///
/// What exists on disk wins over the hub: `org/name` is a model id only where no such path exists. Use
/// [`ModelId`] where the name comes from a stranger, who must not choose paths.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ModelSource {
    /// A folder in Hugging Face or diffusers layout.
    Folder(PathBuf),
    /// A single GGUF file.
    Gguf(PathBuf),
    /// A model on a hub.
    Hub(ModelId),
}

/// The files of a model, on this machine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ModelFiles {
    /// A folder in Hugging Face or diffusers layout. Nothing in it has been read.
    Folder(ModelFolder),
    /// A single GGUF file, its description checked.
    Gguf(GgufFile),
}

impl ModelFiles {
    /// The folder, for what is served from folders only.
    pub fn folder(self) -> Result<ModelFolder, WeightsError> {
        match self {
            Self::Folder(folder) => Ok(folder),
            Self::Gguf(file) => Err(SourceError::Gguf { file: file.label().to_owned() }.into()),
        }
    }
}

/// Why a name leads to no servable model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant's message describes its fields")]
pub enum SourceError {
    #[error(transparent)]
    InvalidModelId(#[from] InvalidModelId),
    #[error("there is no {name:?} on this machine; check the path")]
    NotFound { name: String },
    #[error("{file:?} is a pickle, which can run any code when it is opened; convert it to safetensors")]
    Pickle { file: String },
    #[error(
        "{folder} has weights only as {file:?}, a pickle, which can run any code when it is opened; convert it to safetensors"
    )]
    PickleOnly { folder: String, file: String },
    #[error(
        "{file:?} is legacy GGML, a format without the sizes that would let it be checked; convert it to safetensors"
    )]
    LegacyGgml { file: String },
    #[error(
        "{file:?} is GGUF: text generation takes the file itself, everything else the model's safetensors"
    )]
    Gguf { file: String },
    #[error("{file:?} is no model; give its folder, with config.json and safetensors weights in it")]
    NotAModel { file: String },
    #[error(
        "{folder} has no safetensors weights; give a folder with model.safetensors or model.safetensors.index.json"
    )]
    NoWeights { folder: String },
    #[error(
        "{folder} has several safetensors files and none called model.safetensors; rename the one that is meant"
    )]
    SeveralWeights { folder: String },
    #[error("{name:?} is no plain file name")]
    BadFileName { name: String },
    #[error(
        "{id} is a model on a hub, and this build cannot download; rebuild with the feature \"hub\" or give a local folder"
    )]
    HubDisabled { id: String },
}

impl SourceError {
    /// Chooses the message for a model that has the files `names`, none of them usable as weights.
    pub(super) fn no_weights<'a>(folder: String, names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut pickle = None;
        let mut gguf = None;
        let mut safetensors = 0;
        for name in names {
            match Format::of(name) {
                Some(Format::Pickle) if name != "training_args.bin" => pickle = Some(name),
                Some(Format::Gguf) => gguf = Some(name),
                Some(Format::Safetensors) => safetensors += 1,
                _ => {}
            }
        }
        match (safetensors, pickle, gguf) {
            (2.., _, _) => Self::SeveralWeights { folder },
            (_, Some(file), _) => Self::PickleOnly { folder, file: file.to_owned() },
            (_, None, Some(file)) => Self::Gguf { file: file.to_owned() },
            (_, None, None) => Self::NoWeights { folder },
        }
    }
}

enum Format {
    Gguf,
    LegacyGgml,
    Pickle,
    Safetensors,
}

impl Format {
    fn of(name: &str) -> Option<Self> {
        let (_, extension) = name.rsplit_once('.')?;
        match extension.to_ascii_lowercase().as_str() {
            "gguf" => Some(Self::Gguf),
            "ggml" | "ggjt" => Some(Self::LegacyGgml),
            "bin" if name.to_ascii_lowercase().contains("ggml") => Some(Self::LegacyGgml),
            "bin" | "pt" | "pth" | "ckpt" | "pkl" | "pickle" => Some(Self::Pickle),
            "safetensors" => Some(Self::Safetensors),
            _ => None,
        }
    }
}

impl FromStr for ModelSource {
    type Err = SourceError;

    /// 1. A folder that exists.
    /// 2. A weights file, by its extension: served, or refused with the reason.
    /// 3. A model id.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = Path::new(text);
        if path.is_dir() {
            return Ok(Self::Folder(path.to_owned()));
        }
        let file =
            || path.file_name().map_or_else(|| text.to_owned(), |name| name.to_string_lossy().into_owned());
        let exists = path.exists();
        match Format::of(text) {
            Some(Format::Pickle) => return Err(SourceError::Pickle { file: file() }),
            Some(Format::LegacyGgml) => return Err(SourceError::LegacyGgml { file: file() }),
            Some(Format::Gguf) if exists => return Ok(Self::Gguf(path.to_owned())),
            _ if exists => return Err(SourceError::NotAModel { file: file() }),
            Some(Format::Gguf | Format::Safetensors) => return Err(SourceError::NotFound { name: file() }),
            None => {}
        }
        text.parse().map(Self::Hub).map_err(SourceError::from)
    }
}

impl fmt::Display for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) | Self::Gguf(path) => path.display().fmt(f),
            Self::Hub(id) => id.fmt(f),
        }
    }
}

impl ModelSource {
    /// The model's files; downloads them first, as the environment says ([`HubConfig::from_env`]), if they are
    /// on a hub.
    ///
    /// [`HubConfig::from_env`]: super::HubConfig::from_env
    #[cfg(feature = "hub")]
    pub fn resolve(&self) -> Result<ModelFiles, WeightsError> {
        self.resolve_with(&super::Hub::new(super::HubConfig::from_env()), &())
    }

    /// The model's files; downloads them from `hub` first if they are on one.
    #[cfg(feature = "hub")]
    pub fn resolve_with(
        &self,
        hub: &super::Hub,
        progress: &dyn super::DownloadProgress,
    ) -> Result<ModelFiles, WeightsError> {
        match self {
            Self::Hub(id) => hub.fetch(id, progress).map(ModelFiles::Folder),
            _ => self.resolve_local(),
        }
    }

    /// The model's files.
    #[cfg(not(feature = "hub"))]
    pub fn resolve(&self) -> Result<ModelFiles, WeightsError> {
        self.resolve_local()
    }

    fn resolve_local(&self) -> Result<ModelFiles, WeightsError> {
        match self {
            Self::Folder(path) => ModelFolder::local(path).map(ModelFiles::Folder),
            Self::Gguf(path) => Ok(ModelFiles::Gguf(GgufFile::open(path)?)),
            Self::Hub(id) => Err(SourceError::HubDisabled { id: id.to_string() }.into()),
        }
    }
}
