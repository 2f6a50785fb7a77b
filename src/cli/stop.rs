//! `millpond stop`: has a server let go of a model.

use clap::Args;
use serde_json::json;

use super::client::ClientArgs;
use super::failure::Failure;
use super::list::capabilities;
use super::output::Output;
use crate::capability::Capabilities;

/// Have the server unload a model
///
/// What it is working on is finished first; its memory comes back to the others. The model stays known: the next
/// request loads it again. The server itself stops upon Ctrl-C or SIGTERM.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millpond stop qwen3-0.6b
  millpond stop clip --capability image-embedding
  millpond ps --json | jq -r .model | sort -u | xargs -n1 millpond stop")]
pub(super) struct Stop {
    /// Its name on the server, as `millpond ps` shows it.
    model: String,
    /// Only in the pool of this.
    #[arg(long, value_name = "CAPABILITY", value_parser = capabilities())]
    capability: Option<Capabilities>,
    #[command(flatten)]
    client: ClientArgs,
}

impl Stop {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let Self { model, capability, client } = self;
        let mut body = json!({ "model": model });
        if let Some(capability) = capability {
            body["capability"] = json!(capability.name());
        }
        client.client()?.post("/admin/unload", &body)?;
        let mut output = Output::stdout();
        output.line(format_args!("{model}: unloaded"))?;
        output.flush()
    }
}
