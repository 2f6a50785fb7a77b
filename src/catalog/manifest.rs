//! One manifest: its fields, and what they may hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::error::{CatalogError, Flaw};
use crate::capability::Capabilities;
use crate::id::ByteSize;
use crate::weights::{ModelId, Sha256, is_relative};

const MAX_DESCRIPTION: usize = 200;
const MAX_WORD: usize = 64;
const MAX_FILES: usize = 4096;

/// One model: what it does, where it comes from, and what it takes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Manifest {
    /// What it is called: the file's name without `.toml`.
    #[serde(skip)]
    pub name: String,
    /// What it can do, the foremost first; at least one thing.
    #[serde(rename = "capability", deserialize_with = "one_or_several")]
    pub capabilities: Vec<Capabilities>,
    /// What it is, in a sentence.
    pub description: String,
    /// Where its files are.
    pub source: ManifestSource,
    /// The licence of its weights.
    pub license: String,
    /// The family of its network, as `millpond inspect` calls it.
    pub architecture: Option<String>,
    /// In what most of its weights are published.
    pub dtype: Option<StoredDtype>,
    /// Of its weight files together: nearly all there is to fetch.
    pub size: Option<ByteSize>,
    /// What it would take to serve it with one worker of four threads.
    #[serde(default)]
    pub memory: PredictedMemory,
    /// The digest of each weight file, by its path in the model's folder.
    #[serde(default, deserialize_with = "digests")]
    pub sha256: BTreeMap<String, Sha256>,
    /// What of all this nobody has compared with the model's files.
    #[serde(default)]
    pub unchecked: BTreeSet<Fact>,
}

/// Where a model's files are.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ManifestSource {
    /// A folder, relative to the catalog's.
    Folder(PathBuf),
    /// A GGUF file, relative to the catalog's folder.
    Gguf(PathBuf),
    /// `org/name[@revision]` on the hub.
    Hub(#[serde(deserialize_with = "from_text")] ModelId),
}

/// In what a model's weights are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
#[allow(missing_docs, reason = "their names are all there is to say")]
pub enum StoredDtype {
    F32,
    F16,
    Bf16,
}

impl StoredDtype {
    /// As manifests spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }
}

impl fmt::Display for StoredDtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Something that a manifest says or leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
#[allow(missing_docs, reason = "each is the field of its name; a revision is part of the source")]
pub enum Fact {
    Architecture,
    Dtype,
    License,
    Memory,
    Revision,
    Sha256,
    Size,
}

impl Fact {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Architecture,
        Self::Dtype,
        Self::License,
        Self::Memory,
        Self::Revision,
        Self::Sha256,
        Self::Size,
    ];

    /// As manifests spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Architecture => "architecture",
            Self::Dtype => "dtype",
            Self::License => "license",
            Self::Memory => "memory",
            Self::Revision => "revision",
            Self::Sha256 => "sha256",
            Self::Size => "size",
        }
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Memory with one worker of four threads, by how the weights are kept. What is not known is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PredictedMemory {
    /// With `--dtype f32`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub f32: Option<ByteSize>,
    /// With `--dtype bf16`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bf16: Option<ByteSize>,
    /// With `--quantize q4_k`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q4_k: Option<ByteSize>,
}

impl Manifest {
    /// Reads and checks the text of the manifest at `path`.
    pub(super) fn parse(text: &str, path: &Path) -> Result<Self, CatalogError> {
        let manifest: Self = toml::from_str(text).map_err(|error| {
            CatalogError::manifest(path, place_of(&error, text), Flaw::Toml(error.message().to_owned()))
        })?;
        let flawed = |(field, flaw)| {
            CatalogError::manifest(path, (line_of(text, field), Some(String::from(field))), flaw)
        };
        manifest.check().map_err(flawed)?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), (&'static str, Flaw)> {
        let Self { capabilities, description, license, architecture, sha256, .. } = self;
        if capabilities.is_empty() {
            return Err(("capability", Flaw::Empty));
        }
        if let Some(twice) = capabilities.iter().enumerate().find(|(i, it)| capabilities[..*i].contains(it)) {
            return Err(("capability", Flaw::Twice(twice.1.to_string())));
        }
        plain_text("description", description, MAX_DESCRIPTION)?;
        plain_text("license", license, MAX_WORD)?;
        architecture.as_ref().map_or(Ok(()), |name| plain_text("architecture", name, MAX_WORD))?;
        if sha256.len() > MAX_FILES {
            return Err(("sha256", Flaw::TooManyFiles { most: MAX_FILES }));
        }
        match sha256.keys().find(|path| !is_relative(path)) {
            Some(path) => Err(("sha256", Flaw::OutsideFolder(path.chars().take(MAX_WORD).collect()))),
            None => Ok(()),
        }
    }
}

fn plain_text(field: &'static str, text: &str, most: usize) -> Result<(), (&'static str, Flaw)> {
    let flaw = match text {
        _ if text.trim().is_empty() => Flaw::Empty,
        _ if text.chars().any(char::is_control) => Flaw::ControlCharacter,
        _ if text.chars().count() > most => Flaw::TooLong { most },
        _ => return Ok(()),
    };
    Err((field, flaw))
}

/// The line of an error, from 1, and the field that it is in. A field that is missing is nowhere; its name is in
/// the message.
fn place_of(error: &toml::de::Error, text: &str) -> (Option<usize>, Option<String>) {
    let before = error.span().and_then(|span| text.get(..span.start));
    let Some(before) = before.filter(|_| !error.message().starts_with("missing field")) else {
        return (None, None);
    };
    let at = before.matches('\n').count();
    let mut upwards = text.lines().take(at + 1).collect::<Vec<_>>().into_iter().rev();
    let field = upwards.find_map(|line| Some(line.split_once('=')?.0.trim().to_owned()));
    (Some(at + 1), field.filter(|field| !field.is_empty() && field.len() <= MAX_WORD))
}

/// The line that sets a field, from 1.
fn line_of(text: &str, field: &str) -> Option<usize> {
    let sets = |line: &str| {
        line.trim_start_matches('[')
            .strip_prefix(field)
            .is_some_and(|rest| rest.trim_start().starts_with(['=', ']']))
    };
    text.lines().position(sets).map(|at| at + 1)
}

fn from_text<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(
    deserializer: D,
) -> Result<T, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

fn digests<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Sha256>, D::Error> {
    let written = BTreeMap::<String, String>::deserialize(deserializer)?;
    let digest = |(path, text): (String, String)| Ok((path, text.parse().map_err(D::Error::custom)?));
    written.into_iter().map(digest).collect()
}

/// A name, or a list of names.
fn one_or_several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Capabilities>, D::Error> {
    struct Names;

    impl<'de> Visitor<'de> for Names {
        type Value = Vec<Capabilities>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the name of a capability, or a list of them")
        }

        fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
            Ok(vec![name.parse().map_err(E::custom)?])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Self::Value, A::Error> {
            let mut found = Vec::new();
            while let Some(name) = names.next_element::<String>()? {
                found.push(name.parse().map_err(A::Error::custom)?);
            }
            Ok(found)
        }
    }

    deserializer.deserialize_any(Names)
}
