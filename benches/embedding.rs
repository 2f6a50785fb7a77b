//! How fast text embedding is, at fixed shapes and on texts of mixed length: texts a second through the pool,
//! and how much of what a plain matrix product reaches that is.
//!
//! Uses the model in `MILLPOND_MINILM_DIR`, or the tiny one that ships with the crate; `MILLPOND_TEXTS` names a file
//! of mixed texts, one a line. In the end it says how much memory serving takes, in a process of its own for each
//! figure.

mod support;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use criterion::Criterion;
use millpond::capability::EmbedRequest;
use millpond::pool::{KeyConfig, WorkerHandle};
use millpond::weights::ModelFolder;
use millpond::{Dtype, Engine, ModelOptions, threads};

use support::{in_turn, median, print_beside, quantile, quick, resident};

/// Batch and tokens of each text.
const SHAPES: [(usize, usize); 6] = [(1, 16), (1, 128), (8, 32), (32, 32), (32, 128), (8, 256)];
/// Workers and numbers of which the memory is told.
const SERVED: [(usize, Dtype); 3] = [(1, Dtype::F32), (4, Dtype::F32), (1, Dtype::Bf16)];
/// Tells a process that it is to print its memory, and for which of [`SERVED`].
const MEMORY_OF: &str = "MILLPOND_BENCH_MEMORY_OF";
const CALLERS: usize = 64;
const CALLERS_TOKENS: usize = 16;
const WORDS: [&str; 12] = [
    "model", "pool", "worker", "thread", "memory", "budget", "river", "stone", "light", "answer", "question",
    "paper",
];

/// Different texts, each of so many words.
struct Texts(fastrand::Rng);

impl Texts {
    fn of(&mut self, words: usize) -> String {
        let words: Vec<&str> = (0..words).map(|_| WORDS[self.0.usize(0..WORDS.len())]).collect();
        words.join(" ")
    }

    /// A batch; two tokens are the special ones.
    fn batch(&mut self, count: usize, tokens: usize) -> Vec<String> {
        (0..count).map(|_| self.of(tokens - 2)).collect()
    }

    /// Of 4 to 200 words, skewed short.
    fn mixed(&mut self, count: usize) -> Vec<String> {
        let length = |rng: &mut fastrand::Rng| 4 + (-rng.f64().max(1e-9).ln() * 21.6) as usize;
        (0..count)
            .map(|_| length(&mut self.0).min(200))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|n| self.of(n))
            .collect()
    }
}

/// Texts a second over `span`, after one round that does not count.
fn rate(engine: &Engine, texts: &[String], span: Duration) -> f64 {
    let once = || {
        let answers = engine.embed_all("model", texts.iter().map(EmbedRequest::new)).expect("answers");
        assert_eq!(answers.len(), texts.len());
    };
    once();
    let began = Instant::now();
    let mut done = 0;
    while began.elapsed() < span {
        once();
        done += texts.len();
    }
    done as f64 / began.elapsed().as_secs_f64()
}

/// Callers who each wait for one answer before they ask again: texts a second, and how long each waited.
fn callers(engine: &Engine, texts: &[String], rounds: usize) -> (f64, Vec<f64>) {
    let began = Instant::now();
    let waits = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                scope.spawn(move || {
                    let own = (0..rounds).map(|round| &texts[(caller * rounds + round) % texts.len()]);
                    own.map(|text| {
                        let asked = Instant::now();
                        engine.embed("model", text.as_str()).expect("an answer");
                        asked.elapsed().as_secs_f64()
                    })
                    .collect::<Vec<f64>>()
                })
            })
            .collect();
        callers.into_iter().flat_map(|caller| caller.join().expect("it asks on")).collect::<Vec<f64>>()
    });
    (waits.len() as f64 / began.elapsed().as_secs_f64(), waits)
}

/// GFLOP/s of a plain product on one thread per core: what the processor gives.
fn product_rate(cores: usize) -> f64 {
    let (rows, depth, columns) = (256, 384, 1536);
    let one = || {
        let left = Tensor::rand(-1f32, 1.0, (rows, depth), &Device::Cpu).expect("a matrix");
        let right = Tensor::rand(-1f32, 1.0, (depth, columns), &Device::Cpu).expect("a matrix");
        let own = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
        own.install(|| {
            let began = Instant::now();
            let mut products = 0;
            while began.elapsed() < Duration::from_millis(300) {
                assert_eq!(left.matmul(&right).expect("a product").dtype(), DType::F32);
                products += 1;
            }
            2.0 * (products * rows * depth * columns) as f64 / began.elapsed().as_secs_f64() / 1e9
        })
    };
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..cores).map(|_| scope.spawn(one)).collect();
        all.into_iter().map(|core| core.join().expect("it multiplies")).sum()
    })
}

fn engine(folder: &Path, workers: usize, threads: usize, dtype: Dtype) -> Engine {
    let threads = NonZeroUsize::new(threads).expect("not zero");
    let engine = Engine::builder().threads_per_worker(threads).build().expect("threads");
    let config = KeyConfig::of(engine.text_embedding().config()).workers(workers);
    let options = ModelOptions::default().dtype(dtype);
    let folder = ModelFolder::local(folder).expect("a folder");
    engine.add_folder_with("model", folder, config, options).expect("a model");
    engine.text_embedding().preload("model").expect("it loads");
    engine
}

/// How many floating-point operations a text of so many tokens takes.
fn operations(folder: &Path, tokens: usize) -> f64 {
    let text = std::fs::read_to_string(folder.join("config.json")).expect("a configuration");
    let config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let number = |name: &str| config[name].as_u64().expect("a number") as f64;
    let (width, inner, layers) =
        (number("hidden_size"), number("intermediate_size"), number("num_hidden_layers"));
    let tokens = tokens as f64;
    2.0 * layers * tokens * (4.0 * width * width + 2.0 * width * inner + 2.0 * tokens * width)
}

fn shapes(folder: &Path, engines: &[(&str, &Engine)], texts: &mut Texts, rounds: usize, span: Duration) {
    let cores = available_parallelism().map_or(1, NonZeroUsize::get);
    for (batch, tokens) in SHAPES {
        let texts = texts.batch(batch, tokens);
        let names: Vec<&str> = engines.iter().map(|(name, _)| *name).collect();
        let mut measures: Vec<Box<dyn FnMut() -> f64>> = Vec::new();
        for (_, engine) in engines {
            measures.push(Box::new(|| rate(engine, &texts, span)));
        }
        measures.push(Box::new(|| product_rate(cores)));
        let mut in_order: Vec<(&str, &mut dyn FnMut() -> f64)> = names
            .iter()
            .copied()
            .chain(["plain product"])
            .zip(measures.iter_mut().map(|m| &mut **m as _))
            .collect();
        let mut figures = in_turn(rounds, &mut in_order);
        let plain = median(figures.pop().expect("the product's"));
        print_beside(&format!("{batch} x {tokens} tokens"), "texts a second", &names, &figures);
        let reached = median(figures[0].clone()) * operations(folder, tokens) / 1e9;
        println!(
            "{:<44} {reached:>10.1} of {plain:.1} GFLOP/s, as a plain product: {:.2}",
            "reached",
            reached / plain
        );
    }
}

fn many_callers(engines: &[(&str, &Engine)], texts: &mut Texts, rounds: usize, span: Duration) {
    let texts = texts.batch(CALLERS * 32, CALLERS_TOKENS);
    println!("\n{CALLERS} callers of one text of {CALLERS_TOKENS} tokens each");
    for (name, engine) in engines {
        let (mut ratios, mut rates, mut waits) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let batch = rate(engine, &texts, span);
            let (callers, own) = callers(engine, &texts, texts.len() / CALLERS);
            ratios.push(callers / batch);
            rates.push(callers);
            waits.extend(own);
        }
        let (half, most) = (quantile(&mut waits, 0.5), quantile(&mut waits, 1.0));
        println!(
            "{name:<44} {:>10.1} texts/s, {:.2} of one batch's; waits: median {:.1} ms, longest {:.1} ms ({:.2} x)",
            median(rates),
            median(ratios),
            half * 1e3,
            most * 1e3,
            most / half
        );
    }
}

/// Starts this program anew for each of [`SERVED`], so that nothing else is in its memory.
fn memory() {
    println!("\nresident memory once all workers have served");
    for number in 0..SERVED.len() {
        let program = std::env::current_exe().expect("it has a name");
        let ended =
            Command::new(program).env(MEMORY_OF, number.to_string()).status().expect("it starts again");
        assert!(ended.success(), "{ended}");
    }
}

/// Has workers with a thread each serve batches of 32 texts of 128 tokens until each has served one, and prints
/// what the process occupies then.
fn print_memory(folder: &Path, workers: usize, dtype: Dtype) {
    let engine = engine(folder, workers, 1, dtype);
    let texts = Texts(fastrand::Rng::with_seed(1)).batch(32 * workers, 128);
    let workers = engine.text_embedding().workers("model").expect("they are there");
    let began: Vec<_> = workers.iter().map(WorkerHandle::last_used).collect();
    while workers.iter().zip(&began).any(|(worker, began)| worker.last_used() == *began) {
        engine.embed_all("model", texts.iter().map(EmbedRequest::new)).expect("answers");
    }
    let name = format!("{dtype}, {} with a thread each", workers.len());
    println!("{name:<44} {:>10.1} MiB", resident() as f64 / f64::from(1 << 20));
}

fn main() {
    if let Err(error) = threads::configure() {
        eprintln!("{error}");
    }
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny/shapes-embed");
    let folder = std::env::var_os("MILLPOND_MINILM_DIR").map_or(tiny, PathBuf::from);
    if let Some(number) = std::env::var(MEMORY_OF).ok().and_then(|number| number.parse::<usize>().ok()) {
        let (workers, dtype) = SERVED[number];
        return print_memory(&folder, workers, dtype);
    }
    let (rounds, span) = if quick() { (1, Duration::from_millis(10)) } else { (5, Duration::from_secs(1)) };
    let cores = available_parallelism().map_or(1, NonZeroUsize::get);
    let one = engine(&folder, 1, cores, Dtype::F32);
    let (many, half) = (engine(&folder, cores, 1, Dtype::F32), engine(&folder, 1, cores, Dtype::Bf16));
    let engines = [
        ("f32, 1 worker with all cores", &one),
        ("f32, a worker for each core", &many),
        ("bf16, 1 worker", &half),
    ];
    let mut texts = Texts(fastrand::Rng::with_seed(1));
    let mixed = match std::env::var_os("MILLPOND_TEXTS") {
        Some(path) => {
            std::fs::read_to_string(path).expect("a file of texts").lines().map(str::to_owned).collect()
        }
        None => texts.mixed(if quick() { 16 } else { 512 }),
    };

    shapes(&folder, &engines, &mut texts, rounds, span);
    let names = engines.map(|(name, _)| name);
    let mut measures = engines.map(|(_, engine)| || rate(engine, &mixed, span));
    let mut in_order: Vec<(&str, &mut dyn FnMut() -> f64)> =
        names.into_iter().zip(measures.iter_mut().map(|measure| measure as _)).collect();
    let figures = in_turn(rounds, &mut in_order);
    print_beside(&format!("{} mixed texts", mixed.len()), "texts a second", &names, &figures);
    many_callers(&engines, &mut texts, rounds, span);
    memory();

    let mut criterion = Criterion::default().configure_from_args().measurement_time(Duration::from_secs(3));
    let short = texts.of(14);
    criterion.bench_function("embedding/one_text_of_16_tokens", |b| {
        b.iter(|| engine_answers(&one, &short));
    });
    criterion.final_summary();
}

fn engine_answers(engine: &Engine, text: &str) -> usize {
    engine.embed("model", text).expect("an answer").values.len()
}
