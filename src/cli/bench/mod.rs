//! `millpond bench`: how fast a pool serves a model here.

mod description;
mod drawing;
mod embedding;
mod figures;
mod generation;
mod page;
mod pictures;
mod remote;
mod round;
mod words;

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use indicatif::ProgressBar;

use super::client::ClientArgs;
use super::failure::Failure;
use super::interrupt::Interrupt;
use super::model::{ModelArgs, count};
use super::output::{Output, counted};
use super::progress;
use super::writer::Writer;
use crate::capability::Capability;
use crate::engine::Capabilities;
use crate::pool::Pool;
use description::Questions;
use drawing::Drawings;
use embedding::Texts;
use figures::Figures;
pub(super) use figures::{milliseconds, quantile};
use generation::Prompts;
use pictures::Pictures;
use remote::Remote;
use round::{Round, Sample, Subject};

/// Measure how fast a pool serves a model
///
/// So many callers each submit a request, wait for the answer and submit the next: a request's time is what
/// its caller waits, queueing included. With --rate requests come when they are due, whatever became of those
/// before, and what one waits for a caller counts. A warm-up comes first and does not count. Answers of models that
/// write are the likeliest tokens, and tokens that would end them early are passed over. With --url the model is not
/// loaded here: a server is asked for it by its name there, and answers end where the model ends them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millpond bench embed -m shapes-embed
  millpond bench embed -m shapes-embed --concurrency 1 --workers 1 --threads 1
  millpond bench text-embedding -m BAAI/bge-small-en-v1.5 --requests 500 --tokens 128 --json
  millpond bench embed-image -m openai/clip-vit-base-patch32
  millpond bench draw -m ./shapes-diffusion --requests 8 --concurrency 4
  millpond bench generate -m ./model.gguf --concurrency 8 --prompt-tokens 256 --tokens 64
  millpond bench describe -m llava-hf/llava-1.5-7b-hf --concurrency 4 --tokens 32
  millpond bench embed -m shapes-embed --url http://127.0.0.1:11435
  millpond bench generate -m qwen3-0.6b --url http://box:11435 --rate 5 --concurrency 64

--json prints one object:
  {\"requests_per_second\":..,\"p50_ms\":..,\"p99_ms\":..,\"tokens_per_second\":..,\"peak_rss_bytes\":..}
and of text generation and vision, where tokens_per_second counts those of answers, besides
  \"first_token_p50_ms\", \"first_token_p99_ms\", \"between_tokens_p50_ms\", \"between_tokens_p99_ms\"
With --url there is no \"peak_rss_bytes\": the model is not here.")]
pub(super) struct Bench {
    /// What to measure.
    #[arg(value_enum, value_name = "CAPABILITY")]
    capability: Measured,
    #[command(flatten)]
    model: ModelArgs,
    /// How many callers there are.
    #[arg(long, value_name = "C", default_value = "16", value_parser = count)]
    concurrency: NonZeroUsize,
    /// Ask so many times a second, whatever became of the requests before. Each takes a caller, so let there be
    /// more of them than requests under way at once.
    #[arg(long, value_name = "R", value_parser = rate)]
    rate: Option<f64>,
    /// Ask this server for the model, by its name there.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// With --url: the server's API key, if it wants one. Default: that of the settings here, if they are its own.
    #[arg(long, value_name = "KEY", env = "MILLPOND_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// How many requests are measured. Default: 500 texts, 64 answers, 64 pictures to
    /// embed, 32 to describe, or 8 to draw.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    requests: Option<u64>,
    /// About how many tokens each text has, default 32; or how many each answer has, default 64.
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u32).range(2..=65536))]
    tokens: Option<u32>,
    /// About how many tokens each prompt has, for text generation. Default: 64.
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u32).range(2..=65536))]
    prompt_tokens: Option<u32>,
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
    /// Prompts in, answers out; `generate` for short.
    #[value(alias = "generate")]
    TextToText,
    /// Pictures in, vectors out; `embed-image` for short.
    #[value(alias = "embed-image")]
    ImageEmbedding,
    /// Texts in, pictures out, with the model's own size and steps; `draw` for short.
    #[value(alias = "draw")]
    TextToImage,
    /// Pictures and questions in, answers out; `describe` for short.
    #[value(alias = "describe")]
    Vision,
}

/// A rate that somebody can mean.
fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (1e-3..=1e6).contains(rate));
    rate.ok_or_else(|| "expected requests a second, from 0.001 to 1000000".to_owned())
}

impl Bench {
    pub(super) fn run(&self) -> Result<(), Failure> {
        self.check()?;
        let interrupt = Interrupt::listen()?;
        if let Some(url) = &self.url {
            return self.remote(url, &interrupt);
        }
        match self.capability {
            Measured::TextEmbedding => self.embedding(&interrupt),
            Measured::TextToText => self.generation(&interrupt),
            Measured::ImageEmbedding => self.image_embedding(&interrupt),
            Measured::TextToImage => self.drawing(&interrupt),
            Measured::Vision => self.vision(&interrupt),
        }
    }

    /// Whether all that is said is about what is measured.
    fn check(&self) -> Result<(), Failure> {
        let (tokens, prompt) = (self.tokens.is_some(), self.prompt_tokens.is_some());
        Err(Failure::Usage(match self.capability {
            Measured::TextEmbedding if prompt => {
                "--prompt-tokens is for text generation; a text has --tokens"
            }
            Measured::ImageEmbedding if tokens || prompt => {
                "--tokens and --prompt-tokens are for texts; pictures are 640 x 480 pixels"
            }
            Measured::TextToImage if tokens || prompt => {
                "--tokens and --prompt-tokens are for texts, not for pictures"
            }
            Measured::Vision if prompt => {
                "--prompt-tokens is for text generation; each prompt shows a picture"
            }
            _ => return Ok(()),
        }))
    }

    fn vision(&self, interrupt: &Interrupt) -> Result<(), Failure> {
        let files = self.model.files()?;
        let engine = self.model.engine(files.clone(), Capabilities::Vision)?;
        let plan = self.model.vision_plan(&files.folder().map_err(crate::Error::from)?)?;
        interrupt.orderly();
        let tokens = self.tokens.unwrap_or(64) as usize;
        let questions = Questions::new(engine.vision(), &self.model.model, &plan, tokens);
        let (samples, took) = self.measure(&questions, self.requests(), interrupt)?;
        self.print(engine.vision(), Capabilities::Vision, &samples, took)
    }

    fn image_embedding(&self, interrupt: &Interrupt) -> Result<(), Failure> {
        let engine = self.model.engine(self.model.files()?, Capabilities::ImageEmbedding)?;
        interrupt.orderly();
        let pictures = Pictures::new(engine.image_embedding(), &self.model.model);
        let (samples, took) = self.measure(&pictures, self.requests(), interrupt)?;
        self.print(engine.image_embedding(), Capabilities::ImageEmbedding, &samples, took)
    }

    fn drawing(&self, interrupt: &Interrupt) -> Result<(), Failure> {
        let engine = self.model.engine(self.model.files()?, Capabilities::TextToImage)?;
        interrupt.orderly();
        let drawings = Drawings::new(engine.text_to_image(), &self.model.model);
        let (samples, took) = self.measure(&drawings, self.requests(), interrupt)?;
        self.print(engine.text_to_image(), Capabilities::TextToImage, &samples, took)
    }

    fn embedding(&self, interrupt: &Interrupt) -> Result<(), Failure> {
        let engine = self.model.engine(self.model.files()?, Capabilities::TextEmbedding)?;
        interrupt.orderly();
        let key = &self.model.model;
        let texts = Texts::of_tokens(&engine, key, self.tokens.unwrap_or(32) as usize)?;
        let (samples, took) = self.measure(&texts, self.requests(), interrupt)?;
        self.print(engine.text_embedding(), Capabilities::TextEmbedding, &samples, took)
    }

    fn generation(&self, interrupt: &Interrupt) -> Result<(), Failure> {
        let writer = Writer::open(&self.model)?;
        interrupt.orderly();
        let (prompt, tokens) = (self.prompt_tokens.unwrap_or(64), self.tokens.unwrap_or(64));
        let prompts = Prompts::of_tokens(&writer, prompt as usize, tokens as usize)?;
        let (samples, took) = self.measure(&prompts, self.requests(), interrupt)?;
        prompts.check(&samples);
        self.print(writer.pool(), Capabilities::TextToText, &samples, took)
    }

    fn requests(&self) -> u64 {
        self.requests.unwrap_or_else(|| self.capability.requests())
    }

    /// Runs every code path warm, then measures.
    fn measure(
        &self,
        subject: &impl Subject,
        requests: u64,
        interrupt: &Interrupt,
    ) -> Result<(Vec<Sample>, Duration), Failure> {
        let callers = self.concurrency.get();
        let warm = (requests / 10).clamp(1, 2 * callers as u64);
        Round::new(subject, 1, warm).run(callers, &ProgressBar::hidden(), interrupt)?;
        let bar = progress::requests(requests, "measuring");
        let began = Instant::now();
        let every = self.rate.map(|rate| Duration::from_secs_f64(1.0 / rate));
        let measured = Round::new(subject, 1 + warm, requests).every(every).run(callers, &bar, interrupt);
        let took = began.elapsed();
        bar.finish_and_clear();
        Ok((measured?, took))
    }

    fn print<C: Capability>(
        &self,
        pool: &Pool<C>,
        does: Capabilities,
        samples: &[Sample],
        took: Duration,
    ) -> Result<(), Failure> {
        let workers = pool.key_status(&self.model.model).map_err(crate::Error::from)?.ready;
        let threads = counted(self.model.threads(does).get(), "thread");
        self.tell(samples, took, Some(format!("{workers} at the end, {threads} each")))
    }

    /// A server's answers to what the model would be asked here.
    fn remote(&self, url: &str, interrupt: &Interrupt) -> Result<(), Failure> {
        interrupt.orderly();
        let client = ClientArgs::at(url.to_owned(), self.api_key.clone()).client()?;
        let (prompt, tokens) = (self.prompt_tokens.unwrap_or(64) as usize, self.tokens.map(|it| it as usize));
        let remote = Remote::new(client, &self.model.model, self.capability, prompt, tokens);
        let (samples, took) = self.measure(&remote, self.requests(), interrupt)?;
        self.tell(&samples, took, None)
    }

    /// `workers` if they are here.
    fn tell(&self, samples: &[Sample], took: Duration, workers: Option<String>) -> Result<(), Failure> {
        let figures = Figures::of(samples, took, workers.is_some());
        let mut output = Output::stdout();
        if self.json {
            output.json(&figures)?;
        } else {
            let Self { concurrency, rate, url, .. } = self;
            let from = match rate {
                Some(rate) => format!("{rate} a second, by at most {concurrency} callers"),
                None => format!("from {concurrency} callers"),
            };
            let server = url.as_ref().map(|url| format!("at {url}"));
            page::print(&mut output, samples, &figures, &from, workers.or(server).as_deref())?;
        }
        output.flush()
    }
}

impl Measured {
    /// How many requests tell enough, in about a minute.
    fn requests(self) -> u64 {
        match self {
            Self::TextEmbedding => 500,
            Self::TextToText | Self::ImageEmbedding => 64,
            Self::Vision => 32,
            Self::TextToImage => 8,
        }
    }
}
