"""shapes-diffusion: a StableDiffusionPipeline that draws one-object pictures.

Run after train_vae.py (its autoencoder) and train_clip.py (its text encoder, kept as
it is)."""

import copy
import random

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from transformers import CLIPTextModel, CLIPTokenizer

import world
from loop import TINY, halve, plain_tokenizer, seed_everything, stretch, train

OUT = f"{TINY}/shapes-diffusion"
PICTURES, BATCH, STEPS, LR = 16000, 64, 2500, 1e-3
CAPTION_DROPOUT = 0.1


def make_unet():
    unet = UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, cross_attention_dim=128,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(48, 64, 64), layers_per_block=1, attention_head_dim=4, norm_num_groups=8,
    )
    unet.set_attn_processor(AttnProcessor())  # faster than fused attention on tiny inputs
    return unet


def make_scheduler():
    """A cosine schedule, which ends in pure noise; so flat backgrounds come out right."""
    return DDIMScheduler(
        num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction",
        timestep_spacing="trailing", clip_sample=False, set_alpha_to_one=True, steps_offset=1,
    )


@torch.no_grad()
def encode_pictures(vae, rng, count):
    """Scenes, and the mean and deviation of their latents."""
    scenes, stats = [], []
    for _ in range(count // 100):
        chunk = [world.random_scene(rng, pair=False) for _ in range(100)]
        latents = vae.encode(torch.from_numpy(world.pictures(chunk, rng))).latent_dist
        scenes += chunk
        stats.append(torch.stack([latents.mean, latents.std]))
    return scenes, torch.cat(stats, dim=1)


def main(minutes, resume):
    seed_everything(0)
    tokenizer = CLIPTokenizer.from_pretrained(f"{TINY}/shapes-clip")
    text_encoder = CLIPTextModel.from_pretrained(f"{TINY}/shapes-clip", dtype=torch.float32, attn_implementation="eager").eval()
    vae = AutoencoderKL.from_pretrained(f"{OUT}/vae", torch_dtype=torch.float32).eval()
    scheduler, unet, rng = make_scheduler(), make_unet(), random.Random(4)
    if resume:
        unet.load_state_dict(UNet2DConditionModel.from_pretrained(f"{OUT}/unet", torch_dtype=torch.float32).state_dict())
    scenes, stats = encode_pictures(vae, rng, PICTURES)
    print(f"{PICTURES} pictures encoded; unet {sum(p.numel() for p in unet.parameters()) / 1e6:.2f} M parameters", flush=True)

    def captions(picked):
        texts = ["" if rng.random() < CAPTION_DROPOUT else world.caption(scenes[i], rng, full=rng.random() < 0.6) for i in picked]
        ids = tokenizer(texts, padding="max_length", return_tensors="pt").input_ids
        with torch.no_grad():
            return text_encoder(ids).last_hidden_state

    def loss_fn(step):
        picked = [rng.randrange(PICTURES) for _ in range(BATCH)]
        mean, std = stats[:, picked]
        latents = (mean + std * torch.randn_like(std)) * vae.config.scaling_factor
        noise, t = torch.randn_like(latents), torch.randint(0, 1000, (BATCH,))
        prediction = unet(scheduler.add_noise(latents, noise, t), t, captions(picked)).sample.float()
        return (prediction - scheduler.get_velocity(latents, noise, t)).square().mean()

    average = copy.deepcopy(unet)  # of the weights over time, which draws better

    def on_step(step):
        decay = min(0.998, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(average.parameters()), [p.detach() for p in unet.parameters()], 1 - decay)
        if step % 500 == 499:
            save(average)

    @torch.no_grad()
    def save(unet):
        StableDiffusionPipeline(
            vae=halve(copy.deepcopy(vae)), text_encoder=halve(copy.deepcopy(text_encoder)), tokenizer=tokenizer,
            unet=halve(copy.deepcopy(unet)), scheduler=scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        ).save_pretrained(OUT)
        plain_tokenizer(f"{OUT}/tokenizer")

    for p in average.parameters():
        p.requires_grad_(False)
    train(unet.parameters(), loss_fn, STEPS, LR, minutes=minutes, on_step=on_step)
    save(average)


if __name__ == "__main__":
    main(*stretch(__doc__))
