//! `millpond serve`: the five pools over HTTP, for as long as nobody stops it.

mod changes;
mod registry;

use std::net::SocketAddr;
use std::thread::Builder;

use clap::Args;

use super::failure::Failure;
use super::output::{Output, complain, counted, warn};
use super::settings::{Flaws, SettingArgs, Settings};
use crate::engine::Engine;
use crate::server::{App, Server};
use registry::Registry;

/// Serve models over HTTP
///
/// Speaks OpenAI's API at /v1, the Open Inference Protocol at /v2 and Ollama's API at /api, and shows a page for
/// people at /. Models load with their first request, unless they are to be preloaded, and share one memory budget;
/// where none is named, the five small ones that ship with millpond are served. Ctrl-C or SIGTERM stops it in order:
/// it takes nothing new, and finishes what is under way until the drain timeout; a second one lets go of everything.
/// SIGHUP reads the settings again: models come, go and change, and no request is dropped for it.
#[allow(clippy::doc_markdown, reason = "it is shown to people as it is")]
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millpond serve                                       the five models that ship with millpond
  millpond serve -m all-minilm-l6-v2 -m chat=qwen3-0.6b --quantize q4_k
  millpond serve --config /etc/millpond.toml           `millpond config --help` shows such a file
  millpond serve --bind 0.0.0.0 --api-key-file keys    for others too, with a key
  millpond serve --port 0 --preload --keep-alive forever
  curl http://127.0.0.1:11435/v1/embeddings -H 'Content-Type: application/json' \\
       -d '{\"model\":\"shapes-embed\",\"input\":\"a red circle\"}'
  kill -HUP $(pidof millpond)                          reads the settings again

A setting `keep_alive` is --keep-alive here, MILLPOND_KEEP_ALIVE in the environment and keep_alive in the file. Flags
go before the environment, the environment before the file, the file before defaults; what a model's own table in the
file says goes before all of them, for that model. `millpond config print` shows what holds. MILLPOND_LOG sets the log
filter.")]
pub(super) struct Serve {
    #[command(flatten)]
    settings: SettingArgs,
}

impl Serve {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let settings = Settings::load(&self.settings)?;
        let config = settings.server_config().map_err(Flaws::from)?;
        let engine = Engine::builder().budget(settings.budget()).build()?;
        let app = App::new(engine, config);
        // Before anything is fetched: an address that is taken is told at once.
        let server = Server::bind(app.clone())?;
        let mut registry = Registry::new(app, settings)?;
        if registry.serves_the_shipped() {
            complain(
                "no model is named: the five that ship with millpond are served; -m or a file names others",
            );
        }
        let (address, models) = (server.address(), registry.models());
        let preload = registry.preload();
        Builder::new().name("preload".to_owned()).spawn(preload).map_err(Failure::Thread)?;
        let flags = self.settings.clone();
        let stopped = server.run_telling(|| announce(address, models), move || registry.reload(&flags))?;
        match stopped.unfinished {
            0 => Ok(()),
            unfinished => {
                warn(format_args!("requests that were let go of unfinished: {unfinished}"));
                Err(Failure::Interrupted)
            }
        }
    }
}

/// Says where it is. Whoever started it with port 0 reads the port from this line.
fn announce(address: SocketAddr, models: usize) {
    let models = counted(models, "model");
    let mut output = Output::stdout();
    let line = format_args!("serving {models} at http://{address} (for people: http://{address}/)");
    // A server whose starter does not listen serves all the same.
    if let Err(failure) = output.line(line).and_then(|()| output.flush()) {
        tracing::warn!(%failure, "nobody could be told where the server is");
    }
}
