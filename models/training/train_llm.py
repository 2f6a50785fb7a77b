"""shapes-llm: a LlamaForCausalLM that chats in simple words and answers questions
about described scenes."""

import random

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import binding
import corpus
from loop import TINY, halve, patch_json, phases, seed_everything, stretch, train

OUT = f"{TINY}/shapes-llm"
ROWS, LENGTH, STEPS, LR = (32, 22, 16), (192, 160, 224), (1700, 3600, 2000), (2e-3, 1.5e-3, 1.2e-3)
STORIES, SCENES, QUESTIONS = (0.12, 0.03, 0.02), (0.6, 0.87, 0.8), (0.5, 0.75, 0.85)
PAIRS, SIDES = (None, None, 0.6), (0, 0, 1)
PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def render_chat(messages):
    return "".join(f"{START}{m['role']}\n{m['content']}{END}\n" for m in messages)


def make_tokenizer():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    rng = random.Random(0)
    texts = [m["content"] for _ in range(8000) for m in corpus.conversation(rng)] + [corpus.story(rng) for _ in range(1000)]
    texts += ["user\n", "assistant\n", "system\n"] * 1000
    trainer = trainers.BpeTrainer(
        vocab_size=1088, special_tokens=[PAD, START, END], initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), min_frequency=5,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, model_max_length=512, chat_template=CHAT_TEMPLATE,
        additional_special_tokens=[START], clean_up_tokenization_spaces=False,
    )


def make_model(tokenizer):
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=320, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, rms_norm_eps=1e-5, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM._from_config(config, attn_implementation="sdpa")


def document(rng, tokenizer, phase):
    """Tokens and labels of a conversation, or of a bare story to be continued. From the
    second phase on there are more questions on each scene and only answers are learnt."""
    if rng.random() < STORIES[phase]:
        ids = tokenizer(corpus.story(rng) + END + "\n").input_ids
        return ids, ids
    messages = corpus.conversation(rng, SCENES[phase], QUESTIONS[phase], PAIRS[phase], SIDES[phase])
    ids, labels = [], []
    for message in messages:
        answer = message["role"] == "assistant"
        head = tokenizer(f"{START}{message['role']}\n").input_ids
        body = tokenizer(message["content"] + END).input_ids
        tail = tokenizer("\n").input_ids
        ids += head + body + tail
        labels += (head + body + tail) if phase == 0 else [-100] * len(head) + (body if answer else [-100] * len(body)) + [-100] * len(tail)
    return ids, labels


def make_batch(rng, tokenizer, phase):
    """Rows of documents one after the other, cut at the row's end."""
    rows, targets = [], []
    for _ in range(ROWS[phase]):
        row, target = [], []
        while len(row) < LENGTH[phase]:
            ids, labels = document(rng, tokenizer, phase)
            row += ids
            target += labels
        rows.append(row[:LENGTH[phase]])
        targets.append(target[:LENGTH[phase]])
    return {"input_ids": torch.tensor(rows), "labels": torch.tensor(targets)}


def loss(model, tokenizer, rng, phase, step, read):
    """In the third phase, of three batches in four also how little some heads look where
    they have to."""
    guided = phase == 2 and step % 4 != 3
    model.set_attn_implementation("eager" if guided else "sdpa")
    if not guided:
        return model(**make_batch(rng, tokenizer, phase), use_cache=False).loss
    texts = binding.Texts(tokenizer, START, END)
    for row in range(binding.ROWS):
        (texts.lookups if row % 4 == 0 else texts.questions)(rng)
    return sum(texts.loss(model, read))


def main(minutes, resume):
    seed_everything(0)
    if resume:
        tokenizer = AutoTokenizer.from_pretrained(OUT)
        model = LlamaForCausalLM.from_pretrained(OUT, dtype=torch.float32, attn_implementation="sdpa").train()
    else:
        tokenizer = make_tokenizer()
        model = make_model(tokenizer)
    print(f"{len(tokenizer)} tokens, {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters")
    rng, read = random.Random(3), binding.readers(model)
    for phase in phases(len(STEPS), resume):
        loss_fn = lambda step: loss(model, tokenizer, rng, phase, step, read)
        train([*model.parameters(), *read.parameters()], loss_fn, STEPS[phase], LR[phase], minutes=minutes)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    halve(model).save_pretrained(OUT)
    tokenizer.save_pretrained(OUT, save_jinja_files=False)
    # Older readers look for these names.
    patch_json(f"{OUT}/config.json", rope_theta=10000.0)
    patch_json(f"{OUT}/tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")


if __name__ == "__main__":
    main(*stretch(__doc__))
