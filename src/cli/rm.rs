//! `millpond rm`: takes models out of the cache again.

use std::collections::BTreeSet;
use std::io::{IsTerminal, stdin};

use clap::Args;
use serde::Serialize;

use super::catalogs::CatalogArgs;
use super::failure::Failure;
use super::output::{Output, counted, prompt};
use crate::id::ByteSize;
use crate::weights::hub::CachedModel;
use crate::weights::{Hub, HubConfig, ModelId, ModelSource};

/// Delete models from the cache
///
/// Deletes what `millpond pull`, or the first use of a model, has fetched from the hub: all revisions of it, and what
/// was fetched by Python's `huggingface_hub` too, as the cache is the same. Asks first, about each, and deletes all
/// that are named or none. A folder or file that is somewhere else is never touched. A server that has the model in
/// memory goes on serving it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millpond rm all-minilm-l6-v2               a name that `millpond list` shows
  millpond rm Qwen/Qwen3-0.6B --yes          without a question
  millpond list --json | jq -r 'select(.kind == \"hub\" and .present) | .name'    what could go")]
pub(super) struct Rm {
    /// Names that `millpond list` shows, or org/name on the hub.
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<String>,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    catalog: CatalogArgs,
    /// Print JSON, one object per line.
    #[arg(long)]
    json: bool,
}

/// What `--json` prints of a model that is gone.
#[derive(Serialize)]
struct Removed<'a> {
    model: &'a str,
    path: String,
    freed: ByteSize,
}

impl Rm {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let hub = Hub::new(HubConfig::from_env());
        // Before the first is deleted, all are found: a slip in one name costs nothing.
        let found = self.models.iter().map(|model| Ok((model, self.find(model, &hub)?)));
        let mut found = found.collect::<Result<Vec<_>, Failure>>()?;
        // Several names may be of one.
        let mut folders = BTreeSet::new();
        found.retain(|(_, cached)| folders.insert(cached.folder().to_owned()));
        // And all are asked about: who says no to one keeps the others too.
        for (model, cached) in found.iter().filter(|_| !self.yes) {
            if !agreed(model, cached)? {
                return Err(Failure::NotAgreed);
            }
        }
        let mut output = Output::stdout();
        for (model, cached) in found {
            let (path, freed) = (cached.folder().display().to_string(), cached.size());
            cached.remove().map_err(|source| Failure::Undeletable { path: path.clone(), source })?;
            if self.json {
                output.json(&Removed { model, path, freed })?;
            } else {
                output.line(format_args!("{model}: deleted, {freed} came free"))?;
            }
            output.flush()?;
        }
        Ok(())
    }

    fn find(&self, model: &str, hub: &Hub) -> Result<CachedModel, Failure> {
        let id = match self.catalog.find(model)?.source {
            ModelSource::Hub(id) => id,
            elsewhere => {
                return Err(Failure::NotOfTheCache { model: model.to_owned(), path: elsewhere.to_string() });
            }
        };
        let unreadable = |source| Failure::File { file: id.to_string(), source };
        hub.find_cached(&id).map_err(unreadable)?.ok_or_else(|| not_cached(model, &id))
    }
}

fn not_cached(model: &str, id: &ModelId) -> Failure {
    Failure::NotCached { model: model.to_owned(), id: id.repo().to_owned() }
}

/// Whether the user says so.
fn agreed(model: &str, cached: &CachedModel) -> Result<bool, Failure> {
    if !stdin().is_terminal() {
        return Err(Failure::Usage("nobody is there to be asked whether to delete it: say --yes"));
    }
    let revisions = counted(cached.revisions(), "revision");
    prompt(&format!(
        "delete {model}, {} in {revisions} at {}? [y/N] ",
        cached.size(),
        cached.folder().display()
    ));
    let mut answer = String::new();
    stdin().read_line(&mut answer).map_err(Failure::Input)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
