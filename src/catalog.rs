//! Manifests: what a short name stands for.
//!
//! A catalog is a folder of `<name>.toml` files, one per model. The ones that come with millpond are in
//! `models/`; applications may keep their own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::weights::{ModelSource, SourceError};

/// No manifest is longer.
const MAX_MANIFEST: u64 = 64 << 10;

/// One model: what it does and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Manifest {
    /// What it is called: the file's name without `.toml`.
    #[serde(skip)]
    pub name: String,
    /// The capability's name, such as `text-embedding`.
    pub capability: String,
    /// What it is, in a sentence.
    pub description: String,
    /// A folder beside the manifest, or `org/name[@revision]` on the hub.
    pub source: ManifestSource,
    /// The licence of its weights.
    pub license: String,
}

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ManifestSource {
    /// A folder, relative to the catalog's.
    Folder(PathBuf),
    /// An id on the hub.
    Hub(String),
}

/// A manifest could not be used.
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
    #[error("{}: {source}", path.display())]
    Manifest {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: toml::de::Error,
    },
    /// A manifest is too long to be one.
    #[error("{} is longer than {MAX_MANIFEST} bytes: that is no manifest", path.display())]
    TooLong {
        /// Which.
        path: PathBuf,
    },
    /// What a manifest names is no model.
    #[error("{name}: {source}")]
    Source {
        /// The manifest's name.
        name: String,
        /// Why.
        source: SourceError,
    },
}

/// The manifests of one folder, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    folder: PathBuf,
    manifests: BTreeMap<String, Manifest>,
}

impl Catalog {
    /// Reads every `<name>.toml` in `folder`.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, CatalogError> {
        let folder = folder.into();
        let read = |source| CatalogError::Read { path: folder.clone(), source };
        let mut manifests = BTreeMap::new();
        for entry in std::fs::read_dir(&folder).map_err(read)? {
            let path = entry.map_err(read)?.path();
            let name = path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
            if let (Some(name), true) = (name, path.extension().is_some_and(|extension| extension == "toml"))
            {
                let manifest = Manifest { name: name.clone(), ..read_manifest(&path)? };
                manifests.insert(name, manifest);
            }
        }
        Ok(Self { folder, manifests })
    }

    /// The manifests in the order of their names.
    pub fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.manifests.values()
    }

    /// The manifest of this name.
    pub fn get(&self, name: &str) -> Option<&Manifest> {
        self.manifests.get(name)
    }

    /// What to load for this name, if it is in the catalog.
    pub fn source(&self, name: &str) -> Option<Result<ModelSource, CatalogError>> {
        let manifest = self.get(name)?;
        let source = match &manifest.source {
            ManifestSource::Folder(relative) => self.folder.join(relative).to_string_lossy().parse(),
            ManifestSource::Hub(id) => id.parse(),
        };
        Some(source.map_err(|source| CatalogError::Source { name: name.to_owned(), source }))
    }
}

fn read_manifest(path: &Path) -> Result<Manifest, CatalogError> {
    let read = |source| CatalogError::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(read)?.len() > MAX_MANIFEST {
        return Err(CatalogError::TooLong { path: path.to_owned() });
    }
    let text = std::fs::read_to_string(path).map_err(read)?;
    toml::from_str(&text).map_err(|source| CatalogError::Manifest { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_manifests_can_be_read_and_found() {
        let catalog = Catalog::open(concat!(env!("CARGO_MANIFEST_DIR"), "/models")).unwrap();
        let manifest = catalog.get("shapes-embed").expect("it ships");
        assert_eq!(manifest.capability, "text-embedding");
        assert!(matches!(catalog.source("shapes-embed"), Some(Ok(ModelSource::Folder(_)))));
        assert!(catalog.source("no-such-model").is_none());
    }

    #[test]
    fn what_is_no_manifest_says_so() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("bad.toml"), "capability = 7").unwrap();
        assert!(matches!(Catalog::open(folder.path()), Err(CatalogError::Manifest { .. })));
        std::fs::write(folder.path().join("bad.toml"), " ".repeat(MAX_MANIFEST as usize + 1)).unwrap();
        assert!(matches!(Catalog::open(folder.path()), Err(CatalogError::TooLong { .. })));
        assert!(matches!(Catalog::open(folder.path().join("nowhere")), Err(CatalogError::Read { .. })));
    }
}
