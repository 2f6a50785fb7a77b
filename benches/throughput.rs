//! Embedding throughput: a millpond pool beside `candle-transformers`' `BertModel` behind a mutex, on the
//! same weights and the same texts, in turn.
//!
//! Uses the model in `MILLPOND_MINILM_DIR`, or the tiny one that ships with the crate.

mod support;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use criterion::Criterion;
use millpond::capability::EmbedRequest;
use millpond::pool::KeyConfig;
use millpond::weights::ModelFolder;
use millpond::{Engine, threads};
use tokenizers::Tokenizer;

use support::{in_turn, print_beside, quick};

const CALLERS: usize = 8;

/// The usual way without a pool: one model, one lock, one text at a time.
struct Mutexed {
    model: Mutex<BertModel>,
    tokenizer: Tokenizer,
}

impl Mutexed {
    fn load(folder: &Path) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let config: Config = serde_json::from_str(&std::fs::read_to_string(folder.join("config.json"))?)?;
        let weights = std::fs::read(folder.join("model.safetensors"))?;
        let vars = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)?;
        let mut tokenizer = Tokenizer::from_file(folder.join("tokenizer.json"))?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(Some(tokenizers::TruncationParams {
            max_length: config.max_position_embeddings.min(256),
            ..Default::default()
        }))?;
        Ok(Self { model: Mutex::new(BertModel::load(vars, &config)?), tokenizer })
    }

    /// Mean over the tokens, scaled to length 1.
    fn embed(&self, text: &str) -> Vec<f32> {
        let ids = self.tokenizer.encode(text, true).expect("it tokenizes").get_ids().to_vec();
        let compute = || {
            let ids = Tensor::new(ids.as_slice(), &Device::Cpu)?.unsqueeze(0)?;
            let hidden = self.model.lock().expect("nobody panics").forward(&ids, &ids.zeros_like()?, None)?;
            let mean = hidden.squeeze(0)?.mean(0)?;
            mean.broadcast_div(&mean.sqr()?.sum_all()?.sqrt()?)?.to_vec1::<f32>()
        };
        compute().expect("it computes")
    }
}

/// Texts of 4 to 100 words, skewed short.
fn texts(count: usize) -> Vec<String> {
    let words =
        ["model", "pool", "worker", "thread", "memory", "budget", "river", "stone", "light", "answer"];
    let mut rng = fastrand::Rng::with_seed(1);
    let length = |rng: &mut fastrand::Rng| 4 + (-rng.f64().max(1e-9).ln() * 20.0) as usize;
    let text = |_| {
        let words: Vec<&str> =
            (0..length(&mut rng).min(100)).map(|_| words[rng.usize(0..words.len())]).collect();
        words.join(" ")
    };
    (0..count).map(text).collect()
}

/// Texts a second with several callers, each of whom waits for one answer before the next.
fn callers(texts: &[String], embed: impl Fn(&str) -> Vec<f32> + Sync) -> f64 {
    let began = Instant::now();
    std::thread::scope(|scope| {
        for chunk in texts.chunks(texts.len().div_ceil(CALLERS)) {
            scope.spawn(|| chunk.iter().for_each(|text| assert!(!embed(text).is_empty())));
        }
    });
    texts.len() as f64 / began.elapsed().as_secs_f64()
}

fn engine(folder: &Path, workers: usize, threads: usize) -> Engine {
    let threads = NonZeroUsize::new(threads).expect("not zero");
    let engine = Engine::builder().threads_per_worker(threads).build().expect("threads");
    let config = KeyConfig::of(engine.text_embedding().config()).workers(workers);
    engine.add_folder("model", ModelFolder::local(folder).expect("a folder"), config).expect("a model");
    engine.text_embedding().preload("model").expect("it loads");
    engine
}

fn batch(engine: &Engine, texts: &[String]) -> f64 {
    let began = Instant::now();
    let answers = engine.embed_all("model", texts.iter().map(EmbedRequest::new)).expect("answers");
    answers.len() as f64 / began.elapsed().as_secs_f64()
}

fn main() {
    if let Err(error) = threads::configure() {
        eprintln!("{error}");
    }
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny/shapes-embed");
    let folder = std::env::var_os("MILLPOND_MINILM_DIR").map_or(tiny, PathBuf::from);
    let (rounds, count) = if quick() { (1, 16) } else { (7, 256) };
    let texts = texts(count);
    let (two, one) = (engine(&folder, 2, 1), engine(&folder, 1, 2));
    let mutexed = Mutexed::load(&folder).expect("the model loads");
    let pooled = |engine: &Engine, text: &str| engine.embed("model", text).expect("an answer").values;
    let (ours, theirs) = (pooled(&one, &texts[0]), mutexed.embed(&texts[0]));
    let cosine: f32 = ours.iter().zip(&theirs).map(|(a, b)| a * b).sum();
    assert!(cosine > 0.9999, "both compute the same: cosine {cosine}");

    let names = [
        "candle BertModel behind a mutex",
        "pool, 1 worker x 2 threads",
        "pool, 2 workers x 1 thread",
        "pool, 2 x 1, one batch",
    ];
    let figures = in_turn(
        rounds,
        &mut [
            (names[0], &mut || callers(&texts, |text| mutexed.embed(text))),
            (names[1], &mut || callers(&texts, |text| pooled(&one, text))),
            (names[2], &mut || callers(&texts, |text| pooled(&two, text))),
            (names[3], &mut || batch(&two, &texts)),
        ],
    );
    let title = format!("{} texts of mixed length, {CALLERS} callers, {}", texts.len(), folder.display());
    print_beside(&title, "texts a second", &names, &figures);

    let mut criterion = Criterion::default().configure_from_args().measurement_time(Duration::from_secs(3));
    criterion.bench_function("throughput/one_text", |b| b.iter(|| pooled(&one, &texts[0])));
    criterion.final_summary();
}
