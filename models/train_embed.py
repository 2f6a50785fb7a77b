"""shapes-embed: a sentence-transformers BertModel in which paraphrases lie close."""

import random
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, BertTokenizerFast

import corpus
import world
from training import halve, plain_tokenizer, seed_everything, train, write_json

OUT = str(Path(__file__).resolve().parent / "tiny" / "shapes-embed")
BATCH, STEPS, LR, TEMPERATURE = 192, 1000, 1.5e-3, 0.02
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


def make_batch(rng):
    """Two paraphrases of each scene (and of a little small talk). Half the scenes are
    near neighbours of the other half, so every word and their order matter."""
    scenes = [world.random_scene(rng, pair=rng.random() < 0.7) for _ in range(BATCH // 2)]
    scenes += [world.mirrored(s) if s.relation and rng.random() < 0.5 else world.neighbour(rng, s) for s in scenes]
    distinct = {world.plain_caption(min(s, s.converse(), key=world.plain_caption) if s.relation else s): s for s in scenes}
    pairs = [(world.caption(s, rng), world.caption(s, rng)) for s in distinct.values()]
    talk = {}
    for _ in range(8):
        user, answer = corpus.chat(rng)
        talk.setdefault(answer, (user, answer))
    return pairs + list(talk.values())


def main(minutes):
    seed_everything(0)
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    print(f"{len(tokenizer)} tokens, {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters")
    rng = random.Random(5)

    def loss_fn(step):
        left, right = zip(*make_batch(rng))
        both = embed(model, tokenizer, left + right)
        scores = both[:len(left)] @ both[len(left):].T / TEMPERATURE
        target = torch.arange(len(left))
        return (F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)) / 2

    train(model.parameters(), loss_fn, STEPS, LR, minutes=minutes)
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


def distinct_scenes(rng, held_out, singles, pairs):
    """Scenes of one thing and of two, none told twice."""
    chosen = rng.sample(world.single_scenes(held_out), singles)
    seen = set()
    while len(seen) < pairs:
        scene = world.random_scene(rng, held_out, pair=True)
        if scene.converse() not in seen:
            seen.add(scene)
    return chosen + sorted(seen, key=world.plain_caption)


def evaluate():
    """How often a paraphrase finds its own scene among 1,000, in percent."""
    from sentence_transformers import SentenceTransformer
    model = SentenceTransformer(OUT, device="cpu").float()
    for held_out in (False, True):
        rng = random.Random(101)
        captions = [(scene, world.caption(scene, rng)) for scene in distinct_scenes(rng, held_out, 500, 500)]
        queries = []
        for scene, caption in captions:
            query = caption
            while query == caption:
                query = world.caption(scene, rng)
            queries.append(query)
        scores = torch.from_numpy(model.encode(queries) @ model.encode([caption for _, caption in captions]).T)
        right = (scores.argmax(1) == torch.arange(1000)).float().mean().item()
        print(f"{'held-out' if held_out else 'trained'} combinations: {100 * right:.1f} %")


if __name__ == "__main__":
    if sys.argv[1:] == ["evaluate"]:
        evaluate()
    else:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else None)
