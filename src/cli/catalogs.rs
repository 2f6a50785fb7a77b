//! Where names are looked up, and what they lead to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;

use super::failure::Failure;
use crate::catalog::{Catalog, Manifest};
use crate::weights::{ModelSource, SourceError, WeightsError};

/// Which catalog to use.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct CatalogArgs {
    /// The folder of manifests (NAME.toml) that short names are looked up in. Default: ./models, then the
    /// models that came with millpond's source.
    #[arg(long, value_name = "DIR", env = "MILLPOND_CATALOG")]
    catalog: Option<PathBuf>,
}

/// What names mean: of several catalogs that have one, the nearest decides.
pub(super) struct Catalogs(BTreeMap<String, Named>);

/// What a name of a catalog means.
#[derive(Clone)]
pub(super) struct Named {
    pub(super) source: ModelSource,
    pub(super) manifest: Manifest,
}

/// What a name, a path or an id leads to.
pub(super) struct Found {
    pub(super) source: ModelSource,
    /// Of a name that a catalog has.
    pub(super) manifest: Option<Manifest>,
}

impl From<Named> for Found {
    fn from(Named { source, manifest }: Named) -> Self {
        Self { source, manifest: Some(manifest) }
    }
}

impl CatalogArgs {
    /// The catalog in `folder`, if one is named.
    pub(super) fn of(folder: Option<PathBuf>) -> Self {
        Self { catalog: folder }
    }

    pub(super) fn open(&self) -> Result<Catalogs, Failure> {
        if let Some(folder) = &self.catalog {
            return Ok(Catalogs::of(&[Catalog::open(folder).map_err(crate::Error::from)?]));
        }
        let looked = folders();
        let opened = looked.iter().filter(|folder| folder.is_dir()).filter_map(|folder| {
            // Nobody said that a folder called "models" is ours: what is not, is passed over.
            Catalog::open(folder).inspect_err(|error| tracing::info!(%error, "no catalog")).ok()
        });
        let catalogs = Catalogs::of(&opened.collect::<Vec<_>>());
        if catalogs.0.is_empty() { Err(Failure::NoCatalog { looked }) } else { Ok(catalogs) }
    }

    /// A path that exists, else a name of the catalog, else a model on the hub.
    pub(super) fn find(&self, name: &str) -> Result<Found, Failure> {
        let not_found = || WeightsError::from(SourceError::NotFound { name: name.to_owned() });
        let elsewhere = |source: ModelSource| Found { source, manifest: None };
        if Path::new(name).exists() {
            let parsed = name.parse().map_err(WeightsError::from).map_err(crate::Error::from)?;
            return Ok(elsewhere(parsed));
        }
        if looks_like_a_path(name) {
            return Err(crate::Error::from(not_found()).into());
        }
        let parsed = name.parse::<ModelSource>();
        if name.contains('/') {
            return Ok(elsewhere(parsed.map_err(WeightsError::from).map_err(crate::Error::from)?));
        }
        match (self.open()?.get(name), parsed) {
            (Ok(named), _) => Ok(named.into()),
            (Err(_), Err(error)) if !matches!(error, SourceError::InvalidModelId(_)) => {
                Err(crate::Error::from(WeightsError::from(error)).into())
            }
            (Err(unknown), _) => Err(unknown),
        }
    }
}

/// Whether nobody could mean a model on the hub by it.
fn looks_like_a_path(name: &str) -> bool {
    let repo = name.split('@').next().unwrap_or(name);
    name.is_empty()
        || name.starts_with(['/', '.', '~'])
        || name.contains('\\')
        || repo.matches('/').count() > 1
}

/// Beside the user, and where millpond was compiled.
fn folders() -> Vec<PathBuf> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let here = PathBuf::from("models");
    let same = here.canonicalize().is_ok_and(|here| shipped.canonicalize().is_ok_and(|it| it == here));
    if same { vec![here] } else { vec![here, shipped] }
}

impl Catalogs {
    /// All names of `catalogs`, of which the nearest comes first.
    fn of(catalogs: &[Catalog]) -> Self {
        let mut named = BTreeMap::new();
        for catalog in catalogs {
            for manifest in catalog.manifests() {
                let new = || Named { source: catalog.source_of(manifest), manifest: manifest.clone() };
                named.entry(manifest.name.clone()).or_insert_with(new);
            }
        }
        Self(named)
    }

    /// What `name` means.
    pub(super) fn get(&self, name: &str) -> Result<Named, Failure> {
        let unknown =
            || Failure::UnknownModel { name: name.to_owned(), known: self.0.keys().cloned().collect() };
        self.0.get(name).cloned().ok_or_else(unknown)
    }

    /// What all names mean, in their order.
    pub(super) fn into_all(self) -> impl Iterator<Item = Named> {
        self.0.into_values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_from_model_ids() {
        for path in ["/models/x", "./x", "../x", "~/x", "a/b/c", "a/b/", r"a\b", ""] {
            assert!(looks_like_a_path(path), "{path}");
        }
        for name in ["x", "org/name", "org/name@refs/pr/21"] {
            assert!(!looks_like_a_path(name), "{name}");
        }
    }
}
