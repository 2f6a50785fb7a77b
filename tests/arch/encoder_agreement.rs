//! Embeddings equal those of sentence-transformers, alone and in company.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use millpond::Dtype;
use millpond::arch::{Architecture, EmbeddingWeights};
use millpond::capability::EmbedRequest;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{
    Agreement, Case, cases, copy_of, embed_one, fixture, folder, load, patch, shapes_embed,
};

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

/// Each of these differs from the others in tokenizer, dtype, stages and layout too: see `families.py`.
const FAMILIES: [(&str, Architecture); 6] = [
    ("roberta", Architecture::Roberta),
    ("xlm-roberta-f16", Architecture::XlmRoberta),
    ("distilbert-dense", Architecture::DistilBert),
    ("mpnet-bf16", Architecture::MpNet),
    ("modernbert-sharded", Architecture::ModernBert),
    ("nomic", Architecture::NomicBert),
];

#[test]
fn every_family_agrees() {
    for (name, family) in FAMILIES {
        assert_eq!(Architecture::of(&folder(&fixture(name))).unwrap(), family, "{name}");
        agrees(name, &fixture(name));
    }
}

/// What a model made of a folder's copy computes, beside what that of the folder itself does.
fn still_agrees(name: &str, change: impl FnOnce(&Path)) {
    let copy = copy_of(name);
    change(copy.path());
    let weights = load(copy.path()).unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut agreement = Agreement::PERFECT;
    for case in cases(name) {
        let got = embed_one(&weights, case.request()).unwrap();
        agreement = agreement.with(&got.values, &case.embedding);
    }
    agreement.require(name);
}

#[test]
fn modernbert_in_the_words_of_transformers_4_is_the_same() {
    still_agrees("modernbert-sharded", |copy| {
        for field in ["layer_types", "rope_parameters"] {
            patch(copy, "config.json", field, Value::Null);
        }
        for (field, value) in [
            ("global_attn_every_n_layers", json!(3)),
            ("global_rope_theta", json!(160_000.0)),
            ("local_rope_theta", json!(10_000.0)),
            ("position_embedding_type", json!("absolute")),
        ] {
            patch(copy, "config.json", field, value);
        }
    });
}

#[test]
fn camembert_is_roberta_by_another_name() {
    still_agrees("roberta", |copy| patch(copy, "config.json", "model_type", json!("camembert")));
    still_agrees("roberta", |copy| {
        patch(copy, "config.json", "model_type", Value::Null);
        patch(copy, "config.json", "architectures", json!(["XLMRobertaForMaskedLM"]));
    });
}

#[test]
fn nomic_in_the_words_of_transformers_is_the_same() {
    still_agrees("nomic", |copy| {
        let (hidden, heads) = (32, 2);
        let config = json!({
            "model_type": "nomic_bert", "vocab_size": 0, "hidden_size": hidden, "num_attention_heads": heads,
            "num_hidden_layers": 2, "intermediate_size": 64, "max_position_embeddings": 128,
            "hidden_act": "silu", "layer_norm_eps": 1e-12, "type_vocab_size": 2,
            "rope_parameters": { "rope_theta": 1000.0, "rope_type": "default" },
        });
        rewrite(copy, |name, tensor, tensors| {
            let name = match name.strip_prefix("encoder.") {
                Some(layer) => format!("nomic_bert.{layer}"),
                None => format!("nomic_bert.{name}").replace("emb_ln", "embeddings.LayerNorm"),
            };
            let parts = [("q", 0), ("k", 1), ("v", 2)];
            for (part, i) in parts.into_iter().filter(|_| name.contains("attn.Wqkv")) {
                let rows = tensor.narrow(0, i * hidden, hidden).unwrap().copy().unwrap();
                tensors.push((name.replace("attn.Wqkv", &format!("self_attn.{part}_proj")), rows));
            }
            let renamed = [
                ("attn.out_proj", "self_attn.o_proj"),
                ("mlp.fc11", "mlp.up_proj"),
                ("mlp.fc12", "mlp.gate_proj"),
                ("mlp.fc2", "mlp.down_proj"),
                ("norm1", "post_attention_layernorm"),
                ("norm2", "post_mlp_layernorm"),
            ];
            let name = renamed.iter().fold(name, |name, (old, new)| name.replace(old, new));
            tensors.push((name, tensor));
        });
        let words = candle_core::safetensors::load(copy.join("model.safetensors"), &Device::Cpu).unwrap()
            ["nomic_bert.embeddings.word_embeddings.weight"]
            .dim(0)
            .unwrap();
        std::fs::write(copy.join("config.json"), config.to_string()).unwrap();
        patch(copy, "config.json", "vocab_size", json!(words));
    });
}

/// Saves the copy's tensors anew, as `change` has them.
fn rewrite(copy: &Path, change: impl Fn(String, Tensor, &mut Vec<(String, Tensor)>)) {
    let file = copy.join("model.safetensors");
    let mut tensors = Vec::new();
    for (name, tensor) in candle_core::safetensors::load(&file, &Device::Cpu).unwrap() {
        change(name, tensor, &mut tensors);
    }
    let tensors: HashMap<_, _> = tensors.into_iter().collect();
    candle_core::safetensors::save(&tensors, &file).unwrap();
}

#[test]
fn norms_may_have_their_older_names() {
    still_agrees("distilbert-dense", |copy| {
        rewrite(&copy.join("0_Transformer"), |name, tensor, tensors| {
            let norm = name.to_lowercase().contains("norm");
            let name = if norm { name.replace("weight", "gamma").replace("bias", "beta") } else { name };
            tensors.push((name, tensor));
        });
    });
}

#[test]
fn bf16_stays_near_f32() {
    for (name, _) in FAMILIES {
        let weights = EmbeddingWeights::load(&folder(&fixture(name)), Dtype::Bf16).unwrap();
        let mut agreement = Agreement::PERFECT;
        for case in cases(name).iter().filter(|case| !case.text.trim().is_empty()) {
            let got = embed_one(&weights, case.request()).unwrap();
            agreement = agreement.with(&got.values, &case.embedding);
        }
        println!("{name}: {agreement:?}");
        // Weights this random are no measure of what a trained network loses; a wrong one is far off.
        assert!(agreement.min_cosine > 0.98, "{name}: {agreement:?}");
    }
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
    let families = FAMILIES.map(|(name, _)| fixture(name));
    for model in
        [fixture("mean"), fixture("cls"), fixture("max-f16"), shapes_embed()].into_iter().chain(families)
    {
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
