//! Text embedding through an engine: batches of any size, defaults, limits.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use millpond::arch::MAX_TEXT_BYTES;
use millpond::capability::{EmbedRequest, Overlong};
use millpond::pool::{KeyConfig, PoolConfig, PoolError};
use millpond::{Engine, Error};

use crate::support::{Agreement, folder, shapes_embed};

const KEY: &str = "shapes";

fn engine(config: &PoolConfig) -> Engine {
    let engine = Engine::builder().config(config.clone()).build().unwrap();
    engine.add_folder(KEY, folder(&shapes_embed()), KeyConfig::of(config)).unwrap();
    engine
}

/// Every third of them the same.
fn text(n: usize) -> String {
    if n.is_multiple_of(3) { "a red circle".to_owned() } else { format!("circle {n}") }
}

#[test]
fn a_batch_of_any_size_is_shared_out_and_comes_back_in_order() {
    const TEXTS: usize = 4000;
    let engine = engine(&PoolConfig::default().workers(2).queue_capacity(8));
    let pool = engine.text_embedding();
    pool.preload(KEY).unwrap();
    let mut told = Vec::new();
    let mut busy = [false; 2];
    let requests = (0..TEXTS).map(|n| EmbedRequest::new(text(n)));
    let answers = engine.embed_all_with(KEY, requests, |done| {
        told.push(done);
        for (busy, worker) in busy.iter_mut().zip(pool.key_status(KEY).unwrap().workers) {
            *busy |= worker.pending > 0;
        }
    });
    let answers = answers.unwrap();
    assert_eq!(told, (1..=TEXTS).collect::<Vec<_>>(), "once for every answer");
    assert_eq!(busy, [true; 2], "both workers had their share");
    assert_eq!(answers.len(), TEXTS);
    for n in (0..TEXTS).step_by(97).chain([TEXTS - 1]) {
        let alone = engine.embed(KEY, text(n)).unwrap();
        assert_eq!(answers[n].tokens, alone.tokens, "{n}");
        assert!(Agreement::PERFECT.with(&answers[n].values, &alone.values).max_difference <= 1e-5, "{n}");
    }
}

#[test]
fn the_first_error_ends_a_batch() {
    let engine = engine(&PoolConfig::default().workers(1).queue_capacity(8));
    let long = EmbedRequest::new("red ".repeat(1000)).overlong(Overlong::Refuse);
    let requests = (0..1000).map(|n| if n == 700 { long.clone() } else { EmbedRequest::new(text(n)) });
    let mut told = 0;
    let error = engine.embed_all_with(KEY, requests, |done| told = done).unwrap_err();
    let Error::Pool(PoolError::InvalidRequest { source, .. }) = error else { panic!("{error}") };
    assert_eq!((source.field, told), ("text", 700));
    assert!(source.reason.contains("1002 tokens") && source.reason.contains("at most 64"), "{source}");
}

#[test]
fn a_text_of_too_many_bytes_is_not_accepted() {
    let engine = engine(&PoolConfig::default());
    let error = engine.embed(KEY, "x".repeat(MAX_TEXT_BYTES + 1)).unwrap_err();
    let Error::Pool(PoolError::InvalidRequest { source, .. }) = error else { panic!("{error}") };
    assert_eq!(source.field, "text");
    assert!(!engine.text_embedding().has_workers(KEY), "nothing is loaded for it");
}

#[test]
fn workers_and_their_threads_share_the_cores() {
    let cores = available_parallelism().unwrap().get();
    let shares = |engine: &Engine| {
        let config = engine.text_embedding().config();
        (config.initial_workers, config.max_workers, engine.threads_per_worker(&KeyConfig::of(config)).get())
    };
    let (initial, most, threads) = shares(&Engine::new().unwrap());
    assert_eq!((initial, most, threads), (1, (cores / 4).max(1), cores / most));
    assert!(most * threads <= cores && threads >= cores.min(4));
    let threads = NonZeroUsize::MIN;
    let (initial, most, threads) = shares(&Engine::builder().threads_per_worker(threads).build().unwrap());
    assert_eq!((initial, most, threads), (1, cores, 1), "threads that are asked for leave cores to workers");
    let two = PoolConfig::default().workers(2);
    let (initial, most, threads) = shares(&Engine::builder().config(two).build().unwrap());
    assert_eq!((initial, most, threads), (2, 2, (cores / 2).max(1)), "and the other way round");
    let other = Engine::new().unwrap();
    for config in [other.text_to_text().config(), other.vision().config(), other.text_to_image().config()] {
        assert_eq!((config.initial_workers, config.max_workers), (1, 1), "one worker answers many at once");
    }
}
