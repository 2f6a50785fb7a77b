//! `millpond inspect`: what a model is and what it would take, before anything is loaded.

mod report;
mod tensors;

use clap::Args;

use super::failure::Failure;
use super::model::ModelArgs;
use super::output::Output;
use crate::arch::{DiffusionPlan, EmbeddingPlan, ImagePlan};
use crate::engine::Capabilities;
use crate::weights::{ModelFiles, ModelFolder};
pub(super) use report::Report;
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

impl Inspect {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let (report, stored) = Reading(&self.model).report()?;
        let mut output = Output::stdout();
        if self.json {
            output.json(&report)?;
        } else {
            report.print(&mut output)?;
        }
        if self.tensors {
            stored.print(&mut output, self.json)?;
        }
        output.flush()
    }
}

/// What there is to say of a model.
pub(super) fn report(model: &ModelArgs) -> Result<Report, Failure> {
    Reading(model).report().map(|(report, _)| report)
}

/// A model whose files are read.
struct Reading<'a>(&'a ModelArgs);

impl Reading<'_> {
    fn report(&self) -> Result<(Report, Stored), Failure> {
        let files = self.0.files()?;
        let (does, besides) = Capabilities::all(&files)?;
        let (report, stored) = match (does, &files) {
            (Capabilities::TextEmbedding, ModelFiles::Folder(folder)) => self.embedder(folder)?,
            (Capabilities::ImageEmbedding, ModelFiles::Folder(folder)) => self.image_embedder(folder)?,
            (Capabilities::TextToImage, ModelFiles::Folder(folder)) => self.drawer(folder)?,
            (Capabilities::Vision, ModelFiles::Folder(folder)) => self.seer(folder)?,
            _ => self.decoder(&files)?,
        };
        Ok((report.besides(besides), stored))
    }

    fn embedder(&self, folder: &ModelFolder) -> Result<(Report, Stored), Failure> {
        let options = self.0.options();
        options.check(Capabilities::TextEmbedding).map_err(crate::Error::from)?;
        let plan = EmbeddingPlan::read(folder, options.dtype).map_err(crate::Error::from)?;
        let stored = Stored::from(&plan.weight_files().map_err(crate::Error::from)?);
        Ok((report::of_embedder(self.0, folder.label(), &plan, &stored)?, stored))
    }

    fn image_embedder(&self, folder: &ModelFolder) -> Result<(Report, Stored), Failure> {
        let options = self.0.options();
        options.check(Capabilities::ImageEmbedding).map_err(crate::Error::from)?;
        let plan = ImagePlan::read(folder, options.dtype).map_err(crate::Error::from)?;
        let stored = Stored::from(&plan.weight_files().map_err(crate::Error::from)?);
        Ok((report::of_image_embedder(self.0, folder.label(), &plan, &stored)?, stored))
    }

    fn drawer(&self, folder: &ModelFolder) -> Result<(Report, Stored), Failure> {
        let options = self.0.options();
        options.check(Capabilities::TextToImage).map_err(crate::Error::from)?;
        let plan = DiffusionPlan::read(folder, options.dtype).map_err(crate::Error::from)?;
        let parts = plan.parts().map_err(crate::Error::from)?;
        let stored = Stored::of_parts(&parts);
        Ok((report::of_drawer(self.0, folder.label(), &plan, (&parts, &stored))?, stored))
    }

    fn seer(&self, folder: &ModelFolder) -> Result<(Report, Stored), Failure> {
        let plan = self.0.vision_plan(folder)?;
        let stored = Stored::from(&folder.weight_files().map_err(crate::Error::from)?);
        Ok((report::of_seer(self.0, folder.label(), &plan, &stored)?, stored))
    }

    fn decoder(&self, files: &ModelFiles) -> Result<(Report, Stored), Failure> {
        let plan = self.0.decoder_plan(files)?;
        let (label, stored) = match files {
            ModelFiles::Folder(folder) => {
                (folder.label(), Stored::from(&folder.weight_files().map_err(crate::Error::from)?))
            }
            ModelFiles::Gguf(file) => (file.label(), Stored::from(file)),
        };
        Ok((report::of_decoder(self.0, label, &plan, &stored)?, stored))
    }
}
