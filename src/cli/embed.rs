//! `millpond embed`: texts in, vectors out.

use std::collections::VecDeque;
use std::io::IsTerminal;

use clap::{ArgAction, Args};
use crossbeam_channel::{Receiver, Sender, bounded, never, select, unbounded};
use indicatif::ProgressBar;
use serde::Serialize;

use super::failure::Failure;
use super::interrupt::Interrupt;
use super::lines::read_stdin;
use super::model::ModelArgs;
use super::output::{Output, warn};
use super::progress;
use crate::capability::{EmbedRequest, Embedding, InvalidRequest, Overlong, TextEmbedding};
use crate::engine::{Capabilities, Engine};
use crate::pool::{PoolError, SubmitOptions, Ticket};

/// How many texts, and how many bytes of them, may be under way at once.
const AHEAD: usize = 256;
const AHEAD_BYTES: usize = 64 << 20;

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
            texts => (all_of(texts), false),
        };
        let engine = self.model.engine(self.model.files()?, Capabilities::TextEmbedding)?;
        interrupt.orderly();
        let watched = from_stdin && !std::io::stdout().is_terminal();
        let bar = if watched { progress::texts() } else { ProgressBar::hidden() };
        let mut stream = Stream::new(self, &engine, bar);
        let ended = stream.run(&texts, &interrupt);
        stream.bar.finish_and_clear();
        if stream.cut > 0 {
            let Stream { cut, printed, .. } = stream;
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
        let numbers: Vec<String> = embedding.values.iter().map(f32::to_string).collect();
        output.line(numbers.join(" "))
    }
}

/// What is to be embedded next, or why there is no more.
type Text = Result<String, Failure>;

fn all_of(texts: &[String]) -> Receiver<Text> {
    let (sender, receiver) = bounded(texts.len());
    for text in texts {
        // There is room for all, and the receiver is here.
        let _ = sender.send(Ok(text.clone()));
    }
    receiver
}

/// Submits ahead, prints in order.
struct Stream<'a> {
    verb: &'a Embed,
    engine: &'a Engine,
    output: Output,
    bar: ProgressBar,
    /// In the order of the texts: what is submitted and not printed.
    under_way: VecDeque<Running>,
    /// How many bytes of text are under way.
    bytes: usize,
    printed: usize,
    /// How many texts the model did not read to their end.
    cut: usize,
    /// Where requests say that they have ended, and where that is heard.
    done: (Sender<usize>, Receiver<usize>),
}

/// One text.
struct Running {
    ticket: Ticket<TextEmbedding>,
    bytes: usize,
    /// Whether waiting for it takes no time.
    ended: bool,
}

impl<'a> Stream<'a> {
    fn new(verb: &'a Embed, engine: &'a Engine, bar: ProgressBar) -> Self {
        Self {
            verb,
            engine,
            output: Output::stdout(),
            bar,
            under_way: VecDeque::new(),
            bytes: 0,
            printed: 0,
            cut: 0,
            done: unbounded(),
        }
    }

    /// Ends after the last text, or with the first failure once all before it is printed.
    fn run(&mut self, texts: &Receiver<Text>, interrupt: &Interrupt) -> Result<(), Failure> {
        let (nothing, done) = (never(), self.done.1.clone());
        // How the texts ended, once they have.
        let mut end = None;
        loop {
            self.print_ended()?;
            if self.under_way.is_empty()
                && let Some(end) = end
            {
                return self.output.flush().and(end);
            }
            let room = self.under_way.len() < AHEAD && self.bytes < AHEAD_BYTES;
            let next = if end.is_none() && room { texts } else { &nothing };
            if next.is_empty() && done.is_empty() {
                // Whoever reads along gets what there is before we sleep.
                self.output.flush()?;
            }
            select! {
                recv(next) -> text => match text {
                    Ok(text) => end = text.and_then(|text| self.submit(text)).err().map(Err),
                    Err(_) => end = Some(Ok(())),
                },
                recv(done) -> index => if let Ok(index) = index { self.ended(index) },
                recv(interrupt.asked()) -> _ => {
                    // Dropping the tickets cancels them.
                    self.under_way.clear();
                    return self.output.flush().and(Err(Failure::Interrupted));
                }
            }
        }
    }

    fn submit(&mut self, text: String) -> Result<(), Failure> {
        let (index, bytes) = (self.printed + self.under_way.len(), text.len());
        let done = self.done.0.clone();
        // Nobody listens only when nobody waits.
        let options = SubmitOptions::new().on_complete(move |_| {
            let _ = done.send(index);
        });
        let request = self.verb.request(text);
        let submitted = self.engine.text_embedding().submit_with(&self.verb.model.model, request, options);
        let ticket = submitted.map_err(|refused| failed(index, refused.error))?;
        self.under_way.push_back(Running { ticket, bytes, ended: false });
        self.bytes += bytes;
        Ok(())
    }

    fn ended(&mut self, index: usize) {
        if let Some(running) = self.under_way.get_mut(index - self.printed) {
            running.ended = true;
        }
    }

    /// Prints what has ended, up to the first that has not.
    fn print_ended(&mut self) -> Result<(), Failure> {
        while let Some(Running { ticket, bytes, .. }) = self.under_way.pop_front_if(|running| running.ended) {
            let index = self.printed;
            let embedding = ticket.wait().map_err(|error| failed(index, error))?;
            self.verb.print(&mut self.output, index, &embedding)?;
            self.cut += usize::from(embedding.truncated);
            self.bytes -= bytes;
            self.printed += 1;
            self.bar.inc(1);
        }
        Ok(())
    }
}

/// A request that no text could make good concerns all texts; anything else is told of its own.
fn failed(index: usize, error: PoolError) -> Failure {
    match error {
        PoolError::ModelError { .. }
        | PoolError::WorkerPanicked { .. }
        | PoolError::WorkerLost { .. }
        | PoolError::InvalidRequest { source: InvalidRequest { field: "text", .. }, .. } => {
            Failure::Text { place: format!("text {}", index + 1), source: error }
        }
        error => crate::Error::from(error).into(),
    }
}
