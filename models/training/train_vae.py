"""The autoencoder of shapes-diffusion: 64x64 pictures to 16x16x4 latents and back."""

import random

import torch
from diffusers import AutoencoderKL
from diffusers.models.attention_processor import AttnProcessor

import world
from loop import TINY, halve, seed_everything, stretch, train

OUT = f"{TINY}/shapes-diffusion/vae"
BATCH, STEPS, LR = 32, 1200, 2e-3
KL_WEIGHT = 3e-4


def make_model():
    model = AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, sample_size=world.SIZE,
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 48), layers_per_block=1, norm_num_groups=8,
    )
    model.set_attn_processor(AttnProcessor())  # faster than fused attention on tiny inputs
    return model


def scenes_for(rng, count):
    return [world.random_scene(rng, pair=rng.random() < 0.2) for _ in range(count)]


@torch.no_grad()
def set_scaling_factor(model, rng):
    """Latents times this factor have unit variance, as the diffusion expects."""
    images = torch.from_numpy(world.pictures(scenes_for(rng, 256), rng))
    factor = 1.0 / model.encode(images).latent_dist.mean.std().item()
    model.register_to_config(scaling_factor=round(factor, 5))


def main(minutes, resume):
    seed_everything(0)
    model, rng = make_model(), random.Random(2)
    if resume:
        model = AutoencoderKL.from_pretrained(OUT, torch_dtype=torch.float32).train()
        model.set_attn_processor(AttnProcessor())

    def loss_fn(step):
        images = torch.from_numpy(world.pictures(scenes_for(rng, BATCH), rng))
        latents = model.encode(images).latent_dist
        error = model.decode(latents.sample()).sample.float() - images
        kl = 0.5 * (latents.mean**2 + latents.var - 1 - latents.logvar).mean()
        return error.abs().mean() + error.square().mean() + KL_WEIGHT * kl

    train(model.parameters(), loss_fn, STEPS, LR, minutes=minutes)
    set_scaling_factor(model, rng)
    halve(model).save_pretrained(OUT)


if __name__ == "__main__":
    main(*stretch(__doc__))
