//! `millpond inspect`: what a model is and what it would take, before anything is loaded.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;

use super::failure::Failure;
use super::model::ModelArgs;
use super::output::{Output, counted};
use crate::arch::EncoderPlan;
use crate::capability::{Capability, TextEmbedding};
use crate::id::ByteSize;
use crate::memory::Footprint;
use crate::weights::{ModelFolder, TensorInfo, WeightFiles};

/// Say what a model is and whether it fits into memory, without loading it
///
/// Reads the model's configuration and the headers of its weights, nothing more. Says what it can do, what
/// it would take to serve it with so many workers, and whether this machine has that now.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millpond inspect -m shapes-embed
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

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    model: String,
    capability: &'static str,
    architecture: &'static str,
    /// Of most of the stored bytes.
    dtype: String,
    computes_in: String,
    tensors: usize,
    parameters: u64,
    bytes_on_disk: ByteSize,
    dimensions: usize,
    max_tokens: usize,
    prompts: Vec<String>,
    footprint: Predicted,
    fits: bool,
    /// Why it fits, or why not.
    reason: String,
}

/// The memory it would take.
#[derive(Serialize)]
struct Predicted {
    weights: ByteSize,
    per_worker: ByteSize,
    workers: usize,
    total: ByteSize,
}

/// What `--json --tensors` prints for each tensor.
#[derive(Serialize)]
struct Listed<'a> {
    #[serde(rename = "tensor")]
    name: &'a str,
    dtype: String,
    shape: &'a [usize],
}

impl Inspect {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let folder = self.model.folder()?;
        let plan = EncoderPlan::read(&folder, self.model.dtype()).map_err(crate::Error::from)?;
        let files = plan.weight_files().map_err(crate::Error::from)?;
        let report = self.report(&folder, &plan, &files)?;
        let mut output = Output::stdout();
        if self.json {
            output.json(&report)?;
        } else {
            report.print(&mut output)?;
        }
        let listed = if self.tensors { files.tensors().collect() } else { Vec::new() };
        for TensorInfo { name, dtype, shape, .. } in listed {
            let dtype = lower(dtype);
            if self.json {
                output.json(&Listed { name, dtype, shape })?;
            } else {
                output.line(format_args!("  {name}  {dtype} {shape:?}"))?;
            }
        }
        output.flush()
    }

    fn report(
        &self,
        folder: &ModelFolder,
        plan: &EncoderPlan,
        files: &WeightFiles,
    ) -> Result<Report, Failure> {
        let footprint = plan.footprint().map_err(crate::Error::from)?;
        let workers = self.model.config().initial_workers;
        let (fits, reason) = self.verdict(footprint, workers as u64);
        let Footprint { weights, per_worker } = footprint;
        Ok(Report {
            model: folder.label().to_owned(),
            capability: TextEmbedding::NAME,
            architecture: plan.config().architecture.model_type(),
            dtype: dtype_of(files),
            computes_in: plan.computes_in(),
            tensors: files.tensors().count(),
            parameters: files.tensors().map(|tensor| tensor.elements() as u64).sum(),
            bytes_on_disk: files.bytes_on_disk(),
            dimensions: plan.dimensions(),
            max_tokens: plan.max_tokens(),
            prompts: plan.prompt_names().map(str::to_owned).collect(),
            footprint: Predicted {
                weights,
                per_worker,
                workers,
                total: footprint.with_workers(workers as u64),
            },
            fits,
            reason,
        })
    }

    /// As the pool would decide: all the workers, or else the one that a cold start cannot do without.
    fn verdict(&self, footprint: Footprint, workers: u64) -> (bool, String) {
        let budget = self.model.budget();
        let limit = budget.limit();
        match (budget.would_fit(footprint.with_workers(workers)), budget.would_fit(footprint.with_workers(1)))
        {
            (Ok(()), _) => {
                let free = budget.status().free;
                (true, format!("{} of {free} that are free", footprint.with_workers(workers)))
            }
            (Err(_), Ok(())) => {
                let one = footprint.with_workers(1);
                (true, format!("with 1 worker, which takes {one}; {workers} would take more than {limit}"))
            }
            (_, Err(over)) => (false, over.to_string()),
        }
    }
}

/// The dtype that most of the stored bytes have.
fn dtype_of(files: &WeightFiles) -> String {
    let mut bytes = BTreeMap::<String, u64>::new();
    for tensor in files.tensors() {
        *bytes.entry(lower(&tensor.dtype)).or_default() += tensor.range.end - tensor.range.start;
    }
    bytes.into_iter().max_by_key(|(_, bytes)| *bytes).map_or_else(|| "none".to_owned(), |(dtype, _)| dtype)
}

fn lower(dtype: &impl std::fmt::Debug) -> String {
    format!("{dtype:?}").to_ascii_lowercase()
}

impl Report {
    fn print(&self, output: &mut Output) -> Result<(), Failure> {
        let Predicted { weights, per_worker, workers, total } = &self.footprint;
        let prompts = if self.prompts.is_empty() { "none".to_owned() } else { self.prompts.join(", ") };
        let lines = [
            ("model", self.model.clone()),
            ("capability", self.capability.to_owned()),
            ("architecture", self.architecture.to_owned()),
            ("dtype", format!("{} on disk, computed in {}", self.dtype, self.computes_in)),
            ("tensors", format!("{}, with {} numbers", self.tensors, self.parameters)),
            ("on disk", self.bytes_on_disk.to_string()),
            ("embeddings", format!("{} numbers each", self.dimensions)),
            ("reads", format!("at most {} tokens of a text", self.max_tokens)),
            ("prompts", prompts),
            ("weights", format!("{weights} in memory, once")),
            ("per worker", per_worker.to_string()),
            ("footprint", format!("{total} with {}", counted(*workers, "worker"))),
            ("fits", format!("{}: {}", if self.fits { "yes" } else { "no" }, self.reason)),
        ];
        lines.iter().try_for_each(|(name, value)| output.line(format_args!("{name:<13} {value}")))
    }
}
