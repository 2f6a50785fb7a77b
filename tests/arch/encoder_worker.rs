//! The model as its worker drives it.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use millpond::Dtype;
use millpond::arch::{
    EmbeddingPlan, EmbeddingWeights, MAX_TEXT_BYTES, NetworkConfig, TextEmbedder, estimated_cost, footprint,
};
use millpond::capability::{
    EmbedRequest, Embedding, JobContext, Model, ModelError, Outbox, Overlong, Slot, TextEmbedding,
};

use crate::support::{Agreement, embed_one, fixture, folder, load, shapes_embed};

fn embedder(weights: &Arc<EmbeddingWeights>) -> TextEmbedder {
    TextEmbedder::new(Arc::clone(weights), NonZeroUsize::MIN)
}

fn admit(model: &mut TextEmbedder, slot: u32, request: EmbedRequest) {
    model.admit(Slot(slot), request, &JobContext::detached(u64::from(slot))).unwrap();
}

/// The answers of one step.
fn step(model: &mut TextEmbedder) -> Vec<(Slot, Result<Embedding, ModelError>)> {
    let mut out = Outbox::<TextEmbedding>::new();
    model.step(&mut out).unwrap();
    out.take_ended()
}

/// Who is answered in one step, in order.
fn answered(model: &mut TextEmbedder) -> Vec<u32> {
    step(model).into_iter().map(|(slot, answer)| answer.map(|_| slot.0).unwrap()).collect()
}

/// Admits every text and steps until all are answered; returns how many steps that took.
fn drive(model: &mut TextEmbedder, texts: &[String]) -> (usize, Vec<(Slot, Vec<f32>)>) {
    for (slot, text) in (0..).zip(texts) {
        admit(model, slot, EmbedRequest::new(text.as_str()));
    }
    let (mut steps, mut ended) = (0, Vec::new());
    while ended.len() < texts.len() {
        ended.extend(step(model).into_iter().map(|(slot, result)| (slot, result.unwrap().values)));
        steps += 1;
        assert!(steps <= texts.len(), "every step answers somebody");
    }
    (steps, ended)
}

/// A text of 48 tokens, as many as the fixture `mean` reads, another one for each number below 256.
fn full(number: usize) -> String {
    let digits = (0..8).map(|bit| if number >> bit & 1 == 0 { "mill " } else { "river " });
    digits.collect::<String>() + &"mill ".repeat(100)
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
    let texts: Vec<_> = (0..64).map(full).collect();
    let (steps, ended) = drive(&mut embedder(&weights), &texts);
    assert_eq!(steps, 7, "64 x 48 tokens in steps of 512");
    let order: Vec<u32> = ended.iter().map(|(slot, _)| slot.0).collect();
    assert_eq!(order, (0..64).collect::<Vec<_>>(), "first in, first out");
}

#[test]
fn identical_texts_are_computed_once() {
    let weights = load(&fixture("mean")).unwrap();
    let texts = vec![full(1); 64];
    let (steps, ended) = drive(&mut embedder(&weights), &texts);
    assert_eq!(steps, 1, "48 tokens for 64 callers");
    let alone = embed_one(&weights, EmbedRequest::new(full(1))).unwrap().values;
    assert!(ended.iter().all(|(_, values)| *values == alone));
}

#[test]
fn a_text_beyond_the_steps_budget_is_answered_with_one_within_it() {
    let weights = load(&fixture("mean")).unwrap();
    let mut model = embedder(&weights);
    // Ten of 48 tokens fill a step of 512.
    for (slot, number) in (0..).zip((0..10).chain([10, 1, 11, 10, 0])) {
        admit(&mut model, slot, EmbedRequest::new(full(number)));
    }
    let first: Vec<u32> = (0..10).chain([11, 14]).collect();
    assert_eq!(answered(&mut model), first, "11 and 14 ask for the texts of 1 and 0");
    assert_eq!(answered(&mut model), [10, 12, 13], "the rest in its order");
}

#[test]
fn the_same_text_is_finished_for_each_as_asked() {
    let weights = load(&fixture("mean")).unwrap();
    let text = EmbedRequest::new("the mill on the river");
    let requests = [
        text.clone(),
        text.clone().dimensions(8),
        text.clone().normalize(false),
        text.clone().normalize(false).dimensions(8),
        text.clone().prompt_name("query"),
    ];
    let mut model = embedder(&weights);
    (0..).zip(&requests).for_each(|(slot, request)| admit(&mut model, slot, request.clone()));
    let together = step(&mut model);
    assert_eq!(together.len(), 5);
    for ((slot, got), request) in together.into_iter().zip(requests) {
        let (got, alone) = (got.unwrap(), embed_one(&weights, request).unwrap());
        assert_eq!((got.values.len(), got.tokens), (alone.values.len(), alone.tokens), "{slot:?}");
        assert!(Agreement::PERFECT.with(&got.values, &alone.values).max_difference <= 1e-5, "{slot:?}");
    }
}

#[test]
fn a_canceled_text_is_not_answered() {
    let weights = load(&fixture("mean")).unwrap();
    let mut model = embedder(&weights);
    for slot in [3, 5] {
        admit(&mut model, slot, EmbedRequest::new("mill"));
    }
    model.cancel(Slot(3));
    model.cancel(Slot(99));
    assert_eq!(answered(&mut model), [5]);
    assert!(step(&mut model).is_empty(), "an idle step does nothing");
}

#[test]
fn canceling_one_of_several_identical_texts_leaves_the_others() {
    let weights = load(&fixture("mean")).unwrap();
    let mut model = embedder(&weights);
    // 0 to 9 fill the first step; then the same text three times.
    for (slot, number) in (0..).zip((0..10).chain([10; 3])) {
        admit(&mut model, slot, EmbedRequest::new(full(number)));
    }
    // One leaves before it is tokenized, the first of the three after.
    model.cancel(Slot(11));
    assert_eq!(answered(&mut model), (0..10).collect::<Vec<u32>>());
    model.cancel(Slot(10));
    assert_eq!(answered(&mut model), [12]);
    assert!(step(&mut model).is_empty());
}

#[test]
fn a_text_refused_in_tokenization_fails_alone() {
    let weights = load(&fixture("mean")).unwrap();
    let mut model = embedder(&weights);
    let exact = "mill ".repeat(46);
    for (slot, text) in (0..).zip(["mill", &full(1), &exact, &full(1)]) {
        let overlong = if slot < 3 { Overlong::Refuse } else { Overlong::Cut };
        admit(&mut model, slot, EmbedRequest::new(text).overlong(overlong));
    }
    let mut answers = step(&mut model);
    answers.sort_by_key(|(slot, _)| *slot);
    for (slot, answer) in &answers {
        match (slot.0, answer) {
            (1, Err(ModelError::Invalid(invalid))) => {
                assert_eq!(invalid.field, "text");
                let reason = "it has 110 tokens, special ones included, and the model reads at most 48";
                assert_eq!(invalid.reason, reason);
            }
            (0 | 2, Ok(whole)) => assert!(!whole.truncated),
            (3, Ok(cut)) => assert!(cut.truncated && cut.tokens == 48),
            (slot, answer) => panic!("{slot}: {answer:?}"),
        }
    }
    assert_eq!(answers.len(), 4);
}

#[test]
fn a_text_of_too_many_bytes_is_refused_before_anything_is_done_with_it() {
    let weights = load(&fixture("mean")).unwrap();
    let text = |bytes| EmbedRequest::new("\u{e9}, ".repeat(bytes / 4));
    weights.plan().validate(&text(MAX_TEXT_BYTES)).unwrap();
    let refused = weights.plan().validate(&text(MAX_TEXT_BYTES + 4)).unwrap_err();
    assert_eq!(refused.field, "text");
    assert!(refused.reason.contains("4194308") && refused.reason.contains("4194304"), "{refused}");
    let mut model = embedder(&weights);
    let admitted = model.admit(Slot(0), text(MAX_TEXT_BYTES + 4), &JobContext::detached(0));
    assert!(matches!(admitted, Err(ModelError::Invalid(error)) if error == refused));
    // The longest text that is looked at is cut like any other.
    assert!(embed_one(&weights, text(MAX_TEXT_BYTES)).unwrap().truncated);
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
    let predicted = |dtype| footprint(&folder(&shapes_embed()), dtype, NonZeroUsize::MIN).unwrap();
    let (f32, bf16) = (predicted(Dtype::F32), predicted(Dtype::Bf16));
    // 0.5 M parameters as f32.
    assert!((1_950_000..2_050_000).contains(&f32.weights.bytes()), "{f32:?}");
    assert!((512 << 10..16 << 20).contains(&f32.per_worker.bytes()), "{f32:?}");
    // Threads share a pass that is so many times larger, and the weights.
    let four = footprint(&folder(&shapes_embed()), Dtype::F32, NonZeroUsize::new(4).unwrap()).unwrap();
    assert_eq!(four.weights, f32.weights);
    let (one, four) = (f32.per_worker.bytes(), four.per_worker.bytes());
    assert!(3 * one < four && four <= 4 * one, "{one} and {four}");
    // In bf16 the linear layers of 3 layers of 128 take half as much, all else stays.
    let plan = EmbeddingPlan::read(&folder(&shapes_embed()), Dtype::F32).unwrap();
    let NetworkConfig::Encoder(config) = plan.config() else { panic!("it is an encoder") };
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
