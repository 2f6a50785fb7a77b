//! A text that is being written, told apart into thoughts, text and calls, and timed.

use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::capability::{FinishReason, TextCompletion};
use crate::server::api_error::ApiError;
use crate::server::generation::Generation;
use crate::server::in_flight::Tracked;
use crate::server::spoken::{Reader, Said};

/// A text that is being written. Dropping it cancels it.
#[derive(Debug)]
pub(super) struct Speaker {
    generation: Generation,
    /// Nobody tells apart what a raw prompt is answered with.
    reader: Option<Reader>,
    /// Bytes of text that have come.
    told: usize,
    times: Times,
}

/// When what happened to a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) began: Instant,
    /// How long its model took to load.
    pub(super) loading: Duration,
    /// When it was handed to the pool.
    pub(super) asked: Instant,
    /// When its first token came, and the last so far.
    tokens: Option<(Instant, Instant)>,
}

impl Times {
    /// Of a request that began then and whose model, from then until now, was loaded.
    pub(super) fn new(began: Instant, loading: Duration) -> Self {
        Self { began, loading, asked: Instant::now(), tokens: None }
    }
}

impl Speaker {
    /// Tells what is being written, to an asker who knows these tools; as it is where `raw`.
    pub(super) fn new(generation: Generation, tools: &[String], raw: bool, times: Times) -> Self {
        Self { generation, reader: (!raw).then(|| Reader::new(tools)), told: 0, times }
    }

    /// What has been said with the next token; `None` when there will be no more.
    pub(super) async fn next(&mut self, tracked: &Tracked) -> Option<Vec<Said>> {
        let token = self.generation.next().await?;
        let now = Instant::now();
        let first = self.times.tokens.map_or(now, |(first, _)| first);
        self.times.tokens = Some((first, now));
        tracked.advance(1);
        self.told += token.text.len();
        Some(read(self.reader.as_mut(), &token.text))
    }

    /// What was held back, and how it ended.
    pub(super) async fn finish(self) -> Result<(Vec<Said>, Ending), ApiError> {
        let Self { generation, mut reader, told, times } = self;
        let completion = generation.finish().await?;
        let text = completion.choices.first().map_or("", |choice| &choice.text);
        let mut said = read(reader.as_mut(), text.get(told..).unwrap_or_default());
        said.extend(reader.iter_mut().flat_map(Reader::finish));
        Ok((said, Ending { completion, times }))
    }
}

fn read(reader: Option<&mut Reader>, piece: &str) -> Vec<Said> {
    match reader {
        Some(reader) => reader.push(piece),
        None if piece.is_empty() => Vec::new(),
        None => vec![Said::Text(piece.to_owned())],
    }
}

/// How a text ended, and what it took.
#[derive(Debug)]
pub(super) struct Ending {
    completion: TextCompletion,
    times: Times,
}

impl Ending {
    /// The fields that end an answer. Times are in nanoseconds: until the first token the prompt is read, or waits to
    /// be; from then to the last one the answer is written.
    pub(super) fn tell(&self, into: &mut Map<String, Value>) {
        let Self { completion, times } = self;
        let Times { began, loading, asked, tokens } = *times;
        let (first, last) = tokens.unwrap_or_else(|| (Instant::now(), Instant::now()));
        let reason = match completion.choices.first().map(|choice| choice.finish_reason) {
            Some(FinishReason::Length) => "length",
            _ => "stop",
        };
        let fields = [
            ("done", true.into()),
            ("done_reason", reason.into()),
            ("total_duration", nanoseconds(began.elapsed())),
            ("load_duration", nanoseconds(loading)),
            ("prompt_eval_count", completion.prompt_tokens().into()),
            ("prompt_eval_duration", nanoseconds(first.saturating_duration_since(asked))),
            ("eval_count", completion.completion_tokens().into()),
            ("eval_duration", nanoseconds(last.saturating_duration_since(first))),
        ];
        into.extend(fields.map(|(name, value)| (name.to_owned(), value)));
    }
}

/// A duration in whole nanoseconds.
pub(super) fn nanoseconds(duration: Duration) -> Value {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).into()
}
