//! Embeddings equal those of sentence-transformers, alone and in company.

use std::path::Path;

use millpond::capability::EmbedRequest;
use serde::Deserialize;

use crate::support::{Agreement, Case, cases, embed_one, fixture, load, shapes_embed};

fn agrees(name: &str, model: &Path) {
    let weights = load(model).unwrap();
    let cases = cases(name);
    let requests: Vec<_> = cases.iter().map(Case::request).collect();
    let mut agreement = Agreement::PERFECT;
    for (case, got) in cases.iter().zip(weights.embed(&requests)) {
        let got = got.unwrap_or_else(|e| panic!("{name}: {:?}: {e}", case.text));
        assert_eq!((got.tokens, got.truncated), (case.tokens, case.truncated), "{name}: {:?}", case.text);
        agreement = agreement.with(&got.values, &case.embedding);
    }
    agreement.require(name);
}

#[test]
fn mean_pooling_with_normalisation_agrees() {
    agrees("mean", &fixture("mean"));
}

#[test]
fn cls_pooling_with_prefixed_names_agrees() {
    agrees("cls", &fixture("cls"));
}

#[test]
fn max_pooling_of_f16_weights_without_the_prompt_agrees() {
    agrees("max-f16", &fixture("max-f16"));
}

#[test]
fn the_shipped_model_agrees() {
    agrees("shapes-embed", &shapes_embed());
}

#[derive(Deserialize)]
struct MiniLmTexts {
    texts: Vec<String>,
    tokens: Vec<usize>,
    truncated: Vec<bool>,
}

/// Runs where `MILLPOND_MINILM_DIR` names a folder with all-MiniLM-L6-v2.
#[test]
fn all_minilm_l6_v2_agrees() {
    let Some(model) = std::env::var_os("MILLPOND_MINILM_DIR") else {
        println!("skipped: MILLPOND_MINILM_DIR is not set");
        return;
    };
    let weights = load(Path::new(&model)).unwrap();
    let file = std::fs::read(fixture("minilm.json")).unwrap();
    let reference: MiniLmTexts = serde_json::from_slice(&file).unwrap();
    let vectors =
        candle_core::safetensors::load(fixture("minilm.safetensors"), &candle_core::Device::Cpu).unwrap();
    let vectors = vectors["embeddings"].to_vec2::<f32>().unwrap();
    let requests: Vec<_> = reference.texts.iter().map(|text| EmbedRequest::new(text.as_str())).collect();
    let mut agreement = Agreement::PERFECT;
    for (i, got) in weights.embed(&requests).into_iter().enumerate() {
        let got = got.unwrap();
        assert_eq!(got.tokens, reference.tokens[i], "{:?}", reference.texts[i]);
        assert_eq!(got.truncated, reference.truncated[i], "{:?}", reference.texts[i]);
        agreement = agreement.with(&got.values, &vectors[i]);
    }
    agreement.require("all-MiniLM-L6-v2");
}

#[test]
fn a_text_has_the_same_vector_alone_and_in_a_batch_of_32() {
    for model in [fixture("mean"), fixture("cls"), fixture("max-f16"), shapes_embed()] {
        let weights = load(&model).unwrap();
        // Short enough that all 32 share one pass.
        let text = |n: usize| "a red circle ".repeat(n % 3) + &"x ".repeat(n / 4);
        let requests: Vec<_> = (0..32).map(|n| EmbedRequest::new(text(n))).collect();
        let mut agreement = Agreement::PERFECT;
        for (request, together) in requests.iter().zip(weights.embed(&requests)) {
            let alone = embed_one(&weights, request.clone()).unwrap();
            agreement = agreement.with(&together.unwrap().values, &alone.values);
        }
        assert!(agreement.max_difference <= 1e-5, "{}: {agreement:?}", model.display());
    }
}

#[test]
fn what_is_cut_is_reported() {
    let weights = load(&fixture("mean")).unwrap();
    assert_eq!(weights.plan().max_tokens(), 48);
    for (words, tokens, truncated) in [(46, 48, false), (47, 48, true), (100_000, 48, true)] {
        let got = embed_one(&weights, EmbedRequest::new("mill ".repeat(words))).unwrap();
        assert_eq!((got.tokens, got.truncated), (tokens, truncated), "{words} words");
    }
}

#[test]
fn fewer_dimensions_are_the_first_ones_scaled_again() {
    let weights = load(&fixture("mean")).unwrap();
    let request = EmbedRequest::new("the mill on the river");
    let raw = embed_one(&weights, request.clone().normalize(false)).unwrap().values;
    let whole = embed_one(&weights, request.clone()).unwrap().values;
    let short = embed_one(&weights, request.dimensions(8)).unwrap().values;
    let length = |values: &[f32]| values.iter().map(|x| x * x).sum::<f32>().sqrt();
    assert!((length(&whole) - 1.0).abs() < 1e-6 && (length(&short) - 1.0).abs() < 1e-6);
    assert!((length(&raw) - 1.0).abs() > 0.01, "the model's own vectors are not of length 1");
    let scaled: Vec<f32> = raw[..8].iter().map(|x| x / length(&raw[..8])).collect();
    assert!(Agreement::PERFECT.with(&short, &scaled).max_difference < 1e-6);
}

/// `cargo test --test arch -- --ignored --nocapture speed` prints sequences per second of 32 x 128 tokens.
#[test]
#[ignore = "measures, asserts nothing"]
fn speed_of_32_texts_of_128_tokens() {
    let model = std::env::var_os("MILLPOND_MINILM_DIR").expect("MILLPOND_MINILM_DIR names the model");
    let weights = load(Path::new(&model)).unwrap();
    let requests = vec![EmbedRequest::new("word ".repeat(126)); 32];
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut seconds: Vec<f64> = (0..5)
            .map(|_| {
                let start = std::time::Instant::now();
                pool.install(|| assert!(weights.embed(&requests).iter().all(Result::is_ok)));
                start.elapsed().as_secs_f64()
            })
            .collect();
        seconds.sort_by(f64::total_cmp);
        println!(
            "{threads} threads: {:.1} sequences/s, median of 5; best {:.1}",
            32.0 / seconds[2],
            32.0 / seconds[0]
        );
    }
}
