//! Manifests: what a short name stands for.
//!
//! A catalog is a folder of `<name>.toml` files, one per model. The ones that come with millpond are in
//! `models/`; applications may keep their own. `models/README.md` says what each field means.
//!
//! Catalogs are hostile until read: only regular files are opened, each within a limit, so many and no more;
//! what is shown to people holds no control characters, and what is joined to a path is plain.

mod error;
mod manifest;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

pub use error::{CatalogError, Flaw};
pub use manifest::{Fact, Manifest, ManifestSource, PredictedMemory, StoredDtype};

use crate::id::ByteSize;
use crate::weights::{ModelSource, is_plain, read_bounded};

/// No manifest is longer.
const MAX_MANIFEST: ByteSize = ByteSize::kib(64);

/// No catalog has more.
const MAX_MANIFESTS: usize = 1024;

/// No name is longer, in bytes.
const MAX_NAME: usize = 64;

/// The manifests of one folder, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    folder: PathBuf,
    manifests: BTreeMap<String, Manifest>,
}

impl Catalog {
    /// Reads every `<name>.toml` in `folder` whose name does not begin with a dot.
    ///
    /// # Errors
    ///
    /// [`CatalogError`] for a folder or file that cannot be read, for more manifests than a catalog has, and for
    /// the first that is not what it should be.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, CatalogError> {
        let folder = folder.into();
        let read = |source| CatalogError::Read { path: folder.clone(), source };
        let mut manifests = BTreeMap::new();
        for entry in std::fs::read_dir(&folder).map_err(read)? {
            let path = entry.map_err(read)?.path();
            let Some(stem) = manifest_stem(&path) else { continue };
            if manifests.len() == MAX_MANIFESTS {
                return Err(CatalogError::TooMany { folder, most: MAX_MANIFESTS });
            }
            if !is_name(&stem) {
                return Err(CatalogError::manifest(&path, (None, None), Flaw::Name));
            }
            let manifest = Manifest::parse(&read_text(&path)?, &path)?;
            manifests.insert(stem.clone(), Manifest { name: stem, ..manifest });
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

    /// What to load for `manifest`, which is one of this catalog's. Nobody has looked whether it is there.
    pub fn source_of(&self, manifest: &Manifest) -> ModelSource {
        match &manifest.source {
            ManifestSource::Folder(path) => ModelSource::Folder(self.folder.join(path)),
            ManifestSource::Gguf(path) => ModelSource::Gguf(self.folder.join(path)),
            ManifestSource::Hub(id) => ModelSource::Hub(id.clone()),
        }
    }
}

/// The name before `.toml`, if the file has one that somebody meant: editors leave hidden ones behind.
fn manifest_stem(path: &Path) -> Option<String> {
    let is_toml = path.extension().is_some_and(|extension| extension == "toml");
    let stem = path.file_stem()?.to_string_lossy().into_owned();
    (is_toml && !stem.starts_with('.')).then_some(stem)
}

/// Whether people can be shown a name and can type it.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    name.len() <= MAX_NAME && name.bytes().all(plain) && !name.starts_with('-') && is_plain(name)
}

fn read_text(path: &Path) -> Result<String, CatalogError> {
    let read = |source| CatalogError::Read { path: path.to_owned(), source };
    let too_long = || CatalogError::TooLong { path: path.to_owned(), most: MAX_MANIFEST };
    let bytes = read_bounded(path, MAX_MANIFEST).map_err(read)?.ok_or_else(too_long)?;
    String::from_utf8(bytes).map_err(|error| read(io::Error::new(io::ErrorKind::InvalidData, error)))
}

#[cfg(test)]
mod tests;
