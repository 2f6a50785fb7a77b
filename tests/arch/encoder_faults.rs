//! Hostile files and requests get typed errors; what is wrong with one request stays with it.

use millpond::Dtype;
use millpond::arch::{ArchError, Architecture, footprint};
use millpond::capability::{EmbedRequest, ModelError};
use serde_json::{Value, json};

use crate::support::{copy_of, embed_one, fixture, folder, load, patch};

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
        let _ = footprint(&folder(copy.path()), Dtype::F32);
    }
}

/// Every change to the configuration `file` of the fixture `name` is refused, alone, with a typed error.
fn refused(name: &str, file: &str, changes: &[(&str, Value)]) {
    for (field, value) in changes {
        let copy = copy_of(name);
        patch(copy.path(), file, field, value.clone());
        let error = load(copy.path()).expect_err(&format!("{name}: {field} = {value} is refused"));
        let typed = matches!(
            error,
            ArchError::BadConfig { .. } | ArchError::Unsupported { .. } | ArchError::Weights(_)
        );
        assert!(typed, "{name}: {field} = {value}: {error:?}");
        let _ = footprint(&folder(copy.path()), Dtype::Auto);
    }
}

#[test]
fn hostile_configurations_of_berts_kin_are_refused() {
    let (huge, long) = (json!(u64::MAX), json!(1 << 20));
    let roberta = [
        ("num_attention_heads", json!(0)),
        ("num_hidden_layers", json!(1_000_000_000)),
        ("max_position_embeddings", json!(2)),
        ("max_position_embeddings", long.clone()),
        ("pad_token_id", json!(-1)),
        ("pad_token_id", json!(70)),
        ("pad_token_id", huge.clone()),
        ("type_vocab_size", json!(2)),
        ("hidden_size", json!(64)),
    ];
    refused("roberta", "config.json", &roberta);
    let xlm_roberta =
        [("intermediate_size", json!(63)), ("vocab_size", json!(10)), ("is_decoder", json!(true))];
    refused("xlm-roberta-f16", "config.json", &xlm_roberta);
    let distilbert = [
        ("n_heads", json!(0)),
        ("n_heads", json!(3)),
        ("n_layers", json!(0)),
        ("n_layers", json!(3)),
        ("n_layers", huge.clone()),
        ("dim", json!(16)),
        ("dim", Value::Null),
        ("hidden_dim", json!(0)),
        ("activation", json!("mish")),
        ("max_position_embeddings", long),
    ];
    refused("distilbert-dense", "0_Transformer/config.json", &distilbert);
    let mpnet = [
        ("relative_attention_num_buckets", json!(0)),
        ("relative_attention_num_buckets", json!(16)),
        ("relative_attention_num_buckets", json!(33)),
        ("relative_attention_num_buckets", huge),
        ("max_position_embeddings", json!(2)),
        ("num_attention_heads", json!(8)),
    ];
    refused("mpnet-bf16", "config.json", &mpnet);
}

#[test]
fn hostile_configurations_of_modernbert_are_refused() {
    let rope = |entries: Value| json!({ "full_attention": entries });
    let changes = [
        ("local_attention", json!(0)),
        ("local_attention", json!(u64::MAX)),
        ("layer_types", json!(["full_attention"])),
        ("layer_types", json!(["a", "b", "c", "d"])),
        ("layer_types", json!([0, 0, 0, 0])),
        ("num_attention_heads", json!(0)),
        ("num_attention_heads", json!(32)),
        ("num_hidden_layers", json!(5)),
        ("num_hidden_layers", json!(u64::MAX)),
        ("norm_bias", json!(true)),
        ("attention_bias", json!(true)),
        ("mlp_bias", json!(true)),
        ("intermediate_size", json!(96)),
        ("rope_parameters", rope(json!({ "rope_theta": 0.0 }))),
        ("rope_parameters", rope(json!({ "rope_theta": 1e300 }))),
        ("rope_parameters", rope(json!({ "rope_type": "yarn" }))),
        ("global_attn_every_n_layers", json!(0)),
        ("norm_eps", json!(2.0)),
    ];
    refused("modernbert-sharded", "config.json", &changes);
}

#[test]
fn hostile_configurations_of_nomic_bert_are_refused() {
    let changes = [
        ("n_head", json!(0)),
        ("n_head", json!(32)),
        ("n_layer", json!(u64::MAX)),
        ("n_embd", Value::Null),
        ("n_inner", json!(1)),
        ("n_positions", json!(0)),
        ("n_positions", json!(u64::MAX)),
        ("rotary_emb_fraction", json!(0.0)),
        ("rotary_emb_fraction", json!(2.0)),
        ("rotary_emb_base", json!(-1)),
        ("rotary_emb_scale_base", json!(512)),
        ("prenorm", json!(true)),
        ("parallel_block", json!(true)),
        ("use_rms_norm", json!(true)),
        ("causal", json!(true)),
        ("scale_attn_by_inverse_layer_idx", json!(true)),
        ("moe_every_n_layers", json!(2)),
        ("qkv_proj_bias", json!(true)),
        ("mlp_fc1_bias", json!(true)),
        ("activation_function", json!("gelu")),
        ("activation_function", json!("glu")),
        ("type_vocab_size", json!(3)),
        ("rope_parameters", json!({ "rope_type": "yarn" })),
    ];
    refused("nomic", "config.json", &changes);
}

#[test]
fn positions_beyond_what_was_trained_are_cut_where_angles_would_be_scaled() {
    let copy = copy_of("nomic");
    patch(copy.path(), "config.json", "rotary_scaling_factor", json!(2.0));
    patch(copy.path(), "config.json", "max_trained_positions", json!(64));
    assert_eq!(load(copy.path()).unwrap().plan().max_tokens(), 64);
}

#[test]
fn a_long_limit_costs_nothing_before_it_is_used() {
    let copy = copy_of("nomic");
    patch(copy.path(), "config.json", "n_positions", json!(1 << 20));
    std::fs::remove_file(copy.path().join("sentence_bert_config.json")).unwrap();
    std::fs::remove_file(copy.path().join("tokenizer_config.json")).unwrap();
    let weights = load(copy.path()).unwrap();
    assert_eq!(weights.plan().max_tokens(), 1 << 20);
    let request = || EmbedRequest::new("the mill on the river");
    let expected = embed_one(&load(&fixture("nomic")).unwrap(), request()).unwrap();
    assert_eq!(embed_one(&weights, request()).unwrap(), expected);
}

#[test]
fn stages_that_do_not_fit_are_refused() {
    let table = [
        ("2_Dense/config.json", "in_features", json!(31)),
        ("2_Dense/config.json", "out_features", json!(0)),
        ("2_Dense/config.json", "out_features", json!(25)),
        ("2_Dense/config.json", "out_features", json!(u64::MAX)),
        ("2_Dense/config.json", "activation_function", json!("torch.nn.modules.activation.Mish")),
        ("2_Dense/config.json", "activation_function", json!("os.system")),
        ("2_Dense/config.json", "module_input_name", json!("token_embeddings")),
        ("2_Dense/config.json", "use_residual", json!(true)),
        ("4_Dense/config.json", "bias", json!(true)),
        ("4_Dense/config.json", "in_features", json!(32)),
        ("1_Pooling/config.json", "word_embedding_dimension", json!(33)),
        ("0_Transformer/sentence_bert_config.json", "transformer_task", json!("fill-mask")),
        ("0_Transformer/sentence_bert_config.json", "max_seq_length", json!(0)),
    ];
    for (file, field, value) in table {
        let copy = copy_of("distilbert-dense");
        patch(copy.path(), file, field, value.clone());
        assert!(load(copy.path()).is_err(), "{file}: {field} = {value}");
    }
    for file in ["2_Dense/model.safetensors", "2_Dense/config.json", "0_Transformer/config.json"] {
        let copy = copy_of("distilbert-dense");
        std::fs::remove_file(copy.path().join(file)).unwrap();
        assert!(load(copy.path()).is_err(), "without {file}");
    }
    let copy = copy_of("distilbert-dense");
    for path in ["../0_Transformer", "nowhere", "0_Transformer/.."] {
        let modules =
            json!([{"path": path, "type": "x.Transformer"}, {"path": "1_Pooling", "type": "x.Pooling"}]);
        std::fs::write(copy.path().join("modules.json"), modules.to_string()).unwrap();
        assert!(load(copy.path()).is_err(), "{path}");
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
        ("modules.json", Some("[{\"type\":\"x.Transformer\"},{\"type\":\"x.WordWeights\"}]")),
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
