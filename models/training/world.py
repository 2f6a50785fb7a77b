"""The shape world: small captioned pictures of coloured shapes.

A scene holds one object (with a size and a position) or two objects (with a
relation), on a plain background. Everything is drawn and described by the code
below, deterministically by seed, so no data has to be downloaded.

Some (colour, shape, background) combinations are held out: no training script
ever shows or mentions them together, which makes them a test of composition.
"""

import random
from collections import Counter
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from PIL import Image, ImageDraw

SIZE = 64
SUPERSAMPLE = 4

COLORS = {
    "red": (220, 40, 40),
    "green": (40, 165, 70),
    "blue": (45, 85, 215),
    "yellow": (240, 215, 50),
    "purple": (135, 55, 175),
    "orange": (240, 135, 30),
    "white": (250, 250, 250),
    "black": (15, 15, 15),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
SIZES = {"small": (7.5, 9.0), "large": (13.0, 14.5)}
BACKGROUNDS = {
    "white": (250, 250, 250),
    "black": (15, 15, 15),
    "gray": (135, 135, 140),
    "pink": (250, 185, 205),
}
POSITIONS = {"left": (17, 32), "right": (47, 32), "top": (32, 17), "bottom": (32, 47), "center": (32, 32)}
RELATIONS = ("left of", "right of", "above", "below")
SIDES = {"left of": ("left", "right"), "right of": ("right", "left"), "above": ("top", "bottom"), "below": ("bottom", "top")}
CONVERSE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


# ---------------------------------------------------------------- scenes

@dataclass(frozen=True)
class Thing:
    color: str
    shape: str


@dataclass(frozen=True)
class Scene:
    """One thing with `size` and `position`, or two things with `relation`
    (the first one stands in that relation to the second)."""

    things: tuple
    background: str
    size: str = None
    position: str = None
    relation: str = None

    @property
    def combos(self):
        return [(t.color, t.shape, self.background) for t in self.things]

    def converse(self):
        """The same picture, told from the other object."""
        return replace(self, things=self.things[::-1], relation=CONVERSE[self.relation])


def _held_out():
    """50 of the 180 possible combinations, such that training still shows every pair of
    two attributes at least twice."""
    combos = [c for c in product(COLORS, SHAPES, BACKGROUNDS) if c[0] != c[2]]
    pairs = lambda c: [(i, j, c[i], c[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    seen = Counter(p for c in combos for p in pairs(c))
    out = set()
    for c in random.Random(64).sample(combos, len(combos)):
        if len(out) < 50 and all(seen[p] > 2 for p in pairs(c)):
            out.add(c)
            seen.subtract(pairs(c))
    return combos, out


COMBOS, HELD_OUT = _held_out()
TRAINED = [c for c in COMBOS if c not in HELD_OUT]


def single_scenes(held_out):
    """Every fully described one-object scene of a split (held out: exactly 500)."""
    combos = sorted(HELD_OUT) if held_out else TRAINED
    return [
        Scene((Thing(c, s),), b, size=size, position=pos)
        for (c, s, b) in combos for size in SIZES for pos in POSITIONS
    ]


def random_scene(rng, held_out=False, pair=None):
    """A random scene of the training split, or one where every object is a held-out
    combination. `pair` forces two objects (True) or one (False)."""
    combos = sorted(HELD_OUT) if held_out else TRAINED
    if pair is None:
        pair = rng.random() < 0.5
    color, shape, background = rng.choice(combos)
    first = Thing(color, shape)
    if not pair:
        return Scene((first,), background, size=rng.choice(list(SIZES)), position=rng.choice(list(POSITIONS)))
    others = [Thing(c, s) for c, s, b in combos if b == background and s != shape]
    return Scene((first, rng.choice(others)), background, relation=rng.choice(RELATIONS))


def distinct_pairs(rng, held_out, count):
    """Different scenes of two things, none of them the converse of another."""
    seen = []
    while len(seen) < count:
        scene = random_scene(rng, held_out, pair=True)
        if scene not in seen and scene.converse() not in seen:
            seen.append(scene)
    return seen


def neighbour(rng, scene):
    """A training scene that differs from `scene` in little: one attribute, or the two
    objects trading colours or places."""
    while True:
        things, kind = list(scene.things), rng.randrange(5)
        i = rng.randrange(len(things))
        new = scene
        if kind == 0:
            things[i] = replace(things[i], color=rng.choice(list(COLORS)))
        elif kind == 1:
            things[i] = replace(things[i], shape=rng.choice(SHAPES))
        elif kind == 2:
            new = replace(new, background=rng.choice(list(BACKGROUNDS)))
        elif len(things) == 1:
            field, values = rng.choice([("size", SIZES), ("position", POSITIONS)])
            new = replace(new, **{field: rng.choice(list(values))})
        elif kind == 3:
            new = replace(new, relation=rng.choice(RELATIONS))
        else:
            a, b = things
            things = [b, a] if rng.random() < 0.5 else [Thing(b.color, a.shape), Thing(a.color, b.shape)]
        new = replace(new, things=tuple(things))
        distinct = len({t.shape for t in things}) == len(things)
        if new != scene and distinct and all(c in _TRAINED_SET for c in new.combos):
            return new


def mirrored(scene):
    """The two objects in each other's places."""
    return replace(scene, things=scene.things[::-1])


_TRAINED_SET = set(TRAINED)


# ---------------------------------------------------------------- pictures

def _polygon(shape, x, y, r):
    """Corner points of a shape with circumradius `r` around (x, y)."""
    if shape == "square":
        a = 0.82 * r
        return [(x - a, y - a), (x + a, y - a), (x + a, y + a), (x - a, y + a)]
    if shape == "triangle":
        return [(x, y - r), (x + 0.95 * r, y + 0.75 * r), (x - 0.95 * r, y + 0.75 * r)]
    if shape == "star":
        angles = -np.pi / 2 + np.arange(10) * np.pi / 5
        radii = np.where(np.arange(10) % 2 == 0, 1.08 * r, 0.45 * r)
        return [(x + q * np.cos(a), y + q * np.sin(a)) for a, q in zip(angles, radii)]
    a, b = 0.3 * r, r  # cross: a plus sign
    corners = [(-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a), (a, b), (-a, b), (-a, a), (-b, a), (-b, -a), (-a, -a)]
    return [(x + dx, y + dy) for dx, dy in corners]


def _draw(draw, shape, fill, ground, x, y, r):
    k = SUPERSAMPLE
    x, y, r = x * k, y * k, r * k
    if shape in ("circle", "ring"):
        draw.ellipse([x - r, y - r, x + r, y + r], fill=fill)
        if shape == "ring":
            q = 0.55 * r
            draw.ellipse([x - q, y - q, x + q, y + q], fill=ground)
    else:
        draw.polygon(_polygon(shape, x, y, r), fill=fill)


def render(scene, rng, odd=False):
    """Draw a scene as a 64x64 RGB image; `rng` jitters places and sizes a little. With
    `odd`, in random colours that have no name here."""
    k = SUPERSAMPLE
    fills, ground = [COLORS[t.color] for t in scene.things], BACKGROUNDS[scene.background]
    while odd:
        fills, ground = [tuple(rng.randrange(256) for _ in "rgb") for _ in fills], tuple(rng.randrange(256) for _ in "rgb")
        odd = any(sum(abs(a - b) for a, b in zip(fill, ground)) < 180 for fill in fills)
    image = Image.new("RGB", (SIZE * k, SIZE * k), ground)
    draw = ImageDraw.Draw(image)
    jitter = lambda: rng.uniform(-1.5, 1.5)
    if scene.relation is None:
        x, y = POSITIONS[scene.position]
        _draw(draw, scene.things[0].shape, fills[0], ground, x + jitter(), y + jitter(), rng.uniform(*SIZES[scene.size]))
    else:
        for thing, fill, spot in zip(scene.things, fills, SIDES[scene.relation]):
            x, y = POSITIONS[spot]
            _draw(draw, thing.shape, fill, ground, x + jitter(), y + jitter(), rng.uniform(10.0, 12.0))
    return image.resize((SIZE, SIZE), Image.BOX)


# ---------------------------------------------------------------- captions

def article(words):
    return ("an " if words[0] in "aeiou" else "a ") + words


def name(thing, size=None):
    return article(" ".join(w for w in (size, thing.color, thing.shape) if w))


_PLACE = {
    "left": ("on the left", "at the left"),
    "right": ("on the right", "at the right"),
    "top": ("at the top", "on the top"),
    "bottom": ("at the bottom", "on the bottom"),
    "center": ("in the center", "in the middle"),
}
_SIZE_WORDS = {"small": ("small", "little"), "large": ("large", "big")}
_RELATION_WORDS = {
    "left of": ("left of", "to the left of"),
    "right of": ("right of", "to the right of"),
    "above": ("above", "over"),
    "below": ("below", "under"),
}
# {x} is what stands where, {b} the background colour.
_TEMPLATES = (
    "{x} on a {b} background",
    "a picture of {x} on a {b} background",
    "a {b} background with {x}",
    "there is {x} on a {b} background",
    "{x}, the background is {b}",
    "on a {b} background there is {x}",
    "an image showing {x}, on {b}",
)


def plain_caption(scene):
    """The one canonical caption of a scene."""
    return _fill(_TEMPLATES[0], scene, scene.size, scene.position and _PLACE[scene.position][0], scene.relation)


def _fill(template, scene, size, place, relation):
    if scene.relation is None:
        x = name(scene.things[0], size) + (" " + place if place else "")
    else:
        x = f"{name(scene.things[0])} {relation} {name(scene.things[1])}"
    return template.format(x=x, b=scene.background)


def caption(scene, rng, full=True):
    """A random paraphrase. With `full` false, size, position or background may be left
    out, as people do."""
    if scene.relation is not None and rng.random() < 0.5:
        scene = scene.converse()
    size = scene.size and rng.choice(_SIZE_WORDS[scene.size])
    place = scene.position and rng.choice(_PLACE[scene.position])
    relation = scene.relation and rng.choice(_RELATION_WORDS[scene.relation])
    if not full and rng.random() < 0.5:
        size = size if rng.random() < 0.5 else None
        place = place if rng.random() < 0.5 else None
        if rng.random() < 0.3:
            return partial_caption(scene, rng)
    return _fill(rng.choice(_TEMPLATES), scene, size, place, relation)


def two_captions(scene, rng):
    """Two different paraphrases."""
    first = second = caption(scene, rng)
    while second == first:
        second = caption(scene, rng)
    return first, second


def partial_caption(scene, rng):
    """A caption that tells one or two attributes only."""
    thing = rng.choice(scene.things)
    return rng.choice((
        article(f"{thing.color} shape"),
        article(thing.shape),
        article(f"{thing.color} {thing.shape}"),
        article(f"{scene.background} background"),
        f"a shape on a {scene.background} background",
    ))


def shape_caption(scene, rng):
    """A caption of a one-object scene that names no colour."""
    size = rng.choice((None, rng.choice(_SIZE_WORDS[scene.size])))
    place = rng.choice(("", " " + rng.choice(_PLACE[scene.position])))
    return article(" ".join(w for w in (size, scene.things[0].shape) if w)) + place


# ---------------------------------------------------------------- batches

def pictures(scenes, rng, odd=()):
    """The pictures of some scenes as one float array (count, 3, 64, 64) in [-1, 1]; those
    whose index is in `odd` in random colours."""
    images = np.stack([np.asarray(render(s, rng, i in odd)) for i, s in enumerate(scenes)])
    return images.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1.0


if __name__ == "__main__":  # a contact sheet, to look at the world
    rng = random.Random(0)
    sheet = Image.new("RGB", (12 * 66, 8 * 66), (90, 90, 90))
    for i in range(96):
        scene = random_scene(rng, held_out=i >= 72)
        sheet.paste(render(scene, rng), (i % 12 * 66 + 1, i // 12 * 66 + 1))
        if i % 12 == 0:
            print(caption(scene, rng), "|", caption(scene, rng), "|", caption(scene, rng, full=False))
    sheet.save("world.png")
