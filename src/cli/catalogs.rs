//! Where names are looked up, and what they lead to.

use std::path::{Path, PathBuf};

use clap::Args;

use super::failure::Failure;
use crate::catalog::{Catalog, Manifest};
use crate::weights::{ModelSource, SourceError, WeightsError};

/// Which catalog to use.
#[derive(Debug, Args)]
pub(super) struct CatalogArgs {
    /// The folder of manifests (NAME.toml) that short names are looked up in. Default: ./models, then the
    /// models that came with millpond's source.
    #[arg(long, value_name = "DIR", env = "MILLPOND_CATALOG")]
    catalog: Option<PathBuf>,
}

/// The catalogs there are, the nearest first.
pub(super) struct Catalogs(Vec<Catalog>);

/// What a name leads to.
pub(super) struct Found {
    pub(super) source: ModelSource,
    /// Of a name that a catalog has.
    pub(super) manifest: Option<Manifest>,
}

impl CatalogArgs {
    pub(super) fn open(&self) -> Result<Catalogs, Failure> {
        if let Some(folder) = &self.catalog {
            return Ok(Catalogs(vec![Catalog::open(folder).map_err(crate::Error::from)?]));
        }
        let looked = folders();
        let opened = looked.iter().filter(|folder| folder.is_dir()).filter_map(|folder| {
            // Nobody said that a folder called "models" is ours: what is not, is passed over.
            Catalog::open(folder).inspect_err(|error| tracing::info!(%error, "no catalog")).ok()
        });
        let catalogs: Vec<_> = opened.filter(|catalog| catalog.manifests().next().is_some()).collect();
        if catalogs.is_empty() { Err(Failure::NoCatalog { looked }) } else { Ok(Catalogs(catalogs)) }
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
        let catalogs = self.open()?;
        match (catalogs.find(name), parsed) {
            (Some(found), _) => Ok(found),
            (None, Err(error)) if !matches!(error, SourceError::InvalidModelId(_)) => {
                Err(crate::Error::from(WeightsError::from(error)).into())
            }
            (None, _) => Err(Failure::UnknownModel { name: name.to_owned(), known: catalogs.names() }),
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
    /// All models that names mean, those of the nearest catalog first: a name means the model of the nearest
    /// that has it.
    pub(super) fn all(&self) -> Vec<Found> {
        let mut seen = std::collections::BTreeSet::new();
        let names = self.0.iter().flat_map(Catalog::manifests).map(|manifest| manifest.name.as_str());
        names.filter(|name| seen.insert(*name)).filter_map(|name| self.find(name)).collect()
    }

    fn find(&self, name: &str) -> Option<Found> {
        self.0.iter().find_map(|catalog| {
            Some(Found { source: catalog.source(name)?, manifest: catalog.get(name).cloned() })
        })
    }

    /// What to load for `name`.
    pub(super) fn source(&self, name: &str) -> Option<ModelSource> {
        Some(self.find(name)?.source)
    }

    /// All names.
    pub(super) fn names(&self) -> Vec<String> {
        self.all().into_iter().filter_map(|found| Some(found.manifest?.name)).collect()
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
