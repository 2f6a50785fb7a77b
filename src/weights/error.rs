//! What can go wrong between a model's name and its tensors.

use std::io;

use candle_core::{DType, Shape};
use safetensors::Dtype;

use super::gguf::GgufError;
use super::json::{JsonError, OutOfRange};
use super::safetensors::ShardError;
use super::source::SourceError;
use super::validate::Flaw;
use crate::id::ByteSize;

/// Why a model's files could not become tensors.
///
/// Messages name files by the model's folder and the file's name, never by a full path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The name leads to no servable model.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A JSON file is unusable.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A configuration holds a number no model has.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// A GGUF file, or something in it, is unusable.
    #[error(transparent)]
    Gguf(Box<GgufError>),
    /// The shards of a model do not fit together.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// The hub could not provide the model.
    #[cfg(feature = "hub")]
    #[error(transparent)]
    Hub(#[from] super::hub::HubError),
    /// A weights file is refused before it is loaded.
    #[error("{file} is refused as safetensors: {flaw}; download or convert it again")]
    Invalid {
        /// Folder and file name.
        file: String,
        /// What is wrong with it.
        #[source]
        flaw: Flaw,
    },
    /// A weights file cannot be opened or read.
    #[error("{file} cannot be read")]
    Read {
        /// Folder and file name.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// A weights file is not the one that was checked.
    #[error(
        "{file} had {expected} bytes when it was checked and has {found} now; let no one write it while it loads"
    )]
    Changed {
        /// Folder and file name.
        file: String,
        /// The length the header was checked against.
        expected: u64,
        /// The length at load.
        found: u64,
    },
    /// The weights lack a tensor the architecture needs.
    #[error("{model} has no tensor {name:?}{}", did_you_mean(near))]
    MissingTensor {
        /// The model's label.
        model: String,
        /// The name asked for.
        name: String,
        /// Up to three names like it.
        near: Vec<String>,
    },
    /// A tensor does not have the shape that the configuration implies.
    #[error("tensor {name:?} of {model} has shape {found:?} where its configuration implies {expected:?}")]
    WrongShape {
        /// The model's label.
        model: String,
        /// The tensor.
        name: String,
        /// The shape asked for.
        expected: Shape,
        /// The shape in the file.
        found: Shape,
    },
    /// A tensor is stored in a form that candle cannot compute with.
    #[error(
        "tensor {name:?} of {model} is stored as {dtype}, which cannot be computed with; convert it to F32, F16 or BF16"
    )]
    UnsupportedDtype {
        /// The model's label.
        model: String,
        /// The tensor.
        name: String,
        /// How the file stores it.
        dtype: Dtype,
    },
    /// Weights were asked for in a dtype that holds no weights.
    #[error("weights cannot be loaded as {}; choose f32, bf16 or f16", .0.as_str())]
    UnsupportedTarget(DType),
    /// The system does not have the memory, whatever the budget says.
    #[error("{model} needs {needed} of memory, which the system refuses")]
    OutOfMemory {
        /// The model's label.
        model: String,
        /// What the weights take once loaded.
        needed: ByteSize,
    },
    /// candle could not build a tensor.
    #[error("a tensor could not be made")]
    Candle(#[from] candle_core::Error),
}

impl From<GgufError> for WeightsError {
    fn from(error: GgufError) -> Self {
        Self::Gguf(Box::new(error))
    }
}

fn did_you_mean(near: &[String]) -> String {
    let near: Vec<String> = near.iter().map(|name| format!("{name:?}")).collect();
    if near.is_empty() { String::new() } else { format!("; the nearest are {}", near.join(", ")) }
}
