"""Measures every model as it is stored, and writes what it finds into the model's card.

`python evaluate.py [llm | embed | clip | llava | diffusion ...]`; without names, all of
them. Also draws a sheet of samples with shapes-diffusion."""

import random
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

import corpus
import train_llava
import world
from loop import TINY

torch.set_grad_enabled(False)


def percent(right):
    return 100.0 * sum(right) / len(right)


def generate(model, tokenizer, batch, tokens=40):
    out = model.generate(**batch, max_new_tokens=tokens, do_sample=False)
    return [t.strip() for t in tokenizer.batch_decode(out[:, batch["input_ids"].shape[1]:], skip_special_tokens=True)]


def llm(held_out):
    from transformers import AutoModelForCausalLM, AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(f"{TINY}/shapes-llm")
    model = AutoModelForCausalLM.from_pretrained(f"{TINY}/shapes-llm", dtype=torch.float32)
    rng, right = random.Random(100), []
    for _ in range(10):
        asked = [corpus.scene_question(rng, held_out) for _ in range(50)]
        chats = [tokenizer.apply_chat_template([{"role": "user", "content": q}], tokenize=False, add_generation_prompt=True) for q, _, _ in asked]
        answers = generate(model, tokenizer, tokenizer(chats, padding=True, padding_side="left", return_token_type_ids=False, return_tensors="pt"))
        right += [a == want for a, (_, want, _) in zip(answers, asked)]
    yield "scene questions, exact", percent(right)


def embed(held_out):
    from sentence_transformers import SentenceTransformer
    model = SentenceTransformer(f"{TINY}/shapes-embed", device="cpu").float()
    rng = random.Random(101)
    scenes = rng.sample(world.single_scenes(held_out), 500) + world.distinct_pairs(rng, held_out, 500)
    captions, queries = zip(*(world.two_captions(scene, rng) for scene in scenes))
    scores = torch.from_numpy(model.encode(queries) @ model.encode(captions).T)
    yield "paraphrase retrieval, 1 of 1,000", percent((scores.argmax(1) == torch.arange(1000)).tolist())


class Clip:
    """shapes-clip with its zero-shot attribute questions."""

    PROMPTS = {
        "color": {c: world.article(f"{c} shape") for c in world.COLORS},
        "shape": {s: world.article(s) for s in world.SHAPES},
        "background": {b: world.article(f"{b} background") for b in world.BACKGROUNDS},
    }

    def __init__(self):
        from transformers import CLIPModel, CLIPTokenizer
        self.tokenizer = CLIPTokenizer.from_pretrained(f"{TINY}/shapes-clip")
        self.model = CLIPModel.from_pretrained(f"{TINY}/shapes-clip", dtype=torch.float32)

    def texts(self, texts):
        batch = self.tokenizer(texts, padding=True, return_tensors="pt")
        pooled = self.model.text_model(**batch).pooler_output
        return torch.nn.functional.normalize(self.model.text_projection(pooled), dim=-1)

    def images(self, pictures):
        pooled = self.model.vision_model(torch.as_tensor(pictures)).pooler_output
        return torch.nn.functional.normalize(self.model.visual_projection(pooled), dim=-1)

    def attributes(self, pictures, scenes):
        """Per attribute, which pictures are recognised as what their scene says."""
        seen = self.images(pictures)
        for attribute, prompts in self.PROMPTS.items():
            best = (seen @ self.texts(list(prompts.values())).T).argmax(1)
            told = [s.background if attribute == "background" else getattr(s.things[0], attribute) for s in scenes]
            yield attribute, [list(prompts)[b] == t for b, t in zip(best, told)]


def clip(held_out):
    model, rng = Clip(), random.Random(102)
    scenes = rng.sample(world.single_scenes(held_out), 500)
    pictures = world.pictures(scenes, rng)
    scores = model.texts([world.caption(s, rng) for s in scenes]) @ model.images(pictures).T
    yield "caption to image, 1 of 500", percent((scores.argmax(1) == torch.arange(500)).tolist())
    for attribute, right in model.attributes(pictures, scenes):
        yield f"zero-shot {attribute}", percent(right)


def load_llava():
    from transformers import LlavaForConditionalGeneration, LlavaProcessor
    folder = f"{TINY}/shapes-llava"
    return LlavaProcessor.from_pretrained(folder), LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)


def llava(held_out):
    processor, model = load_llava()
    rng, right = random.Random(103), {"captions": [], "questions": []}
    for _ in range(8):
        scenes = [world.random_scene(rng, held_out) for _ in range(50)]
        asked = [train_llava.question(s, rng) for s in scenes]
        chats = [
            processor.apply_chat_template([{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": q}]}], add_generation_prompt=True)
            for q, _ in asked
        ]
        images = [world.render(s, rng) for s in scenes]
        batch = processor(images=images, text=chats, padding=True, padding_side="left", return_token_type_ids=False, return_tensors="pt")
        for answer, (question, want) in zip(generate(model, processor.tokenizer, batch), asked):
            right["captions" if question in train_llava.DESCRIBE else "questions"].append(answer == want)
    for kind, values in right.items():
        yield f"{kind}, exact", percent(values)
    yield "all, exact", percent(sum(right.values(), []))


def recognised(images, scenes):
    """Whether shapes-llava names colour, shape and background of each picture."""
    processor, model = load_llava()
    question = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": train_llava.DESCRIBE[0]}]}]
    chat = processor.apply_chat_template(question, add_generation_prompt=True)
    pictures = [Image.fromarray((image * 255).round().astype(np.uint8)) for image in images]
    for at in range(0, len(pictures), 50):
        few = pictures[at:at + 50]
        batch = processor(images=few, text=[chat] * len(few), padding=True, padding_side="left", return_token_type_ids=False, return_tensors="pt")
        for told, scene in zip(generate(model, processor.tokenizer, batch), scenes[at:]):
            thing = scene.things[0]
            yield f"{thing.color} {thing.shape}" in told and told.endswith(f"on a {scene.background} background")


def diffusion(held_out, steps=20, guidance=4.0, count=200):
    from diffusers import StableDiffusionPipeline
    pipe = StableDiffusionPipeline.from_pretrained(f"{TINY}/shapes-diffusion", torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    rng, model = random.Random(104), Clip()
    scenes = rng.sample(world.single_scenes(held_out), count)
    prompts = [world.caption(s, rng) for s in scenes]
    images = np.concatenate([
        pipe(prompts[i:i + 50], num_inference_steps=steps, guidance_scale=guidance, output_type="np", height=64, width=64,
             generator=torch.Generator().manual_seed(i)).images
        for i in range(0, count, 50)
    ])
    pictures = images.transpose(0, 3, 1, 2) * 2 - 1
    for attribute, right in model.attributes(pictures, scenes):
        yield f"drawn {attribute}, seen by shapes-clip", percent(right)
    # Its own caption among 500.
    others = [s for s in world.single_scenes(held_out) if s not in scenes]
    choice = scenes + rng.sample(others, 500 - count)
    best = (model.images(pictures) @ model.texts([world.plain_caption(s) for s in choice]).T).argmax(1)
    yield "whole scene, seen by shapes-clip", percent((best == torch.arange(count)).tolist())
    yield "color, shape and background, told by shapes-llava", percent(list(recognised(images, scenes)))
    sheet(f"{TINY}/shapes-diffusion/samples{'-held-out' if held_out else ''}.png", images[:24], [world.plain_caption(s) for s in scenes])


def sheet(path, images, labels, columns=6):
    """A labelled grid, at twice the size."""
    grid = Image.new("RGB", (columns * 150, -(-len(images) // columns) * 165), (90, 90, 90))
    draw = ImageDraw.Draw(grid)
    for i, (image, label) in enumerate(zip(images, labels)):
        x, y = i % columns * 150, i // columns * 165
        grid.paste(Image.fromarray((image * 255).round().astype(np.uint8)).resize((128, 128), Image.NEAREST), (x + 11, y + 3))
        words = label.replace(" background", "").split()
        draw.text((x + 11, y + 133), " ".join(words[:4]), fill="white")
        draw.text((x + 11, y + 146), " ".join(words[4:]), fill="white")
    grid.save(path)


def write_card(name, rows):
    """The card's table, with these rows."""
    card = Path(TINY) / f"shapes-{name}" / "README.md"
    head, table = "| measure | trained | held out |\n| --- | --- | --- |\n", "".join(rows)
    before, after = card.read_text(encoding="utf-8").split(head)
    after = after.splitlines(keepends=True)
    while after and after[0].startswith("|"):
        del after[0]
    card.write_text(before + head + table + "".join(after), encoding="utf-8")


def main(names):
    for name in names:
        trained, held = (list(globals()[name](h)) for h in (False, True))
        rows = [f"| {what} | {a:.1f} % | {b:.1f} % |\n" for (what, a), (_, b) in zip(trained, held)]
        print(f"shapes-{name}\n{''.join(rows)}", flush=True)
        write_card(name, rows)


if __name__ == "__main__":
    main(sys.argv[1:] or ["llm", "embed", "clip", "llava", "diffusion"])
