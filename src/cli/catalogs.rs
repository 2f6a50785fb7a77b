//! Where short names are looked up.

use std::path::{Path, PathBuf};

use clap::Args;

use super::failure::Failure;
use crate::catalog::Catalog;
use crate::weights::ModelSource;

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
}

/// Beside the user, and where millpond was compiled.
fn folders() -> Vec<PathBuf> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let here = PathBuf::from("models");
    let same = here.canonicalize().is_ok_and(|here| shipped.canonicalize().is_ok_and(|it| it == here));
    if same { vec![here] } else { vec![here, shipped] }
}

impl Catalogs {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Catalog> {
        self.0.iter()
    }

    /// What to load for `name`.
    pub(super) fn source(&self, name: &str) -> Option<Result<ModelSource, Failure>> {
        let found = self.0.iter().find_map(|catalog| catalog.source(name))?;
        Some(found.map_err(|error| crate::Error::from(error).into()))
    }

    /// All names.
    pub(super) fn names(&self) -> Vec<String> {
        let manifests = self.0.iter().flat_map(Catalog::manifests);
        manifests.map(|manifest| manifest.name.clone()).collect()
    }
}
