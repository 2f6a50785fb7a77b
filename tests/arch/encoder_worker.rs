//! The model as its worker drives it.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use millpond::Dtype;
use millpond::arch::{EncoderPlan, EncoderWeights, TextEmbedder, estimated_cost, footprint};
use millpond::capability::{EmbedRequest, JobContext, Model, Outbox, Slot, TextEmbedding};

use crate::support::{Agreement, embed_one, fixture, folder, load, shapes_embed};

fn embedder(weights: &Arc<EncoderWeights>) -> TextEmbedder {
    TextEmbedder::new(Arc::clone(weights), NonZeroUsize::MIN)
}

/// Admits every text and steps until all are answered; returns how many steps that took.
fn drive(model: &mut TextEmbedder, texts: &[String]) -> (usize, Vec<(Slot, Vec<f32>)>) {
    for (i, text) in texts.iter().enumerate() {
        model
            .admit(Slot(i as u32), EmbedRequest::new(text.as_str()), &JobContext::detached(i as u64))
            .unwrap();
    }
    let (mut out, mut steps, mut ended) = (Outbox::<TextEmbedding>::new(), 0, Vec::new());
    while ended.len() < texts.len() {
        model.step(&mut out).unwrap();
        steps += 1;
        ended.extend(out.take_ended().into_iter().map(|(slot, result)| (slot, result.unwrap().values)));
        assert!(steps <= texts.len(), "every step answers somebody");
    }
    (steps, ended)
}

#[test]
fn one_step_answers_all_that_fit_it() {
    let weights = load(&fixture("mean")).unwrap();
    let texts: Vec<_> = (0..20).map(|n| "mill ".repeat(n)).collect();
    let (steps, ended) = drive(&mut embedder(&weights), &texts);
    assert_eq!(steps, 1);
    for (slot, values) in ended {
        let alone = embed_one(&weights, EmbedRequest::new(texts[slot.0 as usize].as_str())).unwrap();
        assert!(Agreement::PERFECT.with(&values, &alone.values).max_difference <= 1e-5);
    }
}

#[test]
fn what_does_not_fit_a_step_waits_for_the_next() {
    let weights = load(&fixture("mean")).unwrap();
    let texts = vec!["mill ".repeat(100); 64];
    let (steps, ended) = drive(&mut embedder(&weights), &texts);
    assert_eq!(steps, 13, "64 x 48 tokens in steps of 256");
    let order: Vec<u32> = ended.iter().map(|(slot, _)| slot.0).collect();
    assert_eq!(order, (0..64).collect::<Vec<_>>(), "first in, first out");
}

#[test]
fn a_canceled_text_is_not_answered() {
    let weights = load(&fixture("mean")).unwrap();
    let mut model = embedder(&weights);
    for slot in [Slot(3), Slot(5)] {
        model.admit(slot, EmbedRequest::new("mill"), &JobContext::detached(0)).unwrap();
    }
    model.cancel(Slot(3));
    model.cancel(Slot(99));
    let mut out = Outbox::new();
    model.step(&mut out).unwrap();
    let slots: Vec<_> = out.take_ended().into_iter().map(|(slot, _)| slot).collect();
    assert_eq!(slots, [Slot(5)]);
    model.step(&mut out).unwrap();
    assert!(out.take_ended().is_empty(), "an idle step does nothing");
}

#[test]
fn workers_share_their_weights() {
    let weights = load(&shapes_embed()).unwrap();
    let texts: Vec<_> = (0..8).map(|n| format!("{n} red circles left of a blue square")).collect();
    let alone = drive(&mut embedder(&weights), &texts).1;
    std::thread::scope(|scope| {
        let workers = [1, 2, 1, 2].map(|threads| {
            let (weights, texts) = (Arc::clone(&weights), &texts);
            scope.spawn(move || {
                let mut model = TextEmbedder::new(weights, NonZeroUsize::new(threads).unwrap());
                let first = drive(&mut model, texts).1;
                drop(model);
                // A model is rebuilt on the same thread after a panic.
                let mut model = TextEmbedder::new(load(&fixture("mean")).unwrap(), NonZeroUsize::MIN);
                drive(&mut model, texts);
                first
            })
        });
        for worker in workers {
            for ((_, got), (_, expected)) in worker.join().unwrap().iter().zip(&alone) {
                assert!(Agreement::PERFECT.with(got, expected).max_difference <= 1e-5);
            }
        }
    });
}

#[test]
fn a_second_worker_is_built_in_no_time() {
    let start = Instant::now();
    let weights = load(&shapes_embed()).unwrap();
    let load = start.elapsed();
    std::thread::spawn(move || {
        let start = Instant::now();
        let _model = embedder(&weights);
        let build = start.elapsed();
        println!("load {load:?}, build {build:?}");
        assert!(build < load / 2, "load {load:?}, build {build:?}");
    })
    .join()
    .unwrap();
}

#[test]
fn the_footprint_covers_the_weights_once_and_a_step_per_worker() {
    let predicted = |dtype| footprint(&folder(&shapes_embed()), dtype).unwrap();
    let (f32, bf16) = (predicted(Dtype::F32), predicted(Dtype::Bf16));
    // 0.5 M parameters as f32.
    assert!((1_950_000..2_050_000).contains(&f32.weights.bytes()), "{f32:?}");
    assert!((512 << 10..16 << 20).contains(&f32.per_worker.bytes()), "{f32:?}");
    // In bf16 the linear layers of 3 layers of 128 take half as much, all else stays.
    let config = EncoderPlan::read(&folder(&shapes_embed()), Dtype::F32).unwrap().config().clone();
    let (width, inner) = (config.hidden_size as u64, config.intermediate_size as u64);
    let linear = config.num_hidden_layers() as u64 * (4 * width * width + 2 * width * inner);
    assert_eq!(f32.weights.bytes() - bf16.weights.bytes(), 2 * linear);
}

#[test]
fn cost_follows_length_up_to_the_models_limit() {
    let weights = load(&fixture("mean")).unwrap();
    assert_eq!(estimated_cost(&EmbedRequest::new("")), 2);
    let long = EmbedRequest::new("x".repeat(4000));
    assert_eq!(estimated_cost(&long), 1002);
    assert_eq!(weights.plan().cost(&long), 48);
}

/// `cargo test --test arch -- --ignored --nocapture memory` prints what further workers add.
#[test]
#[ignore = "measures, asserts nothing"]
#[cfg(target_os = "linux")]
fn memory_of_one_worker_and_of_four() {
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let model = std::env::var_os("MILLPOND_MINILM_DIR").expect("MILLPOND_MINILM_DIR names the model");
    let start = Instant::now();
    let weights = load(model.as_ref()).unwrap();
    println!("load {:?}, {} KiB resident", start.elapsed(), resident());
    let (done, finished) = std::sync::mpsc::channel();
    let stop = Arc::new(std::sync::Barrier::new(5));
    for workers in 1..=4 {
        let (weights, done, stop) = (Arc::clone(&weights), done.clone(), Arc::clone(&stop));
        std::thread::spawn(move || {
            let start = Instant::now();
            let mut model = embedder(&weights);
            let build = start.elapsed();
            drive(&mut model, &vec!["word ".repeat(126); 32]);
            done.send(build).unwrap();
            stop.wait();
        });
        let build = finished.recv().unwrap();
        println!("{workers} workers that have served: {} KiB resident, built in {build:?}", resident());
    }
    stop.wait();
}
