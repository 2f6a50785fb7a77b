//! `millpond config`: the server's settings, checked and shown.

mod page;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::catalogs::CatalogArgs;
use super::failure::Failure;
use super::output::{Output, counted};
use super::settings::{Flaws, SettingArgs, Settings};

/// Check and show the settings of `millpond serve`
///
/// Each setting has one name everywhere: `keep_alive` is --keep-alive on the command line, `MILLPOND_KEEP_ALIVE` in
/// the environment and `keep_alive` in the file. Flags go before the environment, the environment before the file, the
/// file before defaults; what a model's own table in the file says goes before all of them, for that model.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millpond config check                        what `millpond serve` would read here
  millpond config check /etc/millpond.toml
  millpond config print                        every setting, and where it comes from
  millpond config print --port 8080 --json
  millpond config print > next.toml            a file to begin with; keys are left out of it

A file, here ./millpond.toml:
  port = 11435
  memory_fraction = 0.5
  keep_alive = \"10m\"                   # for all models

  [models.text-embedding.minilm]       # models by what they do and what they are called
  source = \"all-minilm-l6-v2\"          # as -m takes it
  preload = true
  keep_alive = \"forever\"

  [models.auto.\"Qwen/Qwen3-0.6B\"]      # auto: everything that the model can do
  source = \"Qwen/Qwen3-0.6B\"
  quantize = \"q4_k\"
  queue = 100")]
pub(super) struct Config {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Check(Check),
    Print(Print),
}

/// Read the settings as `millpond serve` would, and say all that is wrong with them
///
/// Looks up each model too, without a network: a path has to be there, a short name has to be known. Exits with 1
/// where something is wrong.
#[derive(Debug, Args)]
struct Check {
    /// The file. Default: the one that `millpond serve` would read.
    file: Option<PathBuf>,
}

/// Show every setting and where it comes from
///
/// As a file that could be read again, or with --json as one object per line. API keys are not shown.
#[derive(Debug, Args)]
struct Print {
    /// Print JSON, one object per line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: SettingArgs,
}

impl Config {
    pub(super) fn run(&self) -> Result<(), Failure> {
        match &self.what {
            What::Check(check) => check.run(),
            What::Print(print) => print.run(),
        }
    }
}

impl Check {
    fn run(&self) -> Result<(), Failure> {
        let none = SettingArgs::default();
        let settings = match &self.file {
            Some(file) => Settings::load_file(&none, file)?,
            None => Settings::load(&none)?,
        };
        look_up(&settings)?;
        let mut output = Output::stdout();
        let file = settings.file.as_ref().map(|file| file.display().to_string());
        let file = file.unwrap_or_else(|| "no file, and what else is set".to_owned());
        let models = match settings.models.len() {
            0 => "no model, so that the five that ship with millpond are served".to_owned(),
            some => counted(some, "model"),
        };
        output.line(format_args!("{file}: fine, with {models}"))?;
        output.flush()
    }
}

/// Whether all models that are named can be found, without a network. What cannot is told all at once.
pub(super) fn look_up(settings: &Settings) -> Result<(), Failure> {
    let catalog = CatalogArgs::of(settings.catalog());
    let mut lost = Vec::new();
    for model in &settings.models {
        let source = settings.of_model(model).map_err(Flaws::from)?.source;
        if let Err(failure) = catalog.find(&source) {
            lost.push(Failure::Model { at: model.source.origin.to_string(), source: Box::new(failure) });
        }
    }
    if lost.is_empty() { Ok(()) } else { Err(Failure::Models(lost)) }
}

impl Print {
    fn run(&self) -> Result<(), Failure> {
        let settings = Settings::load(&self.settings)?;
        let mut output = Output::stdout();
        if self.json {
            page::lines(&settings).try_for_each(|line| output.json(&line))?;
        } else {
            page::print(&mut output, &settings)?;
        }
        output.flush()
    }
}
