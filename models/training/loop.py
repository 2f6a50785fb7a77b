"""What the training scripts share: the loop, its command line, and saving in half
precision."""

import argparse
import json
import math
import os
import random
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

TINY = str(Path(__file__).resolve().parent.parent / "tiny")


def stretch(about):
    """What the command line asks for: `minutes`, after which a phase ends at the latest,
    and `resume`, to train the last phase again from the stored weights."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--minutes", type=float, help="end each phase after so many minutes at the latest")
    parser.add_argument("--resume", action="store_true", help="go on from the stored weights: the last phase again")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: 1; such small models gain little from more)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    return arguments.minutes, arguments.resume


def phases(count, resume):
    """The numbers of the phases to train: all, or the last again."""
    return range(count - 1 if resume else 0, count)


def seed_everything(seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def train(parameters, loss_fn, steps, lr, warmup=100, weight_decay=0.01, minutes=None, on_step=None):
    """AdamW with warm-up and cosine decay. `loss_fn(step)` makes its own batch.

    `minutes` bounds the wall time: the schedule then follows the clock where that is
    further along than the step count, so training always ends with a decayed rate."""
    parameters = [p for p in parameters if p.requires_grad]
    decay = [p for p in parameters if p.ndim >= 2]
    plain = [p for p in parameters if p.ndim < 2]
    groups = [{"params": decay, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), fused=True)
    start, average, trained = time.time(), None, 0
    for step in range(steps):
        progress = step / steps
        if minutes:
            progress = max(progress, (time.time() - start) / 60 / minutes)
        if progress >= 1:
            break
        rate = lr * min(1, (step + 1) / warmup) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = loss_fn(step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        trained = step + 1
        average = loss.item() if average is None else 0.98 * average + 0.02 * loss.item()
        if step % 50 == 0:
            print(f"step {step} loss {average:.4f} ({time.time() - start:.0f} s)", flush=True)
        if on_step:
            on_step(step)
    print(f"trained {trained} steps in {(time.time() - start) / 60:.1f} minutes", flush=True)


def halve(model):
    """Round every weight to float16, which is how they are stored."""
    return model.half().eval()


def write_json(path, value):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, indent=1, ensure_ascii=False)
        f.write("\n")


def patch_json(path, **values):
    """Set some top-level values of a saved JSON file."""
    with open(path, encoding="utf-8") as f:
        value = json.load(f)
    write_json(path, {**value, **values})


def rename_weights(path, old, new):
    """Rename tensors of a saved file from prefix `old` to `new`, to the names that
    published checkpoints have."""
    weights = load_file(path)
    save_file({new + k[len(old):] if k.startswith(old) and not k.startswith(new) else k: v for k, v in weights.items()}, path, {"format": "pt"})


def plain_tokenizer(folder):
    """Forget the padding and truncation of the last call, which saving keeps."""
    patch_json(f"{folder}/tokenizer.json", padding=None, truncation=None)
