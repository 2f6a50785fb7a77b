//! Hostile files and requests get typed errors; what is wrong with one request stays with it.

use std::path::Path;

use millpond::arch::{ArchError, Architecture, footprint};
use millpond::capability::{EmbedRequest, ModelError};
use serde_json::{Value, json};

use crate::support::{copy_of, embed_one, fixture, folder, load};

/// Sets one entry of a JSON file, or removes it where `value` is null.
fn patch(folder: &Path, file: &str, field: &str, value: Value) {
    let path = folder.join(file);
    let mut json: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    match value {
        Value::Null => drop(json.as_object_mut().unwrap().remove(field)),
        value => json[field] = value,
    }
    std::fs::write(path, json.to_string()).unwrap();
}

#[test]
fn hostile_configurations_are_refused_before_anything_is_allocated() {
    let huge = json!(u64::MAX);
    let table = [
        ("hidden_size", json!(0)),
        ("hidden_size", huge.clone()),
        ("hidden_size", json!(-32)),
        ("hidden_size", json!("wide")),
        ("hidden_size", json!(36)),
        ("hidden_size", Value::Null),
        ("num_hidden_layers", json!(0)),
        ("num_hidden_layers", json!(3)),
        ("num_hidden_layers", json!(1_000_000_000)),
        ("num_attention_heads", json!(0)),
        ("num_attention_heads", json!(5)),
        ("num_attention_heads", huge.clone()),
        ("intermediate_size", json!(0)),
        ("intermediate_size", huge.clone()),
        ("vocab_size", json!(0)),
        ("vocab_size", json!(7)),
        ("vocab_size", json!(4_000_000)),
        ("vocab_size", huge.clone()),
        ("max_position_embeddings", json!(0)),
        ("max_position_embeddings", json!(1)),
        ("max_position_embeddings", json!(65)),
        ("max_position_embeddings", huge.clone()),
        ("type_vocab_size", json!(0)),
        ("type_vocab_size", huge),
        ("layer_norm_eps", json!(-1.0)),
        ("layer_norm_eps", json!("tiny")),
        ("hidden_act", json!("swishglu")),
        ("position_embedding_type", json!("relative_key")),
        ("is_decoder", json!(true)),
        ("model_type", json!("mamba")),
        ("model_type", json!(7)),
    ];
    for (field, value) in table {
        let copy = copy_of("mean");
        patch(copy.path(), "config.json", field, value.clone());
        let error = load(copy.path()).expect_err(&format!("{field} = {value} is refused"));
        assert!(!error.to_string().is_empty());
        let typed = matches!(
            error,
            ArchError::BadConfig { .. } | ArchError::Unsupported { .. } | ArchError::Weights(_)
        );
        assert!(typed || field == "max_position_embeddings", "{field} = {value}: {error:?}");
        let _ = footprint(&folder(copy.path()));
    }
}

#[test]
fn an_unknown_architecture_is_answered_with_what_is_known() {
    let copy = copy_of("mean");
    patch(copy.path(), "config.json", "model_type", json!("mamba"));
    let error = Architecture::of(&folder(copy.path())).unwrap_err().to_string();
    assert!(error.contains("mamba") && error.contains("bert"), "{error}");
}

#[test]
fn both_generations_of_configuration_files_are_read() {
    for (field, value) in [
        ("torch_dtype", json!("float32")),
        ("dtype", json!("float32")),
        ("position_embedding_type", json!("absolute")),
        ("position_embedding_type", Value::Null),
        ("model_type", Value::Null),
        ("hidden_act", json!("gelu_new")),
        ("hidden_act", json!("relu")),
    ] {
        let copy = copy_of("mean");
        patch(copy.path(), "config.json", field, value.clone());
        load(copy.path()).unwrap_or_else(|e| panic!("{field} = {value}: {e}"));
    }
}

#[test]
fn broken_folders_are_refused() {
    let table: [(&str, Option<&str>); 14] = [
        ("config.json", None),
        ("config.json", Some("{")),
        ("config.json", Some("[]")),
        ("tokenizer.json", None),
        ("tokenizer.json", Some("")),
        ("tokenizer.json", Some("{\"model\":{}}")),
        ("model.safetensors", None),
        ("model.safetensors", Some("not tensors")),
        ("modules.json", Some("[{\"type\":\"x.Transformer\"},{\"type\":\"x.Dense\"}]")),
        ("modules.json", Some("[]")),
        ("1_Pooling/config.json", None),
        ("1_Pooling/config.json", Some("{\"pooling_mode\":\"guess\"}")),
        ("1_Pooling/config.json", Some("{\"word_embedding_dimension\":33}")),
        ("config_sentence_transformers.json", Some("{\"default_prompt_name\":\"nobody\"}")),
    ];
    for (file, content) in table {
        let copy = copy_of("mean");
        match content {
            Some(content) => std::fs::write(copy.path().join(file), content).unwrap(),
            None => std::fs::remove_file(copy.path().join(file)).unwrap(),
        }
        assert!(load(copy.path()).is_err(), "{file} = {content:?}");
    }
    let copy = copy_of("mean");
    patch(copy.path(), "sentence_bert_config.json", "max_seq_length", json!(2));
    assert!(matches!(load(copy.path()), Err(ArchError::Tokenizer(_))), "no room for text");
}

#[test]
fn a_folder_without_instructions_gets_mean_pooling() {
    let copy = copy_of("mean");
    let expected = load(copy.path()).unwrap();
    for file in [
        "modules.json",
        "sentence_bert_config.json",
        "config_sentence_transformers.json",
        "tokenizer_config.json",
    ] {
        std::fs::remove_file(copy.path().join(file)).unwrap();
    }
    let bare = load(copy.path()).unwrap();
    assert_eq!(bare.plan().max_tokens(), 64, "as many as it has positions");
    let request = EmbedRequest::new("the mill on the river");
    let got = embed_one(&bare, request.clone()).unwrap();
    assert_eq!(got, embed_one(&expected, request.normalize(false)).unwrap());
}

#[test]
fn requests_that_cannot_be_served_are_invalid_and_harm_nobody() {
    let weights = load(&fixture("mean")).unwrap();
    let good = EmbedRequest::new("mill");
    let bad = [
        (good.clone().dimensions(0), "dimensions", "1..=32"),
        (good.clone().dimensions(33), "dimensions", "1..=32"),
        (good.clone().prompt_name("title"), "prompt_name", "\"query\""),
    ];
    for (request, field, says) in bad {
        let answers = weights.embed(&[good.clone(), request.clone(), good.clone()]);
        assert_eq!(answers[0].as_ref().unwrap(), answers[2].as_ref().unwrap());
        match &answers[1] {
            Err(ModelError::Invalid(error)) => {
                assert_eq!(error.field, field);
                assert!(error.reason.contains(says), "{error}");
                assert_eq!(
                    weights.plan().validate(&request).as_ref(),
                    Err(error),
                    "refused before it is queued"
                );
            }
            other => panic!("{request:?}: {other:?}"),
        }
    }
}

#[test]
fn a_token_the_network_does_not_know_is_an_invalid_request() {
    // The tokenizer of another model: larger than this network's table of words.
    let copy = copy_of("mean");
    std::fs::copy(crate::support::shapes_embed().join("tokenizer.json"), copy.path().join("tokenizer.json"))
        .unwrap();
    let weights = load(copy.path()).unwrap();
    let error = embed_one(&weights, EmbedRequest::new("a purple triangle above a yellow ring")).unwrap_err();
    assert!(matches!(error, ModelError::Invalid(ref error) if error.field == "text"), "{error:?}");
}

#[test]
fn a_broken_weight_fails_the_texts_that_meet_it_and_no_other() {
    let copy = copy_of("mean");
    let file = copy.path().join("model.safetensors");
    let mut tensors = candle_core::safetensors::load(&file, &candle_core::Device::Cpu).unwrap();
    let tokenizer: Value =
        serde_json::from_slice(&std::fs::read(copy.path().join("tokenizer.json")).unwrap()).unwrap();
    let row = tokenizer["model"]["vocab"]["flour"].as_u64().unwrap() as usize;
    for poison in [f32::NAN, f32::INFINITY] {
        let words = tensors.get_mut("embeddings.word_embeddings.weight").unwrap();
        let mut rows = words.to_vec2::<f32>().unwrap();
        rows[row][3] = poison;
        *words = candle_core::Tensor::new(rows, words.device()).unwrap();
        candle_core::safetensors::save(&tensors, &file).unwrap();
        let weights = load(copy.path()).unwrap();
        let texts = ["the mill", "flour to the mill", "the river"].map(EmbedRequest::new);
        let answers = weights.embed(&texts);
        assert!(matches!(answers[1], Err(ModelError::Numeric(_))), "{:?}", answers[1]);
        for good in [0, 2] {
            assert_eq!(answers[good].as_ref().unwrap().values.len(), 32);
            assert!(embed_one(&weights, texts[good].clone()).is_ok(), "the next request is fine");
        }
    }
}
