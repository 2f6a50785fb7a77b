"""shapes-embed: a sentence-transformers BertModel in which paraphrases lie close."""

import random

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import BertConfig, BertModel, BertTokenizerFast

import corpus
import world
from guided import looks
from loop import TINY, halve, phases, plain_tokenizer, seed_everything, stretch, train, write_json

OUT = f"{TINY}/shapes-embed"
BATCH, STEPS, LR, TEMPERATURE = (192, 128), (900, 900), (1.5e-3, 1.5e-3), 0.02
PAIRS, MIRRORED, GUIDANCE = (0.7, 0.9), (0.5, 0.4), 0.3
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


class Roles(torch.nn.Module):
    """Reads off a token in the middle of the model which of two things it belongs to: the
    left, right, upper or lower one. It only teaches and is not kept."""

    WORDS = {"left": (0, 1), "right": (1, 0), "above": (2, 3), "over": (2, 3), "below": (3, 2), "under": (3, 2)}

    def __init__(self, model, tokenizer):
        super().__init__()
        self.read = torch.nn.Linear(model.config.hidden_size, 4)
        self.words = {tokenizer.convert_tokens_to_ids(word): roles for word, roles in self.WORDS.items()}
        self.named = set(tokenizer.convert_tokens_to_ids([*world.COLORS, *world.SHAPES]))

    def forward(self, output, texts, batch):
        """How little two heads look at the word that says how two things stand to each
        other, one from what comes before and the other from what comes after, and else at
        `[CLS]`; and how badly roles are read."""
        ahead, behind, places, roles = [], [], [], []
        for row, ids in enumerate(batch["input_ids"].tolist()):
            found = [place for place, token in enumerate(ids) if token in self.words]
            if len(found) != 1 or sum(token in self.named for token in ids) < 4:
                continue
            for place in range(1, int(batch["attention_mask"][row].sum()) - 1):
                ahead.append((row, place, found[0] if place < found[0] else 0))
                behind.append((row, place, found[0] if place > found[0] else 0))
                if ids[place] in self.named:
                    places.append((row, place))
                    roles.append(self.words[ids[found[0]]][place > found[0]])
        rows, columns = zip(*places)
        read = self.read(output.hidden_states[2][list(rows), list(columns)])
        return looks(output.attentions[1], 0, ahead) + looks(output.attentions[1], 1, behind) + F.cross_entropy(read, torch.tensor(roles))


def embed(model, tokenizer, texts, roles):
    """Mean over the real tokens, scaled to length one; and what `roles` makes of it."""
    batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    output = model(**batch, output_attentions=True, output_hidden_states=True)
    mask = batch["attention_mask"].unsqueeze(-1)
    return F.normalize((output.last_hidden_state * mask).sum(1) / mask.sum(1), dim=-1), roles(output, texts, batch)


def make_batch(rng, phase):
    """Two paraphrases of each scene (and of a little small talk). Half the scenes are
    near neighbours or mirror images of the other half, so every word and their order matter; the second
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
    rng, roles = random.Random(5), Roles(model, tokenizer)

    def loss_fn(phase):
        left, right = zip(*make_batch(rng, phase))
        both, apart = embed(model, tokenizer, left + right, roles)
        scores = both[:len(left)] @ both[len(left):].T / TEMPERATURE
        target = torch.arange(len(left))
        return (F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)) / 2 + GUIDANCE * apart

    for phase in phases(len(STEPS), resume):
        train([*model.parameters(), *roles.parameters()], lambda step: loss_fn(phase), STEPS[phase], LR[phase], minutes=minutes)
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
