//! `millpond list`: the models that have short names, what they take, and what is here of them.

mod entry;
mod table;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::catalogs::CatalogArgs;
use super::failure::Failure;
use super::output::Output;
use crate::capability::Capabilities;
use crate::id::ByteSize;
use crate::memory::MemoryBudget;
use crate::weights::{Hub, HubConfig};
pub(super) use entry::{Entry, Line};
pub(super) use table::long;

/// List the models that have short names
///
/// By what they can do: what each takes in memory and on disk, under what licence, and whether it is here. A
/// manifest NAME.toml in the catalog gives a model its name; models that are not here are fetched by `millpond
/// pull`, or when they are first used. Nothing is loaded, and no network is asked.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millpond list
  millpond list --capability text-to-text            those that write
  millpond list --memory 4GiB                        what would fit into that
  millpond list --long                               descriptions, sources, whether and how each fits
  millpond list --json | jq -r 'select(.present) | .name'
  millpond list --catalog /etc/millpond/models

A manifest has four fields, and may have more:
  capability = \"text-embedding\"          # or a list, such as [\"image-embedding\", \"text-embedding\"]
  description = \"MiniLM: 384 numbers, English\"
  license = \"Apache-2.0\"
  source = { hub = \"sentence-transformers/all-MiniLM-L6-v2\" } # or { folder = \"minilm\" }, { gguf = \"x.gguf\" }
  architecture = \"bert\"                  # as `millpond inspect` calls it
  dtype = \"f32\"                          # f32, f16 or bf16: in what its weights are published
  size = 90868376                        # of its weight files, in bytes
  memory = { f32 = 1, bf16 = 1, q4_k = 1 }  # with one worker of four threads, in bytes, as far as known
  unchecked = [\"size\"]                   # what nobody has compared with the model's files
  sha256 = { \"model.safetensors\" = \"...\" }  # `millpond pull` compares it")]
pub(super) struct List {
    #[command(flatten)]
    catalog: CatalogArgs,
    /// Only models that can do this.
    #[arg(short, long, value_name = "CAPABILITY", value_parser = capabilities())]
    capability: Option<Capabilities>,
    /// Say what would fit into so much memory, such as 4GiB, whatever this machine has. Default: 80 % of the
    /// machine's or the cgroup's.
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteSize>,
    /// Say all there is to say of each model, on several lines: what it is and does, its network, size, memory
    /// in each form, whether and how that fits, licence, where it is, and what nobody has checked.
    #[arg(short, long, conflicts_with = "json")]
    long: bool,
    /// Print JSON, one object per line.
    #[arg(long)]
    json: bool,
}

/// The names of all that models can do.
pub(super) fn capabilities() -> impl TypedValueParser<Value = Capabilities> {
    PossibleValuesParser::new(Capabilities::ALL.map(Capabilities::name)).try_map(|name| name.parse())
}

impl List {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let hub = Hub::new(HubConfig::from_env());
        let limit = self.memory.unwrap_or_else(|| MemoryBudget::system().limit());
        let named = self.catalog.open()?.into_all();
        let mut entries: Vec<Entry> = named.map(|named| Entry::new(named, &hub, limit)).collect();
        if let Some(wanted) = self.capability {
            entries.retain(|entry| entry.manifest.capabilities.contains(&wanted));
        }
        let mut output = Output::stdout();
        if self.json {
            entries.iter().try_for_each(|entry| output.json(&entry.line()))?;
        } else if self.long {
            entries.iter().try_for_each(|entry| table::long(&mut output, entry, limit))?;
        } else {
            table::print(&mut output, &entries, self.capability, limit)?;
        }
        output.flush()
    }
}
