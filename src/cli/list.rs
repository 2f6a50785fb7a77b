//! `millpond list`: the models that have short names.

use clap::Args;
use serde::Serialize;

use super::catalogs::CatalogArgs;
use super::failure::Failure;
use super::output::Output;
use crate::catalog::Manifest;
use crate::weights::ModelSource;

/// List the models that have short names
///
/// A manifest NAME.toml in the catalog gives a model its name. What is on this machine says so; a model on
/// the hub is fetched when it is first used.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millpond list
  millpond list --json
  millpond list --catalog /etc/millpond/models

A manifest:
  capability = \"text-embedding\"
  description = \"MiniLM: 384 numbers, English\"
  license = \"Apache-2.0\"
  source = { hub = \"sentence-transformers/all-MiniLM-L6-v2\" }    # or { folder = \"minilm\" }")]
pub(super) struct List {
    #[command(flatten)]
    catalog: CatalogArgs,
    /// Print JSON, one object per line.
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    capability: &'a str,
    description: &'a str,
    license: &'a str,
    /// The folder, or the id on the hub.
    source: String,
    kind: &'static str,
    /// Whether the folder is there; for a model on a hub, nobody has asked.
    present: Option<bool>,
}

impl List {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let mut output = Output::stdout();
        let mut seen = std::collections::BTreeSet::new();
        for catalog in self.catalog.open()?.iter() {
            // A name means the model of the nearest catalog that has it.
            for manifest in catalog.manifests().filter(|manifest| seen.insert(manifest.name.clone())) {
                let source = catalog.source(&manifest.name).transpose().map_err(crate::Error::from)?;
                self.print(&mut output, manifest, source.as_ref())?;
            }
        }
        output.flush()
    }

    fn print(
        &self,
        output: &mut Output,
        manifest: &Manifest,
        source: Option<&ModelSource>,
    ) -> Result<(), Failure> {
        let Manifest { name, capability, description, license, .. } = manifest;
        let (kind, present) = match source {
            Some(ModelSource::Hub(_)) => ("hub", None),
            Some(ModelSource::Folder(path)) => ("folder", Some(path.is_dir())),
            _ => ("file", None),
        };
        let source = source.map(ToString::to_string).unwrap_or_default();
        if self.json {
            return output.json(&Line { name, capability, description, license, source, kind, present });
        }
        output.line(format_args!("{name}  {capability}, {license}"))?;
        output.line(format_args!("    {description}"))?;
        output.line(format_args!("    {kind} {source}"))
    }
}
