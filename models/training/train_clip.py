"""shapes-clip: a CLIPModel that matches pictures of the shape world and captions."""

import json
import random

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

import world
from loop import TINY, halve, phases, plain_tokenizer, seed_everything, stretch, train

OUT = f"{TINY}/shapes-clip"
BATCH, STEPS, LR = 256, (1100, 600), 1e-3
MAX_TOKENS = 32


def make_tokenizer():
    """CLIP's own kind of tokenizer: lower-cased byte-level BPE with `</w>`, with its
    vocabulary in CLIP's order: bytes, bytes ending a word, merges, start, end."""
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.normalizer = normalizers.Lowercase()
    learner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    rng = random.Random(0)
    captions = [world.caption(world.random_scene(rng), rng, full=False) for _ in range(20000)]
    learner.train_from_iterator(captions, trainers.BpeTrainer(vocab_size=1000, min_frequency=50, end_of_word_suffix="</w>"))
    merges = [tuple(m) for m in json.loads(learner.to_str())["model"]["merges"]]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = alphabet + [a + "</w>" for a in alphabet] + ["".join(m) for m in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]  # the end has the highest id, as in CLIP
    vocab = {t: i for i, t in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=MAX_TOKENS)


def make_model(tokenizer):
    special = dict(bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    text = dict(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=256, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS, projection_dim=128, **special,
    )
    vision = dict(
        image_size=world.SIZE, patch_size=8, hidden_size=128, intermediate_size=384, num_hidden_layers=4,
        num_attention_heads=4, projection_dim=128,
    )
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=128)
    return CLIPModel._from_config(config, attn_implementation="eager")  # faster than fused on tiny inputs


def make_batch(rng, tokenizer, count, phase):
    """Half the scenes are near neighbours of the other half, so that every attribute
    matters to the contrast. The second phase has more short captions, and pictures in
    random colours with captions that name none, so that a shape is recognised
    whatever its colours."""
    scenes = [world.random_scene(rng, pair=rng.random() < (0.3, 0.2)[phase]) for _ in range(count // 2)]
    scenes += [world.neighbour(rng, s) for s in scenes]
    texts = [world.caption(s, rng, full=rng.random() < 0.6) for s in scenes]
    odd = set()
    if phase == 1:
        for i, scene in enumerate(scenes):
            kind = rng.random()
            if kind < 0.45 and scene.relation is None:
                odd.add(i)
                texts[i] = world.shape_caption(scene, rng)
            elif kind > 0.85:
                texts[i] = world.partial_caption(scene, rng)
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    batch["pixel_values"] = torch.from_numpy(world.pictures(scenes, rng, odd))
    return batch


def main(minutes, resume):
    seed_everything(0)
    if resume:
        tokenizer = CLIPTokenizer.from_pretrained(OUT)
        model = CLIPModel.from_pretrained(OUT, dtype=torch.float32, attn_implementation="eager").train()
    else:
        tokenizer = make_tokenizer()
        model = make_model(tokenizer)
    rng = random.Random(1)
    for phase in phases(len(STEPS), resume):
        loss_fn = lambda step: model(**make_batch(rng, tokenizer, BATCH, phase), return_loss=True).loss
        train(model.parameters(), loss_fn, STEPS[phase], LR, minutes=minutes, weight_decay=0.05)
    halve(model).save_pretrained(OUT)
    tokenizer.save_pretrained(OUT)
    plain_tokenizer(OUT)
    size = {"height": world.SIZE, "width": world.SIZE}
    CLIPImageProcessor(
        size={"shortest_edge": world.SIZE}, crop_size=size, image_mean=[0.5] * 3, image_std=[0.5] * 3,
    ).save_pretrained(OUT)


if __name__ == "__main__":
    main(*stretch(__doc__))
