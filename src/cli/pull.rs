//! `millpond pull`: models from the hub into the cache, before they are needed.

use std::io::ErrorKind;
use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::catalogs::{CatalogArgs, Found};
use super::failure::Failure;
use super::interrupt::Interrupt;
use super::output::{Output, counted};
use super::progress::Downloads;
use crate::catalog::Manifest;
use crate::id::ByteSize;
use crate::weights::{Hub, HubConfig, ModelFiles, ModelSource, Sha256};

/// Fetch models into the cache, to be used without a network
///
/// Brings every file that serving a model needs: its descriptions, its tokenizer, its weights as safetensors.
/// They lie in the cache that Python's `huggingface_hub` uses, so what either has fetched the other finds.
/// What is complete is not fetched again; what was interrupted goes on where it stopped. Files whose digest
/// the catalog knows are checked.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millpond pull all-minilm-l6-v2                     a name that `millpond list` shows
  millpond pull qwen3-0.6b sd-turbo                  several, one after the other
  millpond pull Qwen/Qwen3-0.6B@main                 any model on the hub, at a branch, tag or commit
  HF_TOKEN=hf_... millpond pull llama-3.2-1b         one whose licence has to be accepted on the hub first
  millpond pull --json smollm2-135m | jq -r .path    where it lies

Settings, as Python's huggingface_hub reads them: HF_HUB_CACHE or HF_HOME (where the cache is), HF_TOKEN,
HF_ENDPOINT (another hub), HTTPS_PROXY, HF_HUB_OFFLINE (use no network).")]
pub(super) struct Pull {
    /// Names that `millpond list` shows, or org/name[@revision] on the hub.
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<String>,
    #[command(flatten)]
    catalog: CatalogArgs,
    /// Print JSON, one object per line.
    #[arg(long)]
    json: bool,
}

/// What `--json` prints of a model.
#[derive(Serialize)]
struct Pulled<'a> {
    model: &'a str,
    /// What was done, for people.
    #[serde(skip)]
    done: &'static str,
    /// The folder or file, or the id on the hub.
    source: String,
    /// Where it lies.
    path: String,
    bytes: ByteSize,
    /// How many files were not there before.
    fetched: usize,
    /// How many have the digest that the catalog says; others have none there.
    verified: usize,
}

impl Pull {
    pub(super) fn run(&self) -> Result<(), Failure> {
        // Nothing has to be ended in order: what is here of a file stays for the next time.
        let _interrupt = Interrupt::listen()?;
        let hub = Hub::new(HubConfig::from_env());
        let mut output = Output::stdout();
        let mut failed = 0;
        for model in &self.models {
            match self.pull(model, &hub) {
                Ok(pulled) => self.print(&mut output, &pulled)?,
                Err(failure) if self.models.len() == 1 => return Err(failure),
                Err(failure) => {
                    failure.complain();
                    failed += 1;
                }
            }
        }
        let of = self.models.len();
        if failed == 0 { Ok(()) } else { Err(Failure::NotAllPulled { failed, of }) }
    }

    fn pull<'a>(&self, model: &'a str, hub: &Hub) -> Result<Pulled<'a>, Failure> {
        let Found { source, manifest } = self.catalog.find(model)?;
        let progress = Downloads::default();
        let files = source.resolve_with(hub, &progress).map_err(crate::Error::from)?;
        let (folder, path, bytes) = match &files {
            ModelFiles::Folder(folder) => (folder.path(), folder.path(), folder.size_on_disk()),
            ModelFiles::Gguf(file) => {
                (file.path().parent().unwrap_or(file.path()), file.path(), file.size_on_disk())
            }
        };
        let fetched = progress.files();
        let done = match (&source, fetched) {
            (ModelSource::Hub(_), 0) => "complete already",
            (ModelSource::Hub(_), _) => "fetched",
            _ => "on this machine, nothing is to be fetched",
        };
        let verified = manifest.map_or(Ok(0), |manifest| verify(folder, &manifest))?;
        let (source, path) = (source.to_string(), path.display().to_string());
        Ok(Pulled { model, done, source, path, bytes, fetched, verified })
    }

    fn print(&self, output: &mut Output, pulled: &Pulled<'_>) -> Result<(), Failure> {
        if self.json {
            output.json(pulled)?;
        } else {
            let Pulled { model, done, path, bytes, verified, .. } = pulled;
            output.line(format_args!("{model}: {done}"))?;
            output.line(match verified {
                0 => format!("    {bytes}"),
                _ => {
                    format!("    {bytes}; {} compared with the catalog's digests", counted(*verified, "file"))
                }
            })?;
            output.line(format_args!("    {path}"))?;
        }
        // The next one may take an hour.
        output.flush()
    }
}

/// Compares the files whose digest the manifest says; returns how many.
fn verify(folder: &Path, manifest: &Manifest) -> Result<usize, Failure> {
    for (file, expected) in &manifest.sha256 {
        let found = match Sha256::of_file(&folder.join(file)) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(source) => return Err(Failure::File { file: file.clone(), source }),
        };
        if found != Some(*expected) {
            let (model, file, expected) = (manifest.name.clone(), file.clone(), *expected);
            return Err(Failure::Digest { model, file, expected, found });
        }
    }
    Ok(manifest.sha256.len())
}
