//! `millpond embed`: texts in, vectors out.

use std::io::IsTerminal;

use clap::{ArgAction, Args};
use indicatif::ProgressBar;
use serde::Serialize;

use super::failure::Failure;
use super::interrupt::Interrupt;
use super::lines::read_stdin;
use super::model::ModelArgs;
use super::output::{Output, warn};
use super::progress;
use super::stream::{Stream, Subject, all_of};
use crate::capability::{EmbedRequest, Embedding, Overlong, TextEmbedding};
use crate::engine::Capabilities;
use crate::pool::Pool;

/// Turn texts into vectors
///
/// Each text becomes one line of standard output, in the order of the texts: its numbers, or with --json
/// {"index":0,"embedding":[...],"tokens":7}. A text longer than the model reads is cut at its limit, and its
/// object then says "truncated":true.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millpond embed -m shapes-embed \"a red circle\" \"a blue square\"
  millpond embed -m shapes-embed --json - < texts.txt > vectors.jsonl
  millpond embed -m BAAI/bge-small-en-v1.5 --workers 2 --threads 1 --json - < texts.txt
  millpond embed -m ./my-model --prompt-name query --dimensions 256 \"where is the mill?\"")]
pub(super) struct Embed {
    #[command(flatten)]
    model: ModelArgs,
    /// The texts; or `-` alone for the lines of standard input.
    #[arg(required = true, value_name = "TEXT")]
    texts: Vec<String>,
    /// Whether vectors are scaled to length 1. Default: as the model's own files say.
    #[arg(long, value_name = "true|false")]
    normalize: Option<bool>,
    /// Keep only the first D numbers, for models that were trained for it.
    #[arg(long, value_name = "D", value_parser = dimensions)]
    dimensions: Option<usize>,
    /// Whether a text longer than the model reads is cut, or else refused.
    #[arg(long, value_name = "true|false", default_value = "true", action = ArgAction::Set)]
    truncate: bool,
    /// Which of the model's own prompts goes before each text; `millpond inspect` shows them.
    #[arg(long, value_name = "NAME")]
    prompt_name: Option<String>,
    /// Print JSON, one object per line.
    #[arg(long)]
    json: bool,
}

fn dimensions(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "expected a whole number from 1".to_owned())
}

/// What `--json` prints.
#[derive(Serialize)]
struct Line<'a> {
    index: usize,
    embedding: &'a [f32],
    tokens: usize,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

impl Embed {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let interrupt = Interrupt::listen()?;
        let (texts, from_stdin) = match self.texts.as_slice() {
            [dash] if dash == "-" => (read_stdin()?, true),
            texts if texts.iter().any(|text| text == "-") => {
                return Err(Failure::Usage("`-` means standard input and stands alone"));
            }
            texts => (all_of(texts.iter().cloned()), false),
        };
        let engine = self.model.engine(self.model.files()?, Capabilities::TextEmbedding)?;
        interrupt.orderly();
        let watched = from_stdin && !std::io::stdout().is_terminal();
        let bar = if watched { progress::texts() } else { ProgressBar::hidden() };
        let mut stream = Stream::new(Texts { verb: self, pool: engine.text_embedding(), bar, cut: 0 });
        let ended = stream.run(&texts, &interrupt);
        let (Texts { bar, cut, .. }, printed) = stream.finish();
        bar.finish_and_clear();
        if cut > 0 {
            warn(format_args!("{cut} of {printed} texts were longer than the model reads and were cut"));
        }
        ended
    }

    fn request(&self, text: String) -> EmbedRequest {
        let mut request = EmbedRequest::new(text);
        request.overlong = if self.truncate { Overlong::Cut } else { Overlong::Refuse };
        request.normalize = self.normalize;
        request.dimensions = self.dimensions;
        request.prompt_name.clone_from(&self.prompt_name);
        request
    }

    fn print(&self, output: &mut Output, index: usize, embedding: &Embedding) -> Result<(), Failure> {
        if self.json {
            let Embedding { values: embedding, tokens, truncated } = embedding;
            return output.json(&Line { index, embedding, tokens: *tokens, truncated: *truncated });
        }
        output.numbers(&embedding.values)
    }
}

/// The texts of one run.
struct Texts<'a> {
    verb: &'a Embed,
    pool: &'a Pool<TextEmbedding>,
    bar: ProgressBar,
    /// How many the model did not read to their end.
    cut: usize,
}

impl Subject for Texts<'_> {
    type Capability = TextEmbedding;
    type Item = String;
    const FIELD: &'static str = "text";

    fn pool(&self) -> &Pool<TextEmbedding> {
        self.pool
    }

    fn key(&self) -> &str {
        &self.verb.model.model
    }

    fn bytes(&self, text: &String) -> usize {
        text.len()
    }

    fn request(&self, text: String) -> EmbedRequest {
        self.verb.request(text)
    }

    fn place(&self, index: usize) -> String {
        format!("text {}", index + 1)
    }

    fn print(&mut self, output: &mut Output, index: usize, embedding: Embedding) -> Result<(), Failure> {
        self.cut += usize::from(embedding.truncated);
        self.bar.inc(1);
        self.verb.print(output, index, &embedding)
    }
}
