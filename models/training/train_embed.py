"""shapes-embed: a sentence-transformers BertModel in which paraphrases lie close."""

import random

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, BertTokenizerFast

import corpus
import world
from loop import TINY, halve, plain_tokenizer, seed_everything, stretch, train, write_json

OUT = f"{TINY}/shapes-embed"
BATCH, STEPS, LR, TEMPERATURE = (192, 256), (900, 1800), (1.5e-3, 1.5e-3), 0.02
PAIRS, MIRRORED = (0.7, 0.9), (0.5, 0.4)
MAX_TOKENS = 64


def make_tokenizer():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    rng = random.Random(0)
    texts = [world.caption(world.random_scene(rng), rng, full=False) for _ in range(10000)]
    texts += [text for _ in range(2000) for text in corpus.chat(rng)]
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    alphabet = [chr(c) for c in range(33, 127) if not chr(c).isupper()]
    tokenizer.train_from_iterator(texts, trainers.WordPieceTrainer(vocab_size=700, special_tokens=specials, initial_alphabet=alphabet))
    vocab = tokenizer.get_vocab()
    # Every character can also continue a word, so that no ASCII word is unknown.
    tokens = sorted(vocab, key=vocab.get) + sorted({"##" + c for c in alphabet if c.isalnum()} - set(vocab))
    return BertTokenizerFast(vocab={t: i for i, t in enumerate(tokens)}, model_max_length=MAX_TOKENS)


def make_model(tokenizer):
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=256, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )
    return BertModel._from_config(config, attn_implementation="eager", add_pooling_layer=False)


def embed(model, tokenizer, texts):
    """Mean over the real tokens, scaled to length one."""
    batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    hidden = model(**batch).last_hidden_state.float()
    mask = batch["attention_mask"].unsqueeze(-1)
    return F.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)


def make_batch(rng, phase):
    """Two paraphrases of each scene (and of a little small talk). Half the scenes are
    near neighbours of the other half, so every word and their order matter; the second
    phase has nearly only scenes of two things, whose sides are what is hard."""
    scenes = [world.random_scene(rng, pair=rng.random() < PAIRS[phase]) for _ in range(BATCH[phase] // 2)]
    scenes += [world.mirrored(s) if s.relation and rng.random() < MIRRORED[phase] else world.neighbour(rng, s) for s in scenes]
    distinct = {world.plain_caption(min(s, s.converse(), key=world.plain_caption) if s.relation else s): s for s in scenes}
    pairs = [(world.caption(s, rng), world.caption(s, rng)) for s in distinct.values()]
    talk = {}
    for _ in range(8):
        user, answer = corpus.chat(rng)
        talk.setdefault(answer, (user, answer))
    return pairs + list(talk.values())


def main(minutes, resume):
    seed_everything(0)
    if resume:
        tokenizer = BertTokenizerFast.from_pretrained(OUT)
        model = BertModel.from_pretrained(OUT, dtype=torch.float32, attn_implementation="eager", add_pooling_layer=False).train()
    else:
        tokenizer = make_tokenizer()
        model = make_model(tokenizer)
    print(f"{len(tokenizer)} tokens, {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters")
    rng = random.Random(5)

    def loss_fn(phase):
        left, right = zip(*make_batch(rng, phase))
        both = embed(model, tokenizer, left + right)
        scores = both[:len(left)] @ both[len(left):].T / TEMPERATURE
        target = torch.arange(len(left))
        return (F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)) / 2

    for phase in range(len(STEPS) - 1 if resume else 0, len(STEPS)):
        train(model.parameters(), lambda step: loss_fn(phase), STEPS[phase], LR[phase], minutes=minutes)
    halve(model).save_pretrained(OUT)
    tokenizer.save_pretrained(OUT)
    plain_tokenizer(OUT)
    write_json(f"{OUT}/modules.json", [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ])
    write_json(f"{OUT}/1_Pooling/config.json", {
        "word_embedding_dimension": 128, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False,
    })
    write_json(f"{OUT}/sentence_bert_config.json", {"max_seq_length": MAX_TOKENS, "do_lower_case": False})
    write_json(f"{OUT}/config_sentence_transformers.json", {"prompts": {}, "default_prompt_name": None, "similarity_fn_name": "cosine"})


if __name__ == "__main__":
    main(*stretch(__doc__))
