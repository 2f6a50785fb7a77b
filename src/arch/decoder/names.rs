//! What the files call a network's tensors.

use super::config::{DecoderConfig, DecoderFamily, NormPlaces};

/// A part of a layer that has tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Query,
    Key,
    Value,
    /// The three as one.
    Qkv,
    AttentionOutput,
    QueryNorm,
    KeyNorm,
    /// Before attention.
    AttentionNorm,
    /// Behind it.
    AttentionPostNorm,
    Gate,
    Up,
    /// The two as one.
    GateUp,
    Down,
    /// Before the feed-forward part.
    FeedForwardNorm,
    /// Behind it.
    FeedForwardPostNorm,
    /// What chooses experts.
    Router,
}

/// The name of a layer's part in transformers' checkpoints, without `model.layers.N.` and `.weight`.
pub(super) fn transformers(part: Part, config: &DecoderConfig) -> &'static str {
    match part {
        Part::Query => "self_attn.q_proj",
        Part::Key => "self_attn.k_proj",
        Part::Value => "self_attn.v_proj",
        Part::Qkv => "self_attn.qkv_proj",
        Part::AttentionOutput => "self_attn.o_proj",
        Part::QueryNorm => "self_attn.q_norm",
        Part::KeyNorm => "self_attn.k_norm",
        Part::AttentionNorm => "input_layernorm",
        Part::AttentionPostNorm => "post_attention_layernorm",
        Part::Gate => "mlp.gate_proj",
        Part::Up => "mlp.up_proj",
        Part::GateUp => "mlp.gate_up_proj",
        Part::Down => "mlp.down_proj",
        // Llama's graph calls it by what it comes after.
        Part::FeedForwardNorm if config.norms == NormPlaces::Before => "post_attention_layernorm",
        Part::FeedForwardNorm => "pre_feedforward_layernorm",
        Part::FeedForwardPostNorm => "post_feedforward_layernorm",
        Part::Router if config.family == DecoderFamily::Mixtral => "block_sparse_moe.gate",
        Part::Router => "mlp.gate",
    }
}

/// The name of one expert's part.
pub(super) fn expert(part: Part, index: usize, config: &DecoderConfig) -> String {
    let mixtral = config.family == DecoderFamily::Mixtral;
    let within = match part {
        Part::Gate if mixtral => "w1",
        Part::Up if mixtral => "w3",
        Part::Down if mixtral => "w2",
        Part::Gate => "gate_proj",
        Part::Up => "up_proj",
        _ => "down_proj",
    };
    let block = if mixtral { "block_sparse_moe" } else { "mlp" };
    format!("{block}.experts.{index}.{within}")
}

/// The name of a layer's part in GGUF files, without `blk.N.` and `.weight`.
pub(super) fn gguf(part: Part) -> &'static str {
    match part {
        Part::Query => "attn_q",
        Part::Key => "attn_k",
        Part::Value => "attn_v",
        Part::Qkv => "attn_qkv",
        Part::AttentionOutput => "attn_output",
        Part::QueryNorm => "attn_q_norm",
        Part::KeyNorm => "attn_k_norm",
        Part::AttentionNorm => "attn_norm",
        Part::AttentionPostNorm => "post_attention_norm",
        Part::Gate => "ffn_gate",
        // The two as one are called by the second's name.
        Part::Up | Part::GateUp => "ffn_up",
        Part::Down => "ffn_down",
        Part::FeedForwardNorm => "ffn_norm",
        Part::FeedForwardPostNorm => "post_ffw_norm",
        Part::Router => "ffn_gate_inp",
    }
}
