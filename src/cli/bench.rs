//! `millpond bench`: how fast a pool serves a model here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use crossbeam_channel::{Receiver, Sender, select, unbounded};
use indicatif::ProgressBar;
use serde::Serialize;

use super::failure::Failure;
use super::interrupt::Interrupt;
use super::model::{ModelArgs, count};
use super::output::{Output, counted, warn};
use super::progress;
use crate::capability::{EmbedRequest, TextEmbedding};
use crate::engine::Engine;
use crate::id::ByteSize;
use crate::memory::{MemoryProbe, SystemProbe};
use crate::pool::{Pool, PoolError};

/// Measure how fast a pool serves a model
///
/// So many callers each submit a request, wait for the answer and submit the next: a request's time is what
/// its caller waits, queueing included. A warm-up comes first and does not count.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millpond bench embed -m shapes-embed
  millpond bench embed -m shapes-embed --concurrency 1 --workers 1 --threads 1
  millpond bench text-embedding -m BAAI/bge-small-en-v1.5 --requests 500 --tokens 128 --json

--json prints one object:
  {\"requests_per_second\":..,\"p50_ms\":..,\"p99_ms\":..,\"tokens_per_second\":..,\"peak_rss_bytes\":..}")]
pub(super) struct Bench {
    /// What to measure.
    #[arg(value_enum, value_name = "CAPABILITY")]
    capability: Measured,
    #[command(flatten)]
    model: ModelArgs,
    /// How many callers there are.
    #[arg(long, value_name = "C", default_value = "16", value_parser = count)]
    concurrency: std::num::NonZeroUsize,
    /// How many requests are measured.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    requests: u64,
    /// About how many tokens each text has.
    #[arg(long, value_name = "T", default_value_t = 32, value_parser = clap::value_parser!(u32).range(2..=65536))]
    tokens: u32,
    /// Print JSON: one object.
    #[arg(long)]
    json: bool,
}

/// The capabilities that have models to measure.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Measured {
    /// Texts in, vectors out; `embed` for short.
    #[value(alias = "embed")]
    TextEmbedding,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Figures {
    requests_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    tokens_per_second: f64,
    peak_rss_bytes: ByteSize,
}

/// One answered request.
struct Sample {
    waited: Duration,
    tokens: usize,
}

impl Bench {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let Measured::TextEmbedding = self.capability;
        let interrupt = Interrupt::listen()?;
        let engine = self.model.engine(self.model.folder()?)?;
        interrupt.orderly();
        let words = self.warm_up(&engine, &interrupt)?;
        let bar = progress::requests(self.requests, "measuring");
        let began = Instant::now();
        let measured = self.measure(&engine, words, self.requests, &bar, &interrupt);
        let took = began.elapsed();
        bar.finish_and_clear();
        let samples = measured?;
        let figures = figures(&samples, took);
        let mut output = Output::stdout();
        if self.json {
            output.json(&figures)?;
        } else {
            self.print(&mut output, &engine, &samples, &figures)?;
        }
        output.flush()
    }

    /// Loads the model, runs every code path warm, and finds how many words make a text of the wanted
    /// length.
    fn warm_up(&self, engine: &Engine, interrupt: &Interrupt) -> Result<usize, Failure> {
        let wanted = self.tokens as usize;
        let mut words = wanted.saturating_sub(2);
        for _ in 0..4 {
            let answer = engine.embed(&self.model.model, text(words, 0))?;
            if answer.truncated {
                warn(format_args!("the model reads at most {} tokens of a text", answer.tokens));
            }
            if answer.truncated || answer.tokens == wanted {
                break;
            }
            words = (words + wanted).saturating_sub(answer.tokens);
        }
        let requests = (self.requests / 10).clamp(1, 2 * self.concurrency.get() as u64);
        self.measure(engine, words, requests, &ProgressBar::hidden(), interrupt)?;
        Ok(words)
    }

    fn measure(
        &self,
        engine: &Engine,
        words: usize,
        requests: u64,
        bar: &ProgressBar,
        interrupt: &Interrupt,
    ) -> Result<Vec<Sample>, Failure> {
        let round = Round {
            pool: engine.text_embedding(),
            key: &self.model.model,
            words,
            requests,
            next: AtomicU64::new(0),
        };
        let round = &round;
        let callers = self.concurrency.get().min(requests as usize);
        thread::scope(|scope| {
            let (results, answers) = unbounded();
            let start = |results: Sender<_>| {
                Builder::new().name("caller".to_owned()).spawn_scoped(scope, move || round.call(results))
            };
            let started = (0..callers).try_for_each(|_| start(results.clone()).map(drop));
            drop(results);
            let samples = started.map_err(Failure::Thread).and_then(|()| collect(&answers, bar, interrupt));
            round.stop();
            samples
        })
    }

    fn print(
        &self,
        output: &mut Output,
        engine: &Engine,
        samples: &[Sample],
        figures: &Figures,
    ) -> Result<(), Failure> {
        let workers =
            engine.text_embedding().key_status(&self.model.model).map_err(crate::Error::from)?.ready;
        let tokens = samples.iter().map(|sample| sample.tokens).sum::<usize>() / samples.len().max(1);
        let Self { concurrency, requests, .. } = self;
        let threads = counted(engine.threads_per_worker().get(), "thread");
        output.line(format_args!("{requests} requests of {tokens} tokens from {concurrency} callers"))?;
        output.line(format_args!("workers         {workers} at the end, {threads} each"))?;
        output.line(format_args!("requests/s      {:.1}", figures.requests_per_second))?;
        output.line(format_args!("tokens/s        {:.0}", figures.tokens_per_second))?;
        output.line(format_args!("p50             {:.2} ms", figures.p50_ms))?;
        output.line(format_args!("p99             {:.2} ms", figures.p99_ms))?;
        output.line(format_args!("peak memory     {}", figures.peak_rss_bytes))
    }
}

/// Some requests, shared out among callers.
struct Round<'a> {
    pool: &'a Pool<TextEmbedding>,
    key: &'a str,
    words: usize,
    requests: u64,
    next: AtomicU64,
}

impl Round<'_> {
    /// Asks and waits until all requests are taken, or nobody listens.
    #[allow(clippy::needless_pass_by_value, reason = "the channel ends with the last caller")]
    fn call(&self, results: Sender<Result<Sample, PoolError>>) {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.requests {
                return;
            }
            let request = EmbedRequest::new(text(self.words, number as usize));
            let begun = Instant::now();
            let answer = self.pool.submit_wait(self.key, request);
            let waited = begun.elapsed();
            if results.send(answer.map(|answer| Sample { waited, tokens: answer.tokens })).is_err() {
                return;
            }
        }
    }

    /// The callers finish what they have begun, and begin nothing more.
    fn stop(&self) {
        self.next.store(self.requests, Ordering::Relaxed);
    }
}

/// All samples, unless one failed or the user has had enough.
fn collect(
    answers: &Receiver<Result<Sample, PoolError>>,
    bar: &ProgressBar,
    interrupt: &Interrupt,
) -> Result<Vec<Sample>, Failure> {
    let mut samples = Vec::new();
    loop {
        select! {
            recv(answers) -> answer => match answer {
                Ok(answer) => samples.push(answer.map_err(crate::Error::from)?),
                Err(_) => return Ok(samples),
            },
            recv(interrupt.asked()) -> _ => return Err(Failure::Interrupted),
        }
        bar.inc(1);
    }
}

fn figures(samples: &[Sample], took: Duration) -> Figures {
    let mut waited: Vec<Duration> = samples.iter().map(|sample| sample.waited).collect();
    waited.sort_unstable();
    let seconds = took.as_secs_f64().max(f64::MIN_POSITIVE);
    let tokens: usize = samples.iter().map(|sample| sample.tokens).sum();
    Figures {
        requests_per_second: samples.len() as f64 / seconds,
        p50_ms: milliseconds(quantile(&waited, 0.50)),
        p99_ms: milliseconds(quantile(&waited, 0.99)),
        tokens_per_second: tokens as f64 / seconds,
        peak_rss_bytes: peak_memory(),
    }
}

/// The smallest of `sorted` that the share `q` of them does not exceed; zero of none.
pub(super) fn quantile(sorted: &[Duration], q: f64) -> Duration {
    let rank = (sorted.len() as f64 * q).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

pub(super) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The most memory the process has occupied; where the system does not tell, what it occupies now.
fn peak_memory() -> ByteSize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    peak.map_or_else(|| SystemProbe::new().read().resident, ByteSize::kib)
}

/// A text of `words` short words, another one for each `number`.
fn text(words: usize, number: usize) -> String {
    const WORDS: [&str; 8] = ["a", "red", "circle", "on", "the", "left", "of", "blue"];
    let word = |place: usize| WORDS[(place + number) % WORDS.len()];
    (0..words).map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_was_measured() {
        let sorted: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(quantile(&sorted, 0.50), Duration::from_millis(50));
        assert_eq!(quantile(&sorted, 0.99), Duration::from_millis(99));
        assert_eq!(quantile(&sorted, 1.0), Duration::from_millis(100));
        assert_eq!(quantile(&sorted[..1], 0.99), Duration::from_millis(1));
        assert_eq!(quantile(&[], 0.5), Duration::ZERO);
    }
}
