//! How fast text generation is: tokens read and tokens written a second, with so many texts at once.
//!
//! Uses the GGUF file in `MILLPOND_GGUF`, or the tiny folder that the tests have. Measures the network and its
//! scheduler: no tokenizer, no sampling but for the likeliest token, no pool.

mod support;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion};
use millpond::arch::{DecoderOptions, DecoderProbe, ProbeLimits, ProbeRun};
use millpond::threads;
use millpond::weights::{GgufFile, ModelFiles, ModelFolder};

use support::{asked, median, quantile, quick};

/// Texts at once.
const TEXTS: [usize; 4] = [1, 4, 8, 16];

/// What is measured of each text.
#[derive(Clone, Copy)]
struct Lengths {
    prompt: usize,
    answer: usize,
    /// A prompt that comes while others are being continued.
    long: usize,
    /// A beginning that two prompts have in common.
    shared: usize,
}

const WHOLE: Lengths = Lengths { prompt: 128, answer: 48, long: 2048, shared: 512 };
/// What the tiny model has room for.
const QUICK: Lengths = Lengths { prompt: 32, answer: 8, long: 64, shared: 48 };

fn load() -> DecoderProbe {
    let options = DecoderOptions::default();
    match std::env::var_os("MILLPOND_GGUF").map(PathBuf::from) {
        Some(path) => {
            let file = GgufFile::open(path).expect("a GGUF file");
            DecoderProbe::load(&ModelFiles::Gguf(file), options).expect("a decoder")
        }
        None => {
            let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/decoder/qwen3");
            let folder = ModelFolder::local(tiny).expect("the fixture is there");
            DecoderProbe::load(&ModelFiles::Folder(folder), options).expect("a decoder")
        }
    }
}

/// Tokens that no other text begins with.
fn prompt(text: usize, tokens: usize) -> Vec<u32> {
    (0..tokens).map(|i| ((text * 31 + i * 37) % 90) as u32).collect()
}

fn run(probe: &DecoderProbe, texts: usize) -> ProbeRun {
    probe.run(ProbeLimits { blocks: 512, texts, ..ProbeLimits::default() })
}

fn timed<R>(work: impl FnOnce() -> R) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

/// Tokens read and tokens written a second.
fn rates(probe: &DecoderProbe, texts: usize, lengths: Lengths) -> [f64; 2] {
    // Read one after the other.
    let mut reading = Duration::ZERO;
    for text in 0..texts {
        let mut alone = run(probe, 1);
        alone.admit(&[1], 1).expect("it fits");
        // So that nothing is done for the first time.
        alone.finish().expect("it computes");
        alone.admit(&prompt(text, lengths.prompt), 1).expect("it fits");
        reading += timed(|| alone.finish().map(<[_]>::len).expect("it computes"));
    }
    // Read in one step, so that all write their second token in the next one, and their last in the same.
    let all = texts * lengths.prompt;
    let limits = ProbeLimits { blocks: 512, texts, read_alone: all, read_beside: all };
    let mut together = probe.run(limits);
    for text in 0..texts {
        together.admit(&prompt(text, lengths.prompt), lengths.answer).expect("it fits");
    }
    together.step().expect("it computes");
    let writing = timed(|| together.finish().map(<[_]>::len).expect("it computes"));
    let written = texts * (lengths.answer - 1);
    [all as f64 / reading.as_secs_f64(), written as f64 / writing.as_secs_f64()]
}

/// Milliseconds between the tokens of three running texts while a long prompt is read: the median before it
/// came, and the longest 1 in 100 while it was read.
fn interrupted(probe: &DecoderProbe, lengths: Lengths) -> [f64; 2] {
    let mut run = run(probe, 4);
    for text in 0..3 {
        run.admit(&prompt(text, 16), lengths.long).expect("it fits");
    }
    let step = |run: &mut ProbeRun| timed(|| run.step().expect("it computes")).as_secs_f64() * 1e3;
    for _ in 0..4 {
        step(&mut run);
    }
    let calm: Vec<f64> = (0..20).map(|_| step(&mut run)).collect();
    let long = run.admit(&prompt(7, lengths.long), 2).expect("it fits");
    let mut disturbed = Vec::new();
    while run.ended()[long].tokens.is_empty() {
        disturbed.push(step(&mut run));
    }
    [median(calm), quantile(&mut disturbed, 0.99)]
}

/// Milliseconds to the first token of a prompt, and of another that begins alike.
fn shared(probe: &DecoderProbe, lengths: Lengths) -> [f64; 2] {
    let mut run = run(probe, 1);
    let mut first = |text: usize| {
        let mut tokens = prompt(3, lengths.shared);
        tokens.extend(prompt(text, 8));
        run.admit(&tokens, 1).expect("it fits");
        timed(|| run.finish().map(<[_]>::len).expect("it computes")).as_secs_f64() * 1e3
    };
    [first(1), first(2)]
}

fn main() {
    threads::configure().expect("nothing runs yet");
    DecoderProbe::adopt_threads(available_parallelism().unwrap_or(NonZeroUsize::MIN));
    let probe = load();
    let lengths = if quick() || std::env::var_os("MILLPOND_GGUF").is_none() { QUICK } else { WHOLE };
    let rounds = if quick() { 1 } else { 3 };
    let medians = |measure: &dyn Fn() -> [f64; 2]| {
        let rounds: Vec<[f64; 2]> = (0..rounds).map(|_| measure()).collect();
        [0, 1].map(|which| median(rounds.iter().map(|round| round[which]).collect()))
    };
    for texts in TEXTS.into_iter().filter(|texts| asked(&format!("generation/texts/{texts}"))) {
        let [read, written] = medians(&|| rates(&probe, texts, lengths));
        println!("{texts:>2} texts: {read:8.1} tokens read a second, {written:7.1} written");
    }
    if asked("generation/shared") {
        let [first, second] = medians(&|| shared(&probe, lengths));
        println!(
            "first token after {} known ones: {second:.1} ms, {:.3} of {first:.1} ms",
            lengths.shared,
            second / first
        );
    }
    if asked("generation/interrupted") {
        let [calm, disturbed] = medians(&|| interrupted(&probe, lengths));
        println!(
            "between tokens: {calm:.1} ms; while {} tokens are read, p99 {disturbed:.1} ms, {:.2} of it",
            lengths.long,
            disturbed / calm
        );
    }

    let mut criterion = Criterion::default().configure_from_args().measurement_time(Duration::from_secs(3));
    criterion.bench_function("generation/eight_tokens_of_one_text", |b| {
        let whole = |alone: &mut ProbeRun| {
            alone.admit(&prompt(0, 16), 8).expect("it fits");
            alone.finish().map(<[_]>::len).expect("it computes")
        };
        b.iter_batched_ref(|| run(&probe, 1), whole, BatchSize::PerIteration);
    });
    criterion.final_summary();
}
