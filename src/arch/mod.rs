//! The architectures: code that turns weights into answers, one module per family.
//!
//! Every family reads the same way: a `Config` that mirrors the model's `config.json`, blocks with `load`
//! and `forward`, shapes in comments, the paper and the reference implementation named on top. A family has
//! two halves, as the pool loads in two halves: weights, read once and shared by all workers of a model
//! ([`EncoderWeights`]), and the model that one worker owns ([`TextEmbedder`]), which copies nothing.
//!
//! [`Architecture::of`] is the one place where a model's own configuration decides which code runs it.
//!
//! Nothing here starts a worker, reserves memory or reads a clock.

mod decoder;
mod encoder;
mod error;
mod scope;

use serde::Deserialize;

pub use crate::text::{RecipeError, TokenizerError};
pub use decoder::DecoderConfig;
#[doc(hidden)]
pub use decoder::{Continuation, DecoderProbe, ProbeLimits, ProbeRun};
pub use encoder::{EncoderConfig, EncoderPlan, EncoderWeights, TextEmbedder, estimated_cost, footprint};
pub use error::ArchError;
pub(crate) use scope::{Bias, Scope};

use crate::weights::ModelFolder;

/// A family of networks that is implemented here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Architecture {
    /// BERT and what shares its graph: `MiniLM`, BGE, E5, GTE (base). Served by [`EncoderWeights`].
    Bert,
}

impl Architecture {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::Bert];

    /// The `model_type` that `config.json` gives it.
    pub const fn model_type(self) -> &'static str {
        match self {
            Self::Bert => "bert",
        }
    }

    /// What the folder's `config.json` says it is: by `model_type`, or where that is missing by the classes
    /// in `architectures`.
    ///
    /// # Errors
    ///
    /// [`ArchError::MissingFile`] without a `config.json`, [`ArchError::Unsupported`], which lists what is
    /// supported, for all that is not known here.
    pub fn of(folder: &ModelFolder) -> Result<Self, ArchError> {
        let named: Named = read_required(folder, "config.json")?;
        match (named.model_type.as_deref(), named.architectures.first().map(String::as_str)) {
            (Some("bert"), _) | (None, Some("BertModel" | "BertForMaskedLM")) => Ok(Self::Bert),
            (Some(other), _) | (None, Some(other)) => Err(unsupported(other)),
            (None, None) => Err(unsupported("a model without a type")),
        }
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
    let missing = || ArchError::MissingFile { name, folder: folder.label().to_owned() };
    folder.read_json(name)?.ok_or_else(missing)
}
