"""Writes each model's expected.json: inputs with the outputs that transformers and
diffusers give for them, from the stored weights loaded as float32. Another
implementation can be checked against these."""

import os
import random
import sys

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

import corpus
import evaluate
import train_llava
import world
from loop import TINY, write_json
from train_diffusion import OUT as DIFFUSION

torch.set_grad_enabled(False)
EXAMPLES = {  # file name: scene
    "red-circle.png": world.Scene((world.Thing("red", "circle"),), "white", size="large", position="left"),
    "blue-star.png": world.Scene((world.Thing("blue", "star"),), "pink", size="small", position="top"),
    "square-and-circle.png": world.Scene((world.Thing("yellow", "square"), world.Thing("blue", "circle")), "black", relation="left of"),
}


def floats(tensor):
    """Nested lists with seven digits, which is what float32 holds."""
    return [floats(t) for t in tensor] if tensor.ndim else float(f"{tensor.item():.7g}")


def examples():
    os.makedirs(f"{TINY}/examples", exist_ok=True)
    for file, scene in EXAMPLES.items():
        world.render(scene, random.Random(7)).save(f"{TINY}/examples/{file}")
    return {file: Image.open(f"{TINY}/examples/{file}") for file in EXAMPLES}


def greedy(model, tokenizer, batch, tokens):
    """New token ids of one greedy run, and its text."""
    count = batch["input_ids"].shape[1]
    ids = model.generate(**batch, max_new_tokens=tokens, do_sample=False)[0, count:].tolist()
    return {"input_ids": batch["input_ids"][0].tolist(), "output_ids": ids, "output_text": tokenizer.decode(ids, skip_special_tokens=True)}


def llm():
    from transformers import AutoModelForCausalLM, AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(f"{TINY}/shapes-llm")
    model = AutoModelForCausalLM.from_pretrained(f"{TINY}/shapes-llm", dtype=torch.float32)
    cases = []
    for text in ("Once upon a time", "A red circle is"):
        batch = tokenizer(text, return_token_type_ids=False, return_tensors="pt")
        cases.append({"prompt": text, **greedy(model, tokenizer, batch, 48)})
    chats = [
        [{"role": "user", "content": "Hello!"}],
        [{"role": "user", "content": "Tell me a story about a fox."}],
        [{"role": "user", "content": "Count to five."}],
        [{"role": "system", "content": "You are a helpful assistant."},
         {"role": "user", "content": "Scene: a red circle left of a blue square on a white background. Question: What is left of the blue square?"},
         {"role": "assistant", "content": "a red circle"}, {"role": "user", "content": "What color is the background?"}],
    ]
    for messages in chats:
        prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        batch = tokenizer(prompt, return_token_type_ids=False, return_tensors="pt")
        cases.append({"messages": messages, "prompt": prompt, **greedy(model, tokenizer, batch, 160)})
    write_json(f"{TINY}/shapes-llm/expected.json", {"greedy": cases})


def embed():
    from sentence_transformers import SentenceTransformer
    model = SentenceTransformer(f"{TINY}/shapes-embed", device="cpu").float()
    texts = [
        "a red circle left of a blue square on a white background",
        "there is a blue square to the right of a red circle on a white background",
        "a small green star at the top on a black background",
        "Hello!", "",
    ]
    vectors = torch.from_numpy(np.stack([model.encode(t) for t in texts]))
    write_json(f"{TINY}/shapes-embed/expected.json", {"texts": [{"text": t, "embedding": floats(v)} for t, v in zip(texts, vectors)]})


def clip():
    from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer
    tokenizer, model = CLIPTokenizer.from_pretrained(f"{TINY}/shapes-clip"), CLIPModel.from_pretrained(f"{TINY}/shapes-clip", dtype=torch.float32)
    images, texts = examples(), [world.plain_caption(s) for s in EXAMPLES.values()] + ["a red shape", "a star"]
    pixels = CLIPImageProcessor.from_pretrained(f"{TINY}/shapes-clip")(list(images.values()), return_tensors="pt")
    out = model(**tokenizer(texts, padding=True, return_tensors="pt"), **pixels)
    write_json(f"{TINY}/shapes-clip/expected.json", {
        "images": [{"file": f"../examples/{f}", "embedding": floats(e)} for f, e in zip(images, out.image_embeds)],
        "texts": [{"text": t, "embedding": floats(e)} for t, e in zip(texts, out.text_embeds)],
    })


def questions(scene):
    """Questions about a picture with their right answers."""
    thing = scene.things[0]
    yield train_llava.DESCRIBE[0], train_llava.told(scene)
    yield f"What color is the {thing.shape}?", thing.color
    yield "What color is the background?", scene.background
    if "left" in (scene.position, scene.relation and world.SIDES[scene.relation][0]):
        yield "What shape is on the left?", thing.shape
    else:
        yield "How many shapes are there?", corpus.NUMBERS[len(scene.things) - 1]


def llava():
    processor, model = evaluate.load_llava()
    cases = []
    for file, image in examples().items():
        for question, right in questions(EXAMPLES[file]):
            messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
            prompt = processor.apply_chat_template(messages, add_generation_prompt=True)
            batch = processor(images=image, text=prompt, return_token_type_ids=False, return_tensors="pt")
            cases.append({
                "image": f"../examples/{file}", "question": question, "right": right, "prompt": prompt,
                **greedy(model, processor.tokenizer, batch, 40),
            })
    write_json(f"{TINY}/shapes-llava/expected.json", {"greedy": cases})


def diffusion(prompt="a large red circle on the left on a white background", steps=20, guidance=4.0):
    from diffusers import StableDiffusionPipeline
    pipe = StableDiffusionPipeline.from_pretrained(DIFFUSION, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(7))
    image = pipe(prompt, num_inference_steps=steps, guidance_scale=guidance, latents=latents.clone(), height=64, width=64, output_type="np").images
    save_file({"initial_latents": latents, "image": torch.from_numpy(image).contiguous()}, f"{TINY}/examples/drawing.safetensors")
    write_json(f"{DIFFUSION}/expected.json", {
        "prompt": prompt, "steps": steps, "guidance_scale": guidance, "tensors": "../examples/drawing.safetensors",
        "tensor_notes": {
            "initial_latents": "unit noise (1, 4, 16, 16), given to the pipeline as latents",
            "image": "decoded picture (1, 64, 64, 3) in [0, 1]",
        },
    })


if __name__ == "__main__":
    for name in sys.argv[1:] or ["llm", "embed", "clip", "llava", "diffusion"]:
        globals()[name]()
