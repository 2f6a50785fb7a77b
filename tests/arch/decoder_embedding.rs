//! Decoders that embed agree with sentence-transformers, and are served as encoders are.

use std::num::NonZeroUsize;
use std::path::Path;

use millpond::arch::{ArchError, Architecture, DecoderFamily, EmbeddingPlan, EmbeddingWeights};
use millpond::capability::{EmbedRequest, ModelError, Overlong};
use millpond::memory::MemoryBudget;
use millpond::weights::ModelFiles;
use millpond::{ByteSize, Capabilities, Dtype, Engine, Error};
use serde_json::{Value, json};

use crate::support::{Agreement, Case, cases, copy_of, embed_one, fixture, folder, load, patch};

/// See `decoders.py`.
const MODELS: [(&str, DecoderFamily); 4] = [
    ("qwen3", DecoderFamily::Qwen3),
    ("gemma3", DecoderFamily::Gemma3),
    ("mistral-f16", DecoderFamily::Mistral),
    ("llama", DecoderFamily::Llama),
];

/// How far what `model` computes is from what the reference made of the fixture `name`.
fn agreement(name: &str, model: &Path) -> Agreement {
    let weights = load(model).unwrap_or_else(|error| panic!("{name}: {error}"));
    let cases = cases(name);
    let requests: Vec<_> = cases.iter().map(Case::request).collect();
    let mut agreement = Agreement::PERFECT;
    for (case, got) in cases.iter().zip(weights.embed(&requests)) {
        let got = got.unwrap_or_else(|error| panic!("{name}: {:?}: {error}", case.text));
        assert_eq!((got.tokens, got.truncated), (case.tokens, case.truncated), "{name}: {:?}", case.text);
        agreement = agreement.with(&got.values, &case.embedding);
    }
    agreement
}

#[test]
fn every_model_agrees() {
    for (name, family) in MODELS {
        assert_eq!(Architecture::of(&folder(&fixture(name))).unwrap(), Architecture::Decoder(family));
        agreement(name, &fixture(name)).require(name);
    }
}

#[test]
fn the_reference_tells_windows_and_directions_apart() {
    let changed = |name: &str, field: &str, value: Value| {
        let copy = copy_of(name);
        let network =
            if name == "llama" { copy.path().join("0_Transformer") } else { copy.path().to_owned() };
        patch(&network, "config.json", field, value);
        let found = agreement(name, copy.path());
        assert!(found.max_difference > 1e-3, "{name} with another {field}: {found:?}");
    };
    changed("gemma3", "sliding_window", json!(14));
    changed("gemma3", "sliding_window", json!(10));
    changed("gemma3", "use_bidirectional_attention", json!(false));
    changed("mistral-f16", "sliding_window", json!(11));
    changed("mistral-f16", "sliding_window", json!(9));
    changed("llama", "is_causal", json!(false));
}

#[test]
fn a_text_has_the_same_bits_alone_and_in_company() {
    for (name, _) in MODELS {
        let weights = load(&fixture(name)).unwrap();
        let text = |n: usize| "the mill ".repeat(n % 5) + &"water ".repeat(n / 3) + &n.to_string();
        let requests: Vec<_> = (0..40).map(|n| EmbedRequest::new(text(n))).collect();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let together = pool.install(|| weights.embed(&requests));
        for (request, together) in requests.iter().zip(together) {
            assert_eq!(embed_one(&weights, request.clone()).unwrap(), together.unwrap(), "{name}");
        }
    }
}

#[test]
fn bf16_stays_close() {
    for (name, _) in MODELS {
        let weights = EmbeddingWeights::load(&folder(&fixture(name)), Dtype::Bf16).unwrap();
        let mut agreement = Agreement::PERFECT;
        for case in cases(name) {
            agreement = agreement.with(&embed_one(&weights, case.request()).unwrap().values, &case.embedding);
        }
        println!("{name}: {agreement:?}");
        // Weights this random are no measure of what a trained network loses; a wrong one is far off.
        assert!(agreement.min_cosine > 0.98, "{name}: {agreement:?}");
    }
}

#[test]
fn what_is_too_long_is_cut_and_reported_or_refused() {
    let weights = load(&fixture("qwen3")).unwrap();
    assert_eq!(weights.plan().max_tokens(), 80);
    let long = EmbedRequest::new("mill ".repeat(5000));
    let cut = embed_one(&weights, long.clone()).unwrap();
    assert_eq!((cut.tokens, cut.truncated), (80, true));
    let refused = embed_one(&weights, long.overlong(Overlong::Refuse)).unwrap_err();
    assert!(matches!(refused, ModelError::Invalid(_)), "{refused:?}");
}

#[test]
fn a_decoder_embeds_if_its_folder_says_how_and_writes_otherwise() {
    let engine = Engine::builder().budget(MemoryBudget::fixed(ByteSize::new(1 << 30))).build().unwrap();
    let add = |key: &str, path: &Path| engine.add(key, path.to_str().unwrap());
    for (name, _) in MODELS {
        assert_eq!(add(name, &fixture(name)).unwrap(), Capabilities::TextEmbedding, "{name}");
        let case = cases(name).remove(0);
        let got = engine.embed(name, case.text).unwrap();
        Agreement::PERFECT.with(&got.values, &case.embedding).require(name);
    }
    let bare = |name: &str| {
        let copy = copy_of(name);
        std::fs::remove_file(copy.path().join("modules.json")).unwrap();
        let files = ModelFiles::Folder(folder(copy.path()));
        assert_eq!(Capabilities::of(&files).unwrap(), Capabilities::TextToText, "{name}");
        add(&format!("bare {name}"), copy.path())
    };
    bare("qwen3").unwrap();
    bare("mistral-f16").unwrap();
    // It has seen what comes next too often to say it.
    let error = bare("gemma3").unwrap_err();
    assert!(matches!(error, Error::Arch(ArchError::BadConfig { .. })), "{error}");
    assert!(error.to_string().contains("both ways"), "{error}");
}

#[test]
fn the_footprint_covers_the_weights_once_and_a_pass_per_worker() {
    let threads = NonZeroUsize::MIN;
    let of = |dtype| EmbeddingPlan::read(&folder(&fixture("gemma3")), dtype).unwrap();
    let (f32, bf16) =
        (of(Dtype::F32).footprint(threads).unwrap(), of(Dtype::Bf16).footprint(threads).unwrap());
    // 320 tokens, 3 layers of 8 x (4 + 2) heads and a feed-forward part of 48, two dense stages.
    let linear = 3 * (32 * (2 * 32 + 2 * 8) + 3 * 32 * 48);
    let (table, norms, dense) = (320 * 32, 32 + 3 * (4 * 32 + 2 * 8), 2 * 32 * 96);
    assert_eq!(f32.weights.bytes(), 4 * (linear + table + norms + dense));
    assert_eq!(f32.weights.bytes() - bf16.weights.bytes(), 2 * linear);
    // 512 tokens: at least input, norm and attention's rows.
    assert!((4 * 512 * 300..4 * 512 * 1000).contains(&f32.per_worker.bytes()), "{f32:?}");
    let more = of(Dtype::F32).footprint(NonZeroUsize::new(2).unwrap()).unwrap();
    assert_eq!(more.weights, f32.weights);
    assert!(more.per_worker > f32.per_worker);
}

#[test]
fn files_that_do_not_fit_each_other_are_refused() {
    let changes = [
        ("config.json", "sliding_window", json!(u64::MAX)),
        ("config.json", "vocab_size", json!(7)),
        ("config.json", "hidden_size", json!(64)),
        ("config.json", "num_key_value_heads", json!(3)),
        ("config.json", "max_position_embeddings", json!(u64::MAX)),
        ("config.json", "layer_types", json!(["full_attention"])),
        ("config.json", "model_type", json!("qwen3")),
        ("1_Pooling/config.json", "word_embedding_dimension", json!(48)),
        ("2_Dense/config.json", "in_features", json!(48)),
        ("3_Dense/config.json", "activation_function", json!("torch.nn.Softmax")),
        ("sentence_bert_config.json", "max_seq_length", json!(2)),
    ];
    for (file, field, value) in changes {
        let copy = copy_of("gemma3");
        patch(copy.path(), file, field, value.clone());
        let error = load(copy.path()).expect_err(&format!("{file}: {field} = {value} is refused"));
        assert!(!error.to_string().is_empty());
        if let Ok(plan) = EmbeddingPlan::read(&folder(copy.path()), Dtype::F32) {
            let _ = plan.footprint(NonZeroUsize::MIN);
        }
    }
}
