//! `millpond inspect`: what a model is and what it would take, before anything is loaded.

mod report;
mod tensors;

use clap::Args;

use super::failure::Failure;
use super::model::ModelArgs;
use super::output::Output;
use crate::arch::EncoderPlan;
use crate::weights::{ModelFiles, ModelFolder};
use report::Report;
use tensors::Stored;

/// Say what a model is and whether it fits into memory, without loading it
///
/// Reads the model's configuration and the headers of its weights, nothing more. Says what it can do, what
/// it would take to serve it with so many workers, and whether this machine has that now.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millpond inspect -m shapes-embed
  millpond inspect -m ./model.gguf
  millpond inspect -m ./my-model --workers 4 --memory 2GiB
  millpond inspect -m shapes-embed --json | jq .fits
  millpond inspect -m shapes-embed --tensors")]
pub(super) struct Inspect {
    #[command(flatten)]
    model: ModelArgs,
    /// List every tensor too: its name, dtype and shape.
    #[arg(long)]
    tensors: bool,
    /// Print JSON, one object per line.
    #[arg(long)]
    json: bool,
}
