//! `millpond demo`: five models that ship with millpond, in one process, without a network.
//!
//! One act per file. The acts share an engine with one memory budget, and a [`Page`] of 80 columns.

mod callers;
mod drawing;
mod gallery;
mod memory;
mod page;
mod painting;
mod pools;
mod questions;
mod search;
mod sentences;
mod story;
mod wrap;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use super::catalogs::{CatalogArgs, Catalogs};
use super::failure::Failure;
use super::files::check_folder;
use crate::capability::{Chat, GenerateRequest, Message};
use crate::engine::{Engine, ModelOptions};
use crate::pool::{KeyConfig, PoolConfig};
use crate::weights::ModelFiles;
use page::Page;

/// The models it shows, by their names in the catalog.
const EMBEDS: &str = "shapes-embed";
const WRITES: &str = "shapes-llm";
const SEES: &str = "shapes-clip";
const DESCRIBES: &str = "shapes-llava";
const DRAWS: &str = "shapes-diffusion";

/// Where the picture goes that it draws.
const PICTURE: &str = "millpond-demo.png";

/// Show what works, offline, in seconds
///
/// Five models that ship with millpond find a sentence, write a story, find pictures, answer questions about one, and
/// draw another, all in one process and under one memory budget. Prints what the pools did. Pictures are shown in
/// colour on a terminal, and in shades of grey where the output goes elsewhere or `NO_COLOR` is set. The picture that
/// is drawn is saved in the current folder as millpond-demo.png; one that an earlier demo left there is replaced.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millpond demo
  millpond demo --out /tmp/star.png
  millpond demo -v        with the pools' own log")]
pub(super) struct Demo {
    /// Where the picture that is drawn goes, as PNG.
    #[arg(long, value_name = "FILE.png", default_value = PICTURE)]
    out: PathBuf,
    #[command(flatten)]
    catalog: CatalogArgs,
}

impl Demo {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let began = Instant::now();
        check_folder(&self.out)?;
        let engine = engine(&self.catalog.open()?)?;
        let mut page = Page::stdout();
        page.say("millpond demo: five models in one process, under one memory budget, offline.")?;
        page.say("They are tiny and know nothing but a world of coloured shapes.")?;
        let events = pools::events(&engine);
        sentences::find(&mut page, &engine)?;
        callers::ask_at_once(&mut page, &engine)?;
        story::write(&mut page, &engine)?;
        search::pictures(&mut page, &engine)?;
        questions::ask(&mut page, &engine)?;
        memory::tighten(&mut page, &engine)?;
        drawing::draw(&mut page, &engine, &events, &self.out)?;
        pools::tell(&mut page, &engine)?;
        page.say(format_args!("\nDone in {:.1} s. Next: millpond --help", began.elapsed().as_secs_f64()))
    }
}

/// Serves the five, each under its name, with one worker that may go when another needs the memory.
fn engine(catalogs: &Catalogs) -> Result<Engine, Failure> {
    let mut config = PoolConfig::default().workers(1);
    (config.min_workers, config.min_residence) = (0, Duration::ZERO);
    let engine = Engine::builder().config(config.clone()).build()?;
    for name in [EMBEDS, WRITES, SEES, DESCRIBES, DRAWS] {
        engine.add_files_with(
            name,
            files(catalogs, name)?,
            KeyConfig::of(&config),
            ModelOptions::default(),
        )?;
    }
    Ok(engine)
}

fn files(catalogs: &Catalogs, name: &str) -> Result<ModelFiles, Failure> {
    Ok(catalogs.get(name)?.source.resolve().map_err(crate::Error::from)?)
}

/// One message to a model, to be answered with the likeliest tokens.
fn question(text: &str) -> GenerateRequest {
    GenerateRequest::new(Chat::new(vec![Message::user(text)]))
}
