//! From a model's name to its tensors.
//!
//! Model files come from strangers. candle and its readers trust sizes that a header states, abort where an
//! allocation fails, and take one copy of the weights per model. This module stands in front of them:
//!
//! ```text
//! ModelSource  what the user typed: a folder, a GGUF file, org/name@revision
//!     |  resolve            (hub: fetch into the cache that Python shares)
//! ModelFiles   a folder of files, or one GGUF file ([`gguf`])
//!     |  folder
//! ModelFolder  the files; configurations are read here, within a limit
//!     |  weight_files       headers checked, nothing loaded: the footprint is known here
//! WeightFiles
//!     |  WeightStore::open
//! WeightStore  the tensors, each read and converted when it is asked for, never mapped
//! ```
//!
//! What holds at each step, whatever the bytes are:
//!
//! - a typed error or a value, never a panic and never an allocation larger than the file justifies;
//! - a name from inside a file is joined to a path only if it is plain ([`ModelFolder`] on links);
//! - the weights are in memory once: in the network that asks for them, which every worker of the key shares.
//!   Loading takes little more than that, and a failed load leaves no memory and no file open;
//! - safetensors and GGUF only. Pickle can run code, legacy GGML cannot be checked; both are refused with the reason.
//!
//! ```no_run
//! use candle_core::{DType, Device};
//! use millpond::weights::{ModelFolder, WeightStore};
//!
//! let folder = ModelFolder::local("models/tiny")?;
//! let files = folder.weight_files()?;
//! println!("{} will take {}", folder.label(), files.predicted_bytes(DType::F32));
//! let weights = WeightStore::open(&files, DType::F32, &Device::Cpu)?;
//! let table = weights.tensor("embeddings.word_embeddings.weight", (30522, 384))?;
//! # let _ = table;
//! # Ok::<(), millpond::weights::WeightsError>(())
//! ```

mod digest;
mod error;
mod folder;
pub mod gguf;
#[cfg(feature = "hub")]
pub mod hub;
mod json;
mod model_id;
mod plain_name;
mod safetensors;
mod source;
mod store;
pub mod validate;

pub use digest::{NoSha256, Sha256};
pub use error::WeightsError;
pub use folder::ModelFolder;
pub use gguf::{GgufError, GgufFile};
#[cfg(feature = "hub")]
pub use hub::{DownloadProgress, Hub, HubConfig, HubError};
pub(crate) use json::read_bounded;
pub use json::{JsonError, MAX_JSON, OutOfRange, check_range};
pub use model_id::{InvalidModelId, ModelId};
pub(crate) use plain_name::{is_plain, is_relative};
pub use safetensors::{MAX_SHARDS, ShardError, WeightFiles};
pub use source::{ModelFiles, ModelSource, SourceError};
pub use store::WeightStore;
pub use validate::{Flaw, TensorInfo};
