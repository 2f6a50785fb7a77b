use serde_json::{Value, json};

use super::*;

fn lowered(config: Value) -> Result<DecoderConfig, ArchError> {
    DecoderConfig::from_raw(serde_json::from_value(config).unwrap())
}

/// `changes` laid over a small model of `family`.
fn with(family: &str, changes: Value) -> Result<DecoderConfig, ArchError> {
    let mut config = json!({
        "model_type": family, "vocab_size": 100, "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 512, "moe_intermediate_size": 16,
    });
    let Value::Object(changes) = changes else { panic!("changes are an object") };
    config.as_object_mut().unwrap().extend(changes);
    lowered(config)
}

fn windows(config: &DecoderConfig) -> Vec<Option<usize>> {
    config.layers.iter().map(|layer| layer.window).collect()
}

#[test]
fn both_ways_to_write_angles_mean_the_same() {
    let old = json!({"rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", "type": "llama3", "factor": 8.0,
        "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}});
    let new = json!({"rope_parameters": {"rope_theta": 5e5, "rope_type": "llama3", "factor": 8.0,
        "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}});
    let (old, new) = (with("llama", old).unwrap(), with("llama", new).unwrap());
    assert_eq!(old, new);
    let plain = with("llama", json!({"rope_theta": 5e5, "rope_scaling": null})).unwrap();
    assert!(old.ropes[0].frequencies[0] > plain.ropes[0].frequencies[7] && old.ropes != plain.ropes);
}

#[test]
fn windows_follow_each_familys_rule() {
    let of = |family: &str, changes: Value| windows(&with(family, changes).unwrap());
    assert_eq!(of("mistral", json!({"sliding_window": null})), [None; 4]);
    assert_eq!(of("mistral", json!({"sliding_window": 32})), [Some(32); 4]);
    assert_eq!(of("llama", json!({"sliding_window": 32})), [None; 4]);
    assert_eq!(of("qwen2", json!({"sliding_window": 32, "use_sliding_window": false})), [None; 4]);
    let late = json!({"sliding_window": 32, "use_sliding_window": true, "max_window_layers": 3});
    assert_eq!(of("qwen2", late), [None, None, None, Some(32)]);
    assert_eq!(of("gemma2", json!({"sliding_window": 32})), [Some(32), None, Some(32), None]);
    let third = json!({"sliding_window": 32, "sliding_window_pattern": 3});
    assert_eq!(of("gemma3_text", third), [Some(32), Some(32), None, Some(32)]);
    let listed = json!({"sliding_window": 8, "layer_types":
        ["full_attention", "sliding_attention", "full_attention", "full_attention"]});
    assert_eq!(of("gemma2", listed), [None, Some(8), None, None]);
}

#[test]
fn networks_that_embed_may_look_both_ways() {
    let of = |family: &str, changes: Value| {
        let config = with(family, changes).unwrap();
        (config.direction, windows(&config)[0], config.that_writes().is_ok())
    };
    let (back, both) = (Direction::Backward, Direction::BothWays);
    let gemma = |both: Value| json!({"sliding_window": 32, "use_bidirectional_attention": both});
    assert_eq!(of("gemma3_text", gemma(json!(null))), (back, Some(32), true));
    assert_eq!(of("gemma3_text", gemma(json!(false))), (back, Some(32), true));
    // 16 on either side, and the token itself.
    assert_eq!(of("gemma3_text", gemma(json!(true))), (both, Some(17), false));
    assert_eq!(of("mistral", json!({"sliding_window": 32, "is_causal": true})), (back, Some(32), true));
    assert_eq!(of("mistral", json!({"sliding_window": 32, "is_causal": false})), (both, Some(33), false));
    assert_eq!(of("llama", json!({"is_causal": false})), (both, None, false));
    let refused = with("llama", gemma(json!(true))).unwrap_err();
    assert!(
        matches!(refused, ArchError::BadConfig { field: "use_bidirectional_attention", .. }),
        "{refused}"
    );
    let huge = with("mistral", json!({"sliding_window": u64::MAX, "is_causal": false})).unwrap_err();
    assert!(matches!(huge, ArchError::BadConfig { field: "sliding_window", .. }), "{huge}");
}

#[test]
fn a_gemma_that_sees_describes_its_language_half_in_few_words() {
    let config = json!({"model_type": "gemma3", "vision_config": {"hidden_size": 1152}, "text_config": {
        "model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024}});
    let config = lowered(config).unwrap();
    assert_eq!((config.heads, config.kv_heads, config.head_size, config.vocab_size), (8, 4, 256, 262_208));
    let fastest = |rope: usize| config.ropes[rope].frequencies[0];
    assert!((fastest(0) - 0.125).abs() < 1e-6 && (fastest(1) - 1.0).abs() < 1e-6);
    assert_eq!(config.layers[5].rope, Some(0));
    assert_eq!(config.layers[4].rope, Some(1));
    assert!(config.tied && config.norm_offset > 0.0);
}

#[test]
fn experts_may_spare_some_layers() {
    let config = with(
        "qwen3_moe",
        json!({"num_experts": 8, "num_experts_per_tok": 2, "mlp_only_layers": [1],
        "decoder_sparse_step": 1}),
    )
    .unwrap();
    let dense = |layer: &LayerConfig| matches!(layer.feed_forward, FeedForwardConfig::Dense { width: 96 });
    assert_eq!(config.layers.iter().map(dense).collect::<Vec<_>>(), [false, true, false, false]);
}

#[test]
fn positions_may_spare_some_layers() {
    let config = with("smollm3", json!({})).unwrap();
    let turned = |layer: &LayerConfig| layer.rope.is_some();
    assert_eq!(config.layers.iter().map(turned).collect::<Vec<_>>(), [true, true, true, false]);
}

#[test]
fn absurd_numbers_are_refused_by_name() {
    let refused = |family: &str, changes: Value| match with(family, changes).unwrap_err() {
        ArchError::BadConfig { field, .. } => field,
        ArchError::Unsupported { what, .. } => what,
        other => panic!("{other}"),
    };
    assert_eq!(refused("llama", json!({"num_hidden_layers": 1_000_000_000})), "num_hidden_layers");
    assert_eq!(refused("llama", json!({"num_attention_heads": 0})), "num_attention_heads");
    assert_eq!(refused("llama", json!({"num_key_value_heads": 0})), "num_key_value_heads");
    assert_eq!(refused("llama", json!({"num_key_value_heads": 3})), "num_key_value_heads");
    assert_eq!(refused("llama", json!({"head_dim": 0})), "head_dim");
    assert_eq!(refused("llama", json!({"hidden_size": null})), "hidden_size");
    assert_eq!(refused("llama", json!({"max_position_embeddings": 0})), "max_position_embeddings");
    assert_eq!(refused("llama", json!({"rms_norm_eps": -1.0})), "rms_norm_eps");
    assert_eq!(refused("llama", json!({"hidden_act": "mish"})), "hidden_act");
    assert_eq!(refused("mamba", json!({})), "decoder");
    assert_eq!(refused("gemma2", json!({"attn_logit_softcapping": 0.0})), "attn_logit_softcapping");
    assert_eq!(refused("gemma2", json!({"query_pre_attn_scalar": 0})), "query_pre_attn_scalar");
    assert_eq!(refused("gemma2", json!({"layer_types": ["full_attention"]})), "layer_types");
    assert_eq!(refused("mistral", json!({"sliding_window": 0})), "sliding_window");
    assert_eq!(
        refused("mixtral", json!({"num_local_experts": 4, "num_experts_per_tok": 5})),
        "num_experts_per_tok"
    );
    assert_eq!(refused("qwen3", json!({"partial_rotary_factor": 3.0})), "partial_rotary_factor");
}
