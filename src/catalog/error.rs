//! What is wrong with a catalog.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::id::ByteSize;

/// A catalog could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// The folder or a file in it could not be read.
    #[error("could not read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A manifest is not what it should be.
    #[error("{}: {flaw}", Place { path, line: *line, field: field.as_deref() })]
    Manifest {
        /// Which.
        path: PathBuf,
        /// Where in it, if that can be told, counted from 1.
        line: Option<usize>,
        /// Of which field, if it is one's.
        field: Option<String>,
        /// What is wrong.
        flaw: Flaw,
    },
    /// A manifest is too long to be one.
    #[error("{} is longer than {most}: that is no manifest", path.display())]
    TooLong {
        /// Which.
        path: PathBuf,
        /// How long one may be.
        most: ByteSize,
    },
    /// There are too many manifests.
    #[error("{} has more than {most} manifests: keep those that are used, or divide them among several folders", folder.display())]
    TooMany {
        /// Where.
        folder: PathBuf,
        /// How many there may be.
        most: usize,
    },
}

impl CatalogError {
    /// The manifest at `path` has a flaw, in this line and of this field as far as that can be told.
    pub(super) fn manifest(path: &Path, (line, field): (Option<usize>, Option<String>), flaw: Flaw) -> Self {
        Self::Manifest { path: path.to_owned(), line, field, flaw }
    }
}

/// What is wrong with a manifest, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Flaw {
    /// It is no TOML, or a value has not the type that its field has.
    #[error("{0}")]
    Toml(String),
    /// The file's name is no model's.
    #[error("a model's name has letters, digits, '.', '_' and '-', at most 64; rename the file")]
    Name,
    /// A text is empty.
    #[error("it is empty; write what it is")]
    Empty,
    /// A text is longer than anybody wants to see.
    #[error("it is longer than {most} characters; shorten it")]
    TooLong {
        /// How long it may be.
        most: usize,
    },
    /// A text would move the cursor or change the terminal.
    #[error("it holds a control character or a line break; write plain text on one line")]
    ControlCharacter,
    /// A list names something twice.
    #[error("it names {0} twice; name it once")]
    Twice(String),
    /// A path of a weight file leads out of the model's folder.
    #[error("{0:?} is no file inside of a model's folder; write a path like unet/model.safetensors")]
    OutsideFolder(String),
    /// A table of digests is longer than any model's.
    #[error("it has more than {most} files; no model has")]
    TooManyFiles {
        /// How many there may be.
        most: usize,
    },
}

/// `models/x.toml, line 3, "license"`.
struct Place<'a> {
    path: &'a Path,
    line: Option<usize>,
    field: Option<&'a str>,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        self.field.map_or(Ok(()), |field| write!(f, ", {field:?}"))
    }
}
