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
    """New token ids of one greedy run, its text, and the first logits."""
    count = batch["input_ids"].shape[1]
    ids = model.generate(**batch, max_new_tokens=tokens, do_sample=False)[0, count:].tolist()
    logits = model(**batch).logits[0, -1]
    return {
        "input_ids": batch["input_ids"][0].tolist(), "output_ids": ids, "output_text": tokenizer.decode(ids, skip_special_tokens=True),
        "first_logits": floats(logits[:16]), "first_logits_max": floats(logits.max()),
    }


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
    cases = [{"text": t, "input_ids": model.tokenizer(t).input_ids, "embedding": floats(v)} for t, v in zip(texts, vectors)]
    write_json(f"{TINY}/shapes-embed/expected.json", {"embeddings": cases, "similarity": floats(vectors @ vectors.T)})


def clip():
    from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer
    tokenizer, model = CLIPTokenizer.from_pretrained(f"{TINY}/shapes-clip"), CLIPModel.from_pretrained(f"{TINY}/shapes-clip", dtype=torch.float32)
    images, texts = examples(), [world.plain_caption(s) for s in EXAMPLES.values()] + ["a red shape", "a star"]
    pixels = CLIPImageProcessor.from_pretrained(f"{TINY}/shapes-clip")(list(images.values()), return_tensors="pt")
    out = model(**tokenizer(texts, padding=True, return_tensors="pt"), **pixels)
    write_json(f"{TINY}/shapes-clip/expected.json", {
        "images": [{"file": f"../examples/{f}", "embedding": floats(e)} for f, e in zip(images, out.image_embeds)],
        "texts": [{"text": t, "input_ids": tokenizer(t).input_ids, "embedding": floats(e)} for t, e in zip(texts, out.text_embeds)],
        "logits_per_image": floats(out.logits_per_image),
    })


def llava():
    from transformers import LlavaForConditionalGeneration, LlavaProcessor
    processor = LlavaProcessor.from_pretrained(f"{TINY}/shapes-llava")
    model = LlavaForConditionalGeneration.from_pretrained(f"{TINY}/shapes-llava", dtype=torch.float32)
    cases = []
    for file, image in examples().items():
        shape = EXAMPLES[file].things[0].shape
        for question in ("What is in the image?", f"What color is the {shape}?", "What color is the background?", "What shape is on the left?"):
            messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
            prompt = processor.apply_chat_template(messages, add_generation_prompt=True)
            batch = processor(images=image, text=prompt, return_token_type_ids=False, return_tensors="pt")
            cases.append({"image": f"../examples/{file}", "messages": messages, "prompt": prompt, **greedy(model, processor.tokenizer, batch, 40)})
    write_json(f"{TINY}/shapes-llava/expected.json", {"greedy": cases})


def diffusion(prompt="a large red circle on the left on a white background", steps=20, guidance=4.0):
    from diffusers import StableDiffusionPipeline
    pipe = StableDiffusionPipeline.from_pretrained(DIFFUSION, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(7))
    tokenize = lambda t: pipe.tokenizer(t, padding="max_length", return_tensors="pt").input_ids
    hidden = pipe.text_encoder(torch.cat([tokenize(""), tokenize(prompt)])).last_hidden_state
    pipe.scheduler.set_timesteps(steps)
    times = pipe.scheduler.timesteps
    first = pipe.unet(torch.cat([latents] * 2), times[0], hidden).sample
    run = lambda kind: pipe(prompt, num_inference_steps=steps, guidance_scale=guidance, latents=latents.clone(), height=64, width=64, output_type=kind).images
    final = run("latent")
    image = run("np")
    save_file({
        "initial_latents": latents, "text_hidden": hidden.contiguous(), "first_prediction": first.contiguous(),
        "final_latents": final.contiguous(), "image": torch.from_numpy(image).contiguous(),
    }, f"{DIFFUSION}/golden.safetensors")
    write_json(f"{DIFFUSION}/expected.json", {
        "prompt": prompt, "negative_prompt": "", "steps": steps, "guidance_scale": guidance, "eta": 0.0, "height": 64, "width": 64,
        "timesteps": times.tolist(), "input_ids": tokenize(prompt)[0].tolist(), "empty_input_ids": tokenize("")[0].tolist(),
        "tensors": "golden.safetensors",
        "tensor_notes": {
            "initial_latents": "unit noise (1, 4, 16, 16), given to the pipeline as latents",
            "text_hidden": "text encoder output (2, 32, 128): empty prompt, then prompt",
            "first_prediction": "unet output (2, 4, 16, 16) at the first timestep, without guidance",
            "final_latents": "latents (1, 4, 16, 16) after the last step, before division by the scaling factor",
            "image": "decoded picture (1, 64, 64, 3) in [0, 1]",
        },
    })


if __name__ == "__main__":
    for name in sys.argv[1:] or ["llm", "embed", "clip", "llava", "diffusion"]:
        globals()[name]()
