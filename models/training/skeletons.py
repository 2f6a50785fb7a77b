"""Predicts size and memory of models on the hub without their weights.

    python models/training/skeletons.py [NAME ...]

builds a folder for each from the numbers of its config.json, as far as they are known here, and a sparse
safetensors file with its tensors' names and shapes and nothing in it; asks `millpond inspect`; and rewrites
the lines of models/NAME.toml that such a folder decides, and the one that says that nobody has compared them,
or the licence, with the files on the hub. Needs torch, transformers and diffusers, and no network.
"""

import json
import math
import re
import sys
import tempfile
from pathlib import Path

import diffusers
import torch
import transformers

from manifest import MODELS, fill

# What is known of the models and was never compared with the files on the hub.
UNCHECKED = ("architecture", "dtype", "license", "memory", "revision", "sha256", "size")
DTYPES = {"f32": ("F32", 4), "f16": ("F16", 2), "bf16": ("BF16", 2)}
BERT = {"model_type": "bert"}
MINI_BERT = {**BERT, "hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536}
LLAMA3 = {"model_type": "llama", "vocab_size": 128256, "num_key_value_heads": 8, "max_position_embeddings": 131072,
          "tie_word_embeddings": True, "rms_norm_eps": 1e-5, "bos_token_id": 128000, "eos_token_id": 128009,
          "rope_theta": 500000.0, "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                                                   "original_max_position_embeddings": 8192, "rope_type": "llama3"}}
QWEN3 = {"model_type": "qwen3", "vocab_size": 151936, "num_key_value_heads": 8, "head_dim": 128, "rope_theta": 1e6,
         "max_position_embeddings": 40960, "tie_word_embeddings": True, "num_hidden_layers": 28,
         "num_attention_heads": 16}
SMOLLM2 = {"model_type": "llama", "vocab_size": 49152, "max_position_embeddings": 8192, "tie_word_embeddings": True,
           "rope_theta": 1e5}
GEMMA3 = {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 131072,
          "vocab_size": 262208, "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34,
          "sliding_window": 1024, "query_pre_attn_scalar": 256}
SIGLIP_SO400M = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16}

# Name: in what it is published, and its config.json where that is not as the class has it by default.
NETWORKS = {
    "all-minilm-l6-v2": ("f32", {**MINI_BERT, "num_hidden_layers": 6}),
    "bge-small-en-v1.5": ("f32", MINI_BERT),
    "bge-base-en-v1.5": ("f32", BERT),
    "bge-m3": ("f32", {"model_type": "xlm-roberta", "vocab_size": 250002, "hidden_size": 1024, "num_hidden_layers": 24,
                       "num_attention_heads": 16, "intermediate_size": 4096, "max_position_embeddings": 8194,
                       "type_vocab_size": 1}),
    "e5-small-v2": ("f32", MINI_BERT),
    "multilingual-e5-small": ("f32", {**MINI_BERT, "vocab_size": 250037}),
    "gte-base": ("f16", BERT),
    "gte-modernbert-base": ("f16", {"model_type": "modernbert"}),
    "nomic-embed-text-v1.5": ("f32", {"model_type": "nomic_bert"}),
    "qwen3-embedding-0.6b": ("bf16", {**QWEN3, "vocab_size": 151669, "hidden_size": 1024, "intermediate_size": 3072,
                                      "max_position_embeddings": 32768}),
    "llama-3.2-1b": ("bf16", {**LLAMA3, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
                              "num_attention_heads": 32, "head_dim": 64}),
    "llama-3.2-3b": ("bf16", {**LLAMA3, "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 28,
                              "num_attention_heads": 24, "head_dim": 128}),
    "qwen3-0.6b": ("bf16", {**QWEN3, "hidden_size": 1024, "intermediate_size": 3072}),
    "qwen3-1.7b": ("bf16", {**QWEN3, "hidden_size": 2048, "intermediate_size": 6144}),
    "qwen3-4b": ("bf16", {**QWEN3, "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36,
                          "num_attention_heads": 32}),
    "phi-4-mini": ("bf16", {"model_type": "phi3", "vocab_size": 200064, "hidden_size": 3072, "intermediate_size": 8192,
                            "num_hidden_layers": 32, "num_attention_heads": 24, "num_key_value_heads": 8,
                            "max_position_embeddings": 131072, "original_max_position_embeddings": 4096,
                            "partial_rotary_factor": 0.75, "tie_word_embeddings": True, "rope_theta": 10000.0,
                            "rope_scaling": {"type": "longrope", "long_factor": [1.0] * 48, "short_factor": [1.0] * 48},
                            "bos_token_id": 199999, "eos_token_id": 199999, "pad_token_id": 199999}),
    "gemma-3-1b": ("bf16", {**GEMMA3, "model_type": "gemma3_text", "vocab_size": 262144, "hidden_size": 1152,
                            "intermediate_size": 6912, "num_hidden_layers": 26, "num_attention_heads": 4,
                            "num_key_value_heads": 1, "max_position_embeddings": 32768, "sliding_window": 512}),
    "gemma-3-4b": ("bf16", {"model_type": "gemma3", "text_config": {**GEMMA3, "model_type": "gemma3_text"},
                            "vision_config": {**SIGLIP_SO400M, "model_type": "siglip_vision_model", "image_size": 896,
                                              "patch_size": 14, "vision_use_head": False}}),
    "smollm2-135m": ("bf16", {**SMOLLM2, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
                              "num_attention_heads": 9, "num_key_value_heads": 3}),
    "smollm2-1.7b": ("bf16", {**SMOLLM2, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24,
                              "num_attention_heads": 32, "num_key_value_heads": 32}),
    "smollm3-3b": ("bf16", {"model_type": "smollm3", "vocab_size": 128256, "hidden_size": 2048,
                            "intermediate_size": 11008, "num_hidden_layers": 36, "num_attention_heads": 16,
                            "num_key_value_heads": 4, "max_position_embeddings": 65536, "tie_word_embeddings": True}),
    "clip-vit-l-14": ("f32", {"model_type": "clip", "projection_dim": 768,
                              "text_config": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12,
                                              "projection_dim": 768},
                              "vision_config": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
                                                "num_attention_heads": 16, "patch_size": 14, "projection_dim": 768}}),
    "clip-vit-b-32-laion2b": ("f32", {"model_type": "clip", "text_config": {"hidden_act": "gelu"},
                                      "vision_config": {"hidden_act": "gelu"}}),
    "siglip-base-patch16": ("f32", {"model_type": "siglip"}),
    "dinov2-small": ("f32", {"model_type": "dinov2", "hidden_size": 384, "num_attention_heads": 6, "patch_size": 14,
                             "image_size": 518}),
    "dinov2-base": ("f32", {"model_type": "dinov2", "patch_size": 14, "image_size": 518}),
    "llava-1.5-7b": ("f16", {"model_type": "llava", "image_token_index": 32000, "vision_feature_layer": -2,
                             "text_config": {"model_type": "llama", "vocab_size": 32064,
                                             "max_position_embeddings": 4096},
                             "vision_config": {"model_type": "clip_vision_model", "hidden_size": 1024,
                                               "intermediate_size": 4096, "num_hidden_layers": 24, "image_size": 336,
                                               "num_attention_heads": 16, "patch_size": 14, "projection_dim": 768}}),
    "smolvlm": ("bf16", {"model_type": "idefics3", "image_token_id": 49153, "scale_factor": 3,
                         "text_config": {**SMOLLM2, "vocab_size": 49155, "hidden_size": 2048, "head_dim": 64,
                                         "intermediate_size": 8192, "num_hidden_layers": 24, "num_attention_heads": 32,
                                         "num_key_value_heads": 32, "max_position_embeddings": 16384},
                         "vision_config": {**SIGLIP_SO400M, "image_size": 384, "patch_size": 14}}),
    "smolvlm-256m": ("bf16", {"model_type": "idefics3", "image_token_id": 49190, "scale_factor": 4,
                              "text_config": {**SMOLLM2, "vocab_size": 49280, "hidden_size": 576, "head_dim": 64,
                                              "intermediate_size": 1536, "num_hidden_layers": 30,
                                              "num_attention_heads": 9, "num_key_value_heads": 3},
                              "vision_config": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
                                                "num_attention_heads": 12, "image_size": 512, "patch_size": 16}}),
    "qwen2.5-vl-3b": ("bf16", {"model_type": "qwen2_5_vl",
                               "text_config": {"model_type": "qwen2_5_vl_text", "vocab_size": 151936,
                                               "hidden_size": 2048, "intermediate_size": 11008,
                                               "num_hidden_layers": 36, "num_attention_heads": 16,
                                               "num_key_value_heads": 2, "max_position_embeddings": 128000,
                                               "tie_word_embeddings": True, "rope_theta": 1e6,
                                               "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}},
                               "vision_config": {"hidden_size": 1280, "intermediate_size": 3420, "depth": 32,
                                                 "num_heads": 16, "out_hidden_size": 2048}}),
}
# Published with an output matrix of its own although it is the embeddings once more.
TWICE = {"qwen3-0.6b": "model.embed_tokens.weight", "qwen3-1.7b": "model.embed_tokens.weight",
         "smolvlm": "model.text_model.embed_tokens.weight"}

CLIP_COLORS = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
HALVES = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
ALL_STEPS = {"do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}


def cut(kind, side, crop, colors):
    """Shrinks to `side` and cuts the middle out, if that is asked for."""
    crops = {"do_center_crop": crop is not None, "crop_size": {"height": crop, "width": crop}} if crop else {}
    size = {"shortest_edge": side} if crop else {"height": side, "width": side}
    return {"image_processor_type": kind, "size": size, "resample": 3 if crop else 2, **crops, **ALL_STEPS, **colors}


def tiled(side, longest):
    return {"image_processor_type": "Idefics3ImageProcessor", "size": {"longest_edge": longest}, "resample": 1,
            "max_image_size": {"longest_edge": side}, "do_image_splitting": True, "do_pad": True, **ALL_STEPS, **HALVES}


# Their preprocessor_config.json.
PICTURES = {
    "gemma-3-4b": cut("Gemma3ImageProcessor", 896, None, HALVES),
    "clip-vit-l-14": cut("CLIPImageProcessor", 224, 224, CLIP_COLORS),
    "clip-vit-b-32-laion2b": cut("CLIPImageProcessor", 224, 224, CLIP_COLORS),
    "siglip-base-patch16": cut("SiglipImageProcessor", 224, None, HALVES),
    "dinov2-small": cut("BitImageProcessor", 256, 224, CLIP_COLORS),
    "dinov2-base": cut("BitImageProcessor", 256, 224, CLIP_COLORS),
    "llava-1.5-7b": cut("CLIPImageProcessor", 336, 336, CLIP_COLORS),
    "smolvlm": tiled(384, 1536),
    "smolvlm-256m": tiled(512, 2048),
    "qwen2.5-vl-3b": {"image_processor_type": "Qwen2VLImageProcessor", "min_pixels": 3136, "max_pixels": 12845056,
                      "patch_size": 14, "temporal_patch_size": 2, "merge_size": 2, "resample": 3, **ALL_STEPS,
                      **CLIP_COLORS},
}

SD_UNET = {"sample_size": 64, "attention_head_dim": 8, "cross_attention_dim": 768}
SD2_UNET = {"sample_size": 64, "attention_head_dim": [5, 10, 20, 20], "cross_attention_dim": 1024,
            "use_linear_projection": True}
SDXL_UNET = {"sample_size": 64, "attention_head_dim": [5, 10, 20], "cross_attention_dim": 2048,
             "block_out_channels": [320, 640, 1280], "transformer_layers_per_block": [1, 2, 10],
             "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
             "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
             "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
             "projection_class_embeddings_input_dim": 2816, "use_linear_projection": True}
VAE = {"block_out_channels": [128, 256, 512, 512], "down_block_types": ["DownEncoderBlock2D"] * 4,
       "up_block_types": ["UpDecoderBlock2D"] * 4, "layers_per_block": 2, "sample_size": 512}
FLUX_VAE = {**VAE, "latent_channels": 16, "scaling_factor": 0.3611, "shift_factor": 0.1159, "sample_size": 1024,
            "use_quant_conv": False, "use_post_quant_conv": False}
CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "projection_dim": 768}
CLIP_H = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 23,
          "hidden_act": "gelu", "projection_dim": 512}
CLIP_G = {"hidden_size": 1280, "intermediate_size": 5120, "num_attention_heads": 20, "num_hidden_layers": 32,
          "hidden_act": "gelu", "projection_dim": 1280}
T5_XXL = {"d_model": 4096, "d_ff": 10240, "num_layers": 24, "num_heads": 64, "feed_forward_proj": "gated-gelu"}
EULER = ("EulerDiscreteScheduler", {"timestep_spacing": "trailing", "beta_start": 0.00085, "beta_end": 0.012,
                                    "beta_schedule": "scaled_linear"})
PNDM = ("PNDMScheduler", {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
                          "skip_prk_steps": True, "steps_offset": 1})

# Name: dtype, class of the pipeline, schedule, and the class and numbers of each part with weights.
PIPELINES = {
    "stable-diffusion-v1-5": ("f32", "StableDiffusionPipeline", PNDM, {
        "unet": ("UNet2DConditionModel", SD_UNET), "vae": ("AutoencoderKL", VAE),
        "text_encoder": ("CLIPTextModel", CLIP_L)}),
    "sd-turbo": ("f32", "StableDiffusionPipeline", EULER, {
        "unet": ("UNet2DConditionModel", SD2_UNET), "vae": ("AutoencoderKL", VAE),
        "text_encoder": ("CLIPTextModel", CLIP_H)}),
    "sdxl-turbo": ("f32", "StableDiffusionXLPipeline", EULER, {
        "unet": ("UNet2DConditionModel", SDXL_UNET), "vae": ("AutoencoderKL", VAE),
        "text_encoder": ("CLIPTextModel", CLIP_L), "text_encoder_2": ("CLIPTextModelWithProjection", CLIP_G)}),
    "flux.1-schnell": ("bf16", "FluxPipeline", ("FlowMatchEulerDiscreteScheduler", {"shift": 1.0}), {
        "transformer": ("FluxTransformer2DModel", {"guidance_embeds": False}), "vae": ("AutoencoderKL", FLUX_VAE),
        "text_encoder": ("CLIPTextModel", CLIP_L), "text_encoder_2": ("T5EncoderModel", T5_XXL)}),
}


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def sparse(path, shapes, dtype):
    """A safetensors file of these shapes that takes no room on the disk."""
    name, width = DTYPES[dtype]
    header, end = {}, 0
    for tensor, shape in shapes.items():
        start, end = end, end + math.prod(shape) * width
        header[tensor] = {"dtype": name, "shape": list(shape), "data_offsets": [start, end]}
    header = json.dumps(header).encode()
    header += b" " * (-len(header) % 8)
    with open(path, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + end)


def shapes_of(model):
    """Name and shape of what is stored: tied tensors once."""
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items() if name not in tied}


def published(name, kind):
    """The name that a tensor has in files, where transformers has another in memory."""
    if kind in ("llava", "gemma3"):
        name = re.sub(r"^model\.language_model\.", "language_model.model.", name)
        name = re.sub(r"^lm_head\.", "language_model.lm_head.", name)
        name = re.sub(r"^model\.vision_tower\.(vision_model\.)?", "vision_tower.vision_model.", name)
        name = re.sub(r"^model\.multi_modal_projector\.", "multi_modal_projector.", name)
    elif kind == "qwen2_5_vl":
        name = re.sub(r"^model\.visual\.", "visual.", name)
        name = re.sub(r"^model\.language_model\.", "model.", name)
    return name


def class_of(config):
    """The class that its files were saved from: with its output matrix or picture part, without other heads."""
    kind = config.model_type
    if kind in ("llava", "gemma3", "idefics3", "qwen2_5_vl"):
        return transformers.AutoModelForImageTextToText
    writes = ("llama", "qwen3", "phi3", "gemma3_text", "smollm3")
    return transformers.AutoModelForCausalLM if kind in writes else transformers.AutoModel


def network(folder, name):
    dtype, values = NETWORKS[name]
    if values["model_type"] == "nomic_bert":
        return nomic(folder, dtype)
    config = transformers.AutoConfig.for_model(**values)
    with torch.device("meta"):
        model = class_of(config).from_config(config)
    shapes = {published(key, config.model_type): shape for key, shape in shapes_of(model).items()}
    if name == "qwen3-embedding-0.6b":
        shapes = {key.removeprefix("model."): shape for key, shape in shapes.items()}
        write_json(folder / "modules.json", [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}])
        write_json(folder / "1_Pooling/config.json",
                   {"word_embedding_dimension": 1024, "pooling_mode_lasttoken": True})
    if name in TWICE:
        shapes["lm_head.weight"] = shapes[TWICE[name]]
    if name in PICTURES:
        write_json(folder / "preprocessor_config.json", PICTURES[name])
    config.architectures = [type(model).__name__]
    config.save_pretrained(folder)
    sparse(folder / "model.safetensors", shapes, dtype)


def nomic(folder, dtype):
    """Its code is not in transformers everywhere, and its names are its own."""
    width, layers, inner = 768, 12, 3072
    shapes = {"embeddings.word_embeddings.weight": (30528, width), "embeddings.token_type_embeddings.weight": (2, width),
              "emb_ln.weight": (width,), "emb_ln.bias": (width,)}
    for layer in range(layers):
        at = f"encoder.layers.{layer}."
        shapes |= {at + "attn.Wqkv.weight": (3 * width, width), at + "attn.out_proj.weight": (width, width),
                   at + "mlp.fc11.weight": (inner, width), at + "mlp.fc12.weight": (inner, width),
                   at + "mlp.fc2.weight": (width, inner)}
        shapes |= {at + f"norm{i}.{part}": (width,) for i in (1, 2) for part in ("weight", "bias")}
    write_json(folder / "config.json", {
        "model_type": "nomic_bert", "architectures": ["NomicBertModel"], "vocab_size": 30528, "n_embd": width,
        "n_layer": layers, "n_head": 12, "n_inner": inner, "n_positions": 8192, "type_vocab_size": 2,
        "activation_function": "swiglu", "rotary_emb_base": 1000, "rotary_emb_fraction": 1.0, "prenorm": False,
        "qkv_proj_bias": False, "mlp_fc1_bias": False, "mlp_fc2_bias": False, "layer_norm_epsilon": 1e-12})
    sparse(folder / "model.safetensors", shapes, dtype)


def pipeline(folder, name):
    dtype, kind, (schedule, numbers), parts = PIPELINES[name]
    index = {"_class_name": kind, "scheduler": ["diffusers", schedule]}
    write_json(folder / "scheduler/scheduler_config.json",
               dict(getattr(diffusers, schedule)(**numbers).config) | {"_class_name": schedule})
    for part, (cls, values) in parts.items():
        library = diffusers if hasattr(diffusers, cls) else transformers
        made = getattr(library, cls)
        with torch.device("meta"):
            model = made.from_config(values) if library is diffusers else made(made.config_class(**values))
        index[part] = [library.__name__, cls]
        model.config.architectures = [cls]
        if library is diffusers:
            model.save_config(folder / part)
        else:
            model.config.save_pretrained(folder / part)
        stem = "diffusion_pytorch_model" if library is diffusers else "model"
        sparse(folder / part / f"{stem}.safetensors", shapes_of(model), dtype)
    for part in (part for part in parts if part.startswith("text_encoder")):
        tokenizer = part.replace("text_encoder", "tokenizer")
        index[tokenizer] = ["transformers", "T5TokenizerFast" if parts[part][0].startswith("T5") else "CLIPTokenizer"]
        write_json(folder / tokenizer / "tokenizer_config.json", {})
    write_json(folder / "model_index.json", index)


def main(names):
    for name in names or [*NETWORKS, *PIPELINES]:
        with tempfile.TemporaryDirectory() as folder:
            (pipeline if name in PIPELINES else network)(Path(folder), name)
            fill(MODELS / f"{name}.toml", folder, UNCHECKED)


if __name__ == "__main__":
    main(sys.argv[1:])
