"""shapes-llava: a LlavaForConditionalGeneration that answers questions on pictures.

Starts from the vision tower of shapes-clip and the language model of shapes-llm."""

import random

import torch
from transformers import (
    AutoTokenizer, CLIPImageProcessor, CLIPVisionModel, LlamaForCausalLM, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor,
)

import binding
import corpus
import world
from guided import looks, looks_among
from loop import TINY, halve, patch_json, phases, plain_tokenizer, rename_weights, seed_everything, stretch, train
from train_llm import END, render_chat

OUT = f"{TINY}/shapes-llava"
PATCHES, GUIDANCE = world.SIZE // 8, 0.2
BATCH, STEPS, LR, ODD_SHARES = 40, (1750, 2000), (1e-3, 1e-3), (0.0, 0.6)
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}{{ '<image>\\n' }}{% endif %}{% endfor %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% endif %}{{ '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
DESCRIBE = ("What is in the image?", "Describe the image.", "What do you see?")


def make_processor():
    tokenizer = AutoTokenizer.from_pretrained(f"{TINY}/shapes-llm")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<image>"]})
    return LlavaProcessor(
        CLIPImageProcessor.from_pretrained(f"{TINY}/shapes-clip"), tokenizer, patch_size=8, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=CHAT_TEMPLATE,
    )


def make_model(tokenizer):
    vision = CLIPVisionModel.from_pretrained(f"{TINY}/shapes-clip", dtype=torch.float32)
    language = LlamaForCausalLM.from_pretrained(f"{TINY}/shapes-llm", dtype=torch.float32)
    language.resize_token_embeddings(len(tokenizer))
    language.config.rope_theta = 10000.0  # older readers look for this name
    config = LlavaConfig(
        vision_config=vision.config, text_config=language.config, image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-2, vision_feature_select_strategy="default", projector_hidden_act="gelu", tie_word_embeddings=True,
        image_seq_length=PATCHES**2,
    )
    model = LlavaForConditionalGeneration._from_config(config, attn_implementation="eager")
    model.model.vision_tower.load_state_dict(vision.state_dict())
    model.model.language_model.load_state_dict(language.model.state_dict())
    model.tie_weights()
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def question(scene, rng, hard=0.0):
    """A question about a picture with its one right answer; with that chance one of which
    colour has what shape."""
    if rng.random() < 0.3:
        return rng.choice(DESCRIBE), told(scene)
    user, answer = corpus.ask(scene, rng)
    if hard and rng.random() < hard:
        while not user.startswith(("Is the ", "What shape is ")) or not any(color in user for color in world.COLORS):
            user, answer = corpus.ask(scene, rng)
    return user, answer


def colorless_question(scene, rng):
    """A question that can be answered whatever the colours are; of a description the
    colours are not learnt."""
    if rng.random() < 0.5:
        return rng.choice(DESCRIBE), told(scene)
    while True:
        user, answer = corpus.ask(scene, rng)
        if not any(word in user + answer for word in ("color", *world.COLORS)):
            return user, answer


def told(scene):
    """The canonical caption, told from the left or upper object."""
    return world.plain_caption(scene if scene.relation in (None, "left of", "above") else scene.converse())


def patches(scene, thing):
    """Which of the 8 x 8 patches show a thing: the one in its middle and those around."""
    x, y = list(world.POSITIONS.values())[binding.where(scene, thing)]
    return [row * PATCHES + column for row in range(y // 8 - 1, y // 8 + 2) for column in range(x // 8 - 1, x // 8 + 2)]


class Eyes:
    """Where two heads of the language model have to look from where an answer begins: one at
    the word that the question turns on, the other at the thing in the picture."""

    def __init__(self, image):
        """`image` is the token that stands for a patch."""
        self.image, self.words, self.things = image, [], []

    def add(self, row, scene, text, asked, ids, offsets, first):
        """`first` is the character that the answer to the question `asked` begins with."""
        word, thing = binding.asked_about(scene, asked)
        if thing is None:
            return
        token = lambda at: next(i for i, (start, end) in enumerate(offsets) if start <= at < end)
        query = token(first) - 1
        self.words.append((row, query, token(text.rindex(f" {word}", 0, first) + 1)))
        eye = ids.index(self.image)
        self.things.append((row, query, [eye + patch for patch in patches(scene, thing)]))

    def loss(self, attentions):
        return looks(attentions[1], 1, self.words) + looks_among(attentions[2], 0, self.things)


def make_batch(rng, tokenizer, count, odd_share):
    """Pictures, each with three questions; only the answers are learnt. Some pictures
    are in random colours: their shapes are learnt after whatever colour was said before,
    or the model would know that a combination that is held out never comes. Also where
    heads have to look."""
    scenes = [world.random_scene(rng, pair=rng.random() < 0.6) for _ in range(count)]
    odd = {i for i in range(count) if rng.random() < odd_share}
    image = "<image>" * PATCHES**2 + "\n"
    texts, spans = [], []
    for index, scene in enumerate(scenes):
        text, wanted = "", []
        for i in range(3):
            user, answer = colorless_question(scene, rng) if index in odd else question(scene, rng, hard=0.4)
            text += render_chat([{"role": "user", "content": (image if i == 0 else "") + user}]) + "<|im_start|>assistant\n"
            wanted.append((len(text), len(text) + len(answer) + len(END), user))
            text += answer + END + "\n"
        texts.append(text)
        spans.append(wanted)
    batch = tokenizer(texts, padding=True, padding_side="right", return_offsets_mapping=True, return_tensors="pt")
    labels = torch.full_like(batch["input_ids"], -100)
    eyes = Eyes(tokenizer.convert_tokens_to_ids("<image>"))
    named = torch.tensor([tokenizer(f" {word}").input_ids[0] for word in (*world.COLORS, *world.BACKGROUNDS)])
    for row, wanted in enumerate(spans):
        start, end = batch["offset_mapping"][row].unbind(-1)
        ids, offsets = batch["input_ids"][row].tolist(), batch["offset_mapping"][row].tolist()
        for a, b, asked in wanted:
            eyes.add(row, scenes[row], texts[row], asked, ids, offsets, a)
            inside = (start >= a) & (end <= b) & (end > start)
            labels[row, inside] = batch["input_ids"][row, inside]
        if row in odd:
            labels[row, torch.isin(labels[row], named)] = -100
    return {
        "input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "labels": labels,
        "pixel_values": torch.from_numpy(world.pictures(scenes, rng, odd)),
    }, eyes


def main(minutes, resume):
    seed_everything(0)
    if resume:
        processor = LlavaProcessor.from_pretrained(OUT)
        model = LlavaForConditionalGeneration.from_pretrained(OUT, dtype=torch.float32, attn_implementation="eager").train()
    else:
        processor = make_processor()
        model = make_model(processor.tokenizer)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters", flush=True)
    rng = random.Random(6)

    def save():
        half = LlavaForConditionalGeneration(model.config)
        half.load_state_dict(model.state_dict())
        half.generation_config = model.generation_config
        halve(half).save_pretrained(OUT)
        processor.save_pretrained(OUT)
        processor.image_processor.save_pretrained(OUT)
        plain_tokenizer(OUT)
        # The names that published checkpoints have and other readers look for.
        rename_weights(f"{OUT}/model.safetensors", "vision_tower.", "vision_tower.vision_model.")
        patch_json(f"{OUT}/tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast", chat_template=CHAT_TEMPLATE)

    for phase in phases(len(STEPS), resume):
        def loss_fn(step):
            batch, eyes = make_batch(rng, processor.tokenizer, BATCH, ODD_SHARES[phase])
            output = model(**batch, use_cache=False, output_attentions=True)
            return output.loss + GUIDANCE * eyes.loss(output.attentions)

        train(model.parameters(), loss_fn, STEPS[phase], LR[phase], minutes=minutes)
        save()


if __name__ == "__main__":
    main(*stretch(__doc__))
