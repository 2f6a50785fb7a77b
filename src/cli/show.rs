//! `millpond show`: all there is to say of one model.

use clap::Args;
use serde::Serialize;

use super::catalogs::{CatalogArgs, Found, Named};
use super::failure::Failure;
use super::inspect::{self, Report};
use super::list::{Entry, Line, long};
use super::model::ModelArgs;
use super::output::Output;
use crate::id::ByteSize;
use crate::memory::MemoryBudget;
use crate::weights::{Hub, HubConfig, ModelSource};

/// Say all there is to say of one model
///
/// What the catalog knows of it: what it is and does, its licence, its size, what it takes in memory, where it is.
/// And where it is on this machine, what its own files say: its network, what it reads at once, whether it has a chat
/// template, its prompts, what serving it would take here. Nothing is loaded, and no network is asked.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millpond show shapes-embed
  millpond show Qwen/Qwen3-0.6B              once it is fetched: millpond pull Qwen/Qwen3-0.6B
  millpond show ./model.gguf --json | jq .files.context_length")]
pub(super) struct Show {
    /// A name that `millpond list` shows, a folder, a GGUF file, or org/name[@revision] on the hub.
    model: String,
    #[command(flatten)]
    catalog: CatalogArgs,
    /// Print JSON, as one object.
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Shown<'a> {
    model: &'a str,
    source: String,
    /// Whether it is on this machine.
    present: bool,
    /// What the catalog says, if it has the model.
    catalog: Option<Line<'a>>,
    /// What the model's own files say, if they are here.
    files: Option<Report>,
}

impl Show {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let Found { source, manifest } = self.catalog.find(&self.model)?;
        let hub = Hub::new(HubConfig::from_env());
        let present = match &source {
            ModelSource::Hub(id) => hub.cached(id).is_some(),
            ModelSource::Folder(path) | ModelSource::Gguf(path) => path.exists(),
        };
        // A folder that is named and not there is an error; of a name there is still something to say.
        let named = manifest.is_none() && !matches!(source, ModelSource::Hub(_));
        let read = || inspect::report(&ModelArgs::cached(&self.model, self.catalog.clone()));
        let files = (present || named).then(read).transpose()?;
        let limit = MemoryBudget::system().limit();
        let entry =
            manifest.map(|manifest| Entry::new(Named { source: source.clone(), manifest }, &hub, limit));
        if entry.is_none() && files.is_none() {
            return Err(Failure::NotCached { model: self.model.clone(), id: source.to_string() });
        }
        let mut output = Output::stdout();
        if self.json {
            let (model, catalog) = (self.model.as_str(), entry.as_ref().map(Entry::line));
            output.json(&Shown { model, source: source.to_string(), present, catalog, files })?;
        } else {
            print(&mut output, &self.model, entry.as_ref(), files.as_ref(), limit)?;
        }
        output.flush()
    }
}

fn print(
    output: &mut Output,
    model: &str,
    entry: Option<&Entry>,
    files: Option<&Report>,
    limit: ByteSize,
) -> Result<(), Failure> {
    if let Some(entry) = entry {
        long(output, entry, limit)?;
    }
    match files {
        Some(files) => {
            if entry.is_some() {
                output.line("\nAs its files have it:")?;
            }
            files.print(output)
        }
        None => output.line(format_args!("\nIt is not here: `millpond pull {model}` fetches it")),
    }
}
