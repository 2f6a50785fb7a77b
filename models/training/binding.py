"""Texts that teach a language model what belongs to what, with where some of its heads have to look in them.

Five heads are told: one of the first layer looks at the token before; of the second, one looks from where an answer
begins to what the question asks about, and one from the second thing of a scene to the word that says how it stands to
the first; of the third, one looks at the shape that an answer is about, and one at the word of place or relation. And
it is read off what comes out of these layers, linearly, where the second thing is and where what is asked about is."""

import torch

import corpus
import world
from guided import looks, looks_back

ROWS, LENGTH, GUIDANCE = 40, 112, 0.2
BACK, SUBJECT, RELATION, THING, PLACE = (0, 0), (1, 1), (1, 2), (2, 0), (2, 1)  # layer, head
PLACES = "left right top bottom center middle above below over under".split()


def where(scene, thing):
    """The side a thing is on, as a number."""
    side = world.SIDES[scene.relation][scene.things.index(thing)] if scene.relation else scene.position
    return list(world.POSITIONS).index(side)


def asked_about(scene, question):
    """The word that a question turns on and the thing it is about, where it is about one."""
    words = question.strip("?").split()
    for word in reversed(words):
        if word in world.SHAPES:
            thing = next((t for t in scene.things if t.shape == word), None)
            return word, None if words[:2] == ["What", "is"] else thing
        if word in world.COLORS and "shape" in words:
            return word, next((t for t in scene.things if t.color == word), None)
    if words[-1] not in PLACES:
        return None, None
    if scene.relation is None:
        return words[-1], scene.things[0]
    return words[-1], scene.things[world.SIDES[scene.relation].index(words[-1])]


def readers(model):
    """What reads sides off the second and the third layer. It only teaches and is not kept."""
    return torch.nn.ModuleList([torch.nn.Linear(model.config.hidden_size, len(world.POSITIONS)) for _ in range(2)])


class Texts:
    """Rows of tokens with labels, and places (row, query, key) by layer and head."""

    def __init__(self, tokenizer, start, end):
        self.tokenizer, self.start, self.end = tokenizer, start, end
        self.known = {}
        self.rows, self.labels, self.places = [], [], {SUBJECT: [], RELATION: [], THING: [], PLACE: []}
        self.sides = {RELATION[0]: [], THING[0]: []}

    def ids(self, text):
        if text not in self.known:
            self.known[text] = self.tokenizer(text).input_ids
        return self.known[text]

    def word(self, word):
        return self.ids(" " + word)[0]

    def look(self, head, query, key):
        if query < LENGTH:
            self.places[head].append((len(self.rows), query, key))

    def side(self, layer, place, scene, thing):
        if place < LENGTH:
            self.sides[layer].append((len(self.rows), place, where(scene, thing)))

    def add(self, ids, labels):
        pad = LENGTH - len(ids)
        self.rows.append((ids + [self.tokenizer.pad_token_id] * pad)[:LENGTH])
        self.labels.append((labels + [-100] * pad)[:LENGTH])

    def lookups(self, rng):
        turns, about = corpus.lookups(rng)
        ids, labels = [], []
        for number, turn in enumerate(map(self.ids, turns)):
            if number % 2:
                self.look(THING, len(ids) - 1, ids.index(self.word(about[number // 2])))
            ids = ids + turn
            labels = labels + (turn if number % 2 else [-100] * len(turn))
        self.add(ids, labels)

    def questions(self, rng):
        """Questions on one scene, as in a conversation."""
        question, answer, scene = corpus.scene_question(rng, sides=1)
        told, question = question.split(" Question: ")
        ids = self.ids(f"{self.start}user\n") + self.tokenizer(told).input_ids
        place = next(at for at, token in enumerate(ids) if token in [self.word(word) for word in PLACES])
        if scene.relation:
            last, thing = max((ids.index(self.word(thing.shape)), thing.shape, thing) for thing in scene.things)[::2]
            self.look(RELATION, last, place)
            self.side(RELATION[0], last, scene, thing)
        scene_length, labels, text = len(ids), [-100] * len(ids), " Question: "
        while len(ids) < LENGTH:
            asked = self.ids(text + question)
            turn = asked + self.ids(f"{self.end}\n{self.start}assistant\n")
            said = self.ids(answer + self.end)
            subject, thing = asked_about(scene, question)
            at = len(ids) + len(turn) - 1
            if subject:
                self.look(SUBJECT, at, len(ids) + asked.index(self.word(subject)))
            if thing:
                self.look(THING, at, ids[:scene_length].index(self.word(thing.shape)))
                self.side(THING[0], at, scene, thing)
            self.look(PLACE, at, place)
            tail = self.ids(f"\n{self.start}user\n")
            ids = ids + turn + said + tail
            labels = labels + [-100] * len(turn) + said + [-100] * len(tail)
            question, answer = corpus.ask(scene, rng, sides=1)
            text = "Question: "
        self.add(ids, labels)

    def loss(self, model, read):
        """The loss of what is said, and what else is asked of the model. `read` reads a side
        off what comes out of the second and the third layer."""
        output = model(
            input_ids=torch.tensor(self.rows), labels=torch.tensor(self.labels), use_cache=False,
            output_attentions=True, output_hidden_states=True,
        )
        apart = looks_back(output.attentions[BACK[0]], BACK[1])
        for (layer, head), places in self.places.items():
            apart = apart + looks(output.attentions[layer], head, places)
        for linear, (layer, sides) in zip(read, self.sides.items()):
            rows, places, told = map(list, zip(*sides))
            apart = apart + torch.nn.functional.cross_entropy(linear(output.hidden_states[layer + 1][rows, places]), torch.tensor(told))
        return output.loss, GUIDANCE * apart
