//! Why a model cannot be made of its files.

use crate::image::PreprocessorError;
use crate::text::{RecipeError, TokenizerError};
use crate::weights::{GgufError, WeightsError};

/// A model cannot be made of its files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchError {
    /// The folder lacks a file that every model of this kind has.
    #[error("{folder} has no {name}")]
    MissingFile {
        /// The file.
        name: &'static str,
        /// The folder, as it was named.
        folder: String,
    },
    /// The files ask for something that is not implemented here.
    #[error("{what} {found:?} is not supported; supported: {}", supported.join(", "))]
    Unsupported {
        /// The thing of which this is one kind, such as "architecture".
        what: &'static str,
        /// Which kind it is.
        found: String,
        /// The kinds that would do.
        supported: Vec<&'static str>,
    },
    /// A number in `config.json` is out of bounds or does not go with the others.
    #[error("config.json: {field} is {found}, but {expected}")]
    BadConfig {
        /// The entry.
        field: &'static str,
        /// What it says.
        found: String,
        /// What it may say.
        expected: String,
    },
    /// A file cannot be read, or its tensors are not those the configuration promises.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The tokenizer is unusable.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The sentence-transformers files ask for something that is not implemented here.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The preprocessing of pictures asks for something that is not implemented here.
    #[error(transparent)]
    Preprocessor(#[from] PreprocessorError),
    /// Rearranging the loaded tensors failed.
    #[error("tensor operation failed")]
    Tensor(#[from] candle_core::Error),
}

impl From<GgufError> for ArchError {
    fn from(error: GgufError) -> Self {
        Self::Weights(error.into())
    }
}
