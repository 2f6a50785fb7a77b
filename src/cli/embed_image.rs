//! `millpond embed-image`: pictures in, vectors out.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::failure::Failure;
use super::interrupt::Interrupt;
use super::model::ModelArgs;
use super::output::Output;
use super::stream::{Stream, Subject, all_of};
use crate::capability::{EmbedImageRequest, ImageEmbedding, ImageSource, ImageVector};
use crate::engine::Capabilities;
use crate::pool::Pool;

/// Turn pictures into vectors
///
/// Each picture becomes one line of standard output, in the order of the files: its numbers, or with --json
/// {"index":0,"embedding":[...]}. Files are PNG, JPEG, WebP or GIF, whatever their names say; of an animation the
/// first frame counts.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millpond embed-image -m openai/clip-vit-base-patch32 photo.jpg drawing.png
  millpond embed-image -m ./dinov2-small --json *.jpg > vectors.jsonl
  millpond embed-image -m google/siglip-base-patch16-224 --normalize true photo.webp")]
pub(super) struct EmbedImage {
    #[command(flatten)]
    model: ModelArgs,
    /// The pictures' files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Whether vectors are scaled to length 1. Default: as the model's own files say.
    #[arg(long, value_name = "true|false")]
    normalize: Option<bool>,
    /// Print JSON, one object per line.
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Line<'a> {
    index: usize,
    embedding: &'a [f32],
}

impl EmbedImage {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let interrupt = Interrupt::listen()?;
        let engine = self.model.engine(self.model.files()?, Capabilities::ImageEmbedding)?;
        interrupt.orderly();
        let files = all_of(self.files.iter().cloned());
        Stream::new(Pictures { verb: self, pool: engine.image_embedding() }).run(&files, &interrupt)
    }
}

/// The pictures of one run.
struct Pictures<'a> {
    verb: &'a EmbedImage,
    pool: &'a Pool<ImageEmbedding>,
}

impl Subject for Pictures<'_> {
    type Capability = ImageEmbedding;
    type Item = PathBuf;
    const FIELD: &'static str = "image";

    fn pool(&self) -> &Pool<ImageEmbedding> {
        self.pool
    }

    fn key(&self) -> &str {
        &self.verb.model.model
    }

    /// The worker reads the file when its turn comes.
    fn bytes(&self, _: &PathBuf) -> usize {
        0
    }

    fn request(&self, file: PathBuf) -> EmbedImageRequest {
        let mut request = EmbedImageRequest::new(ImageSource::Path(file));
        request.normalize = self.verb.normalize;
        request
    }

    fn place(&self, index: usize) -> String {
        self.verb.files[index].display().to_string()
    }

    fn print(&mut self, output: &mut Output, index: usize, vector: ImageVector) -> Result<(), Failure> {
        if self.verb.json {
            return output.json(&Line { index, embedding: &vector.values });
        }
        output.numbers(&vector.values)
    }
}
