//! How checkpoints call a vision transformer's tensors.

use crate::arch::encoder::Qkv;

/// The names of a network's parts. A linear layer's or a norm's numbers are under `<name>.weight` and
/// `<name>.bias`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// What the network is called inside larger ones that checkpoints were saved from.
    pub(crate) inside: &'static str,
    pub(crate) class: &'static str,
    pub(crate) patch: &'static str,
    /// A tensor's own name, `weight` included where it has one.
    pub(crate) places: &'static str,
    pub(crate) norm_first: &'static str,
    /// The list of layers; the names below are inside one of them.
    pub(crate) layers: &'static str,
    pub(crate) attention_norm: &'static str,
    pub(crate) qkv: Qkv,
    pub(crate) attention_output: &'static str,
    pub(crate) feed_forward_norm: &'static str,
    pub(crate) up: &'static str,
    pub(crate) down: &'static str,
    /// The scales of what each of the two parts gives.
    pub(crate) scales: [&'static str; 2],
    /// Outside the layers again.
    pub(crate) last_norm: &'static str,
}

impl Layout {
    /// The names of CLIP and of `SigLIP` of all kinds.
    pub(crate) const CLIP: Self = Self {
        inside: "vision_model",
        class: "embeddings.class_embedding",
        patch: "embeddings.patch_embedding",
        places: "embeddings.position_embedding.weight",
        norm_first: "pre_layrnorm",
        layers: "encoder.layers",
        attention_norm: "layer_norm1",
        qkv: Qkv::Apart(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
        attention_output: "self_attn.out_proj",
        feed_forward_norm: "layer_norm2",
        up: "mlp.fc1",
        down: "mlp.fc2",
        scales: ["", ""],
        last_norm: "post_layernorm",
    };

    /// The names of BLIP.
    pub(super) const BLIP: Self = Self {
        places: "embeddings.position_embedding",
        qkv: Qkv::Joined("self_attn.qkv"),
        attention_output: "self_attn.projection",
        ..Self::CLIP
    };

    /// The names of `ViT`.
    pub(super) const VIT: Self = Self {
        inside: "vit",
        class: "embeddings.cls_token",
        patch: "embeddings.patch_embeddings.projection",
        places: "embeddings.position_embeddings",
        norm_first: "",
        layers: "encoder.layer",
        attention_norm: "layernorm_before",
        qkv: Qkv::Apart([
            "attention.attention.query",
            "attention.attention.key",
            "attention.attention.value",
        ]),
        attention_output: "attention.output.dense",
        feed_forward_norm: "layernorm_after",
        up: "intermediate.dense",
        down: "output.dense",
        scales: ["", ""],
        last_norm: "layernorm",
    };

    /// The names of `DINOv2`.
    pub(super) const DINO: Self = Self {
        inside: "dinov2",
        attention_norm: "norm1",
        feed_forward_norm: "norm2",
        up: "mlp.fc1",
        down: "mlp.fc2",
        scales: ["layer_scale1.lambda1", "layer_scale2.lambda1"],
        ..Self::VIT
    };

    /// The same with registers.
    pub(super) const DINO_REGISTERS: Self = Self { inside: "dinov2_with_registers", ..Self::DINO };

    /// `DINOv2` with gates.
    pub(super) const DINO_GATED: Self = Self { up: "mlp.weights_in", down: "mlp.weights_out", ..Self::DINO };

    /// The same with registers.
    pub(super) const DINO_REGISTERS_GATED: Self =
        Self { up: "mlp.weights_in", down: "mlp.weights_out", ..Self::DINO_REGISTERS };
}
