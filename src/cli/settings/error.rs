//! What is wrong with a setting, and where it was written.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::names::Setting;
use crate::id::ByteSize;
use crate::server::{Exposed, WeakKey};

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Origin {
    /// Nowhere.
    Default,
    /// In a file, on this line.
    File { file: Arc<str>, line: usize },
    /// In the environment.
    Variable(String),
    /// On the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { file, line } => write!(f, "{file}:{line}"),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(flag) => write!(f, "--{flag}"),
        }
    }
}

impl Origin {
    /// What goes before what: the more it is, the more it counts.
    pub(super) fn weight(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File { .. } => 1,
            Self::Variable(_) => 2,
            Self::Flag(_) => 3,
        }
    }

    /// What kind of place it is.
    pub(in crate::cli) fn kind(&self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File { .. } => "file",
            Self::Variable(_) => "environment",
            Self::Flag(_) => "flag",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum Flaw {
    /// A file could not be read.
    #[error("{file} cannot be read: {source}")]
    Unreadable { file: String, source: io::Error },
    /// A file is absurdly long.
    #[error("{file} is longer than {limit}: is this the right file?")]
    TooLong { file: String, limit: ByteSize },
    /// The file is no TOML.
    #[error("{at}: {message}")]
    NotToml { at: Origin, message: String },
    /// There is no such setting.
    #[error("{at}: there is no setting {name:?} {place}{}", hint(*nearest, known))]
    Unknown {
        at: Origin,
        name: String,
        place: &'static str,
        nearest: Option<&'static str>,
        known: Vec<&'static str>,
    },
    /// It is about the server, and stands in a model's table.
    #[error(
        "{at}: {name} is not of a model; it belongs to the top of the file, before the first [models...]"
    )]
    Misplaced { at: Origin, name: String },
    /// It holds what it cannot.
    #[error("{at}: {name} is {found}; expected {expected}")]
    Value { at: Origin, name: String, found: String, expected: String },
    /// Models are by capability, and there is no such.
    #[error("{at}: models are by what they do, as in [models.{}.NAME]; there is no {name:?}", nearest.unwrap_or("auto"))]
    Capability { at: Origin, name: String, nearest: Option<&'static str> },
    /// A model's table does not say which model.
    #[error("{at}: [models.{model}] has no source: say which model, as in source = \"all-minilm-l6-v2\"")]
    NoSource { at: Origin, model: String },
    /// A name has two models.
    #[error("{at}: {key:?} is the name of another model already, at {before}; give one of them another name")]
    Twice { at: Origin, before: Origin, key: String },
    /// Two settings of a model do not go together.
    #[error("{at}: {name} and {other} do not go together: {why}")]
    Together { at: Origin, name: &'static str, other: &'static str, why: &'static str },
    /// A key that anybody could guess.
    #[error("{at}: {source}")]
    WeakKey { at: Origin, source: WeakKey },
    /// The server would answer whoever is on the net.
    #[error("{at}: {source}")]
    Exposed { at: Origin, source: Exposed },
}

/// All that is wrong, in the order in which it was found; at least one thing.
#[derive(Debug)]
pub(in crate::cli) struct Flaws(pub(in crate::cli) Vec<Flaw>);

impl fmt::Display for Flaws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&told.join("; "))
    }
}

impl std::error::Error for Flaws {}

impl Flaws {
    /// Whether the command was called wrongly: nothing of it is in a file.
    pub(in crate::cli) fn are_usage(&self) -> bool {
        !self.0.iter().any(Flaw::is_of_a_file)
    }
}

impl From<Flaw> for Flaws {
    fn from(flaw: Flaw) -> Self {
        Self(vec![flaw])
    }
}

impl Flaw {
    /// Where it was written; nowhere, if a file cannot be read at all.
    fn at(&self) -> Option<&Origin> {
        match self {
            Self::Unreadable { .. } | Self::TooLong { .. } => None,
            Self::NotToml { at, .. }
            | Self::Unknown { at, .. }
            | Self::Misplaced { at, .. }
            | Self::Value { at, .. }
            | Self::Capability { at, .. }
            | Self::NoSource { at, .. }
            | Self::Twice { at, .. }
            | Self::Together { at, .. }
            | Self::WeakKey { at, .. }
            | Self::Exposed { at, .. } => Some(at),
        }
    }

    fn is_of_a_file(&self) -> bool {
        matches!(self.at(), None | Some(Origin::File { .. }))
    }

    /// The line of its file.
    pub(super) fn line(&self) -> Option<usize> {
        match self.at() {
            Some(Origin::File { line, .. }) => Some(*line),
            _ => None,
        }
    }

    /// That `setting`, called `name` where it stands, is `found`.
    pub(super) fn value(at: Origin, name: String, setting: &Setting, found: &str) -> Self {
        let shown: String = found.chars().take(80).collect();
        let found = if setting.is_secret() { "not usable".to_owned() } else { shown };
        Self::Value { at, name, found, expected: setting.kind.expected() }
    }
}

fn hint(nearest: Option<&str>, known: &[&str]) -> String {
    match nearest {
        Some(name) => format!("; did you mean {name}?"),
        None => format!("; there are {}", known.join(", ")),
    }
}
