"""Text about the shape world and a little beyond it: questions on scenes, stories,
small talk, counting, colours and rhymes, all from the templates below."""

import random

import world

NUMBERS = "one two three four five six seven eight nine ten eleven twelve".split()
SYSTEMS = ("You are a helpful assistant.", "You are a friendly little model.", "Answer in simple words.")


# ---------------------------------------------------------------- questions on a scene

def ask(scene, rng, sides=0):
    """A question about a scene with its one right answer; with `sides`, that many times
    more often about where things are, which is what models learn last."""
    things = scene.things
    thing = rng.choice(things)
    color, shape = thing.color, thing.shape
    other_shape = rng.choice([s for s in world.SHAPES if s not in [t.shape for t in things]])
    others = [c for c in world.COLORS if c not in [t.color for t in things]]
    if all(combo in world.TRAINED for combo in scene.combos):
        # "No" to what is held out would teach that it never is.
        others = [c for c in others if (c, shape, scene.background) in world.TRAINED]
    is_it = [(f"Is the {shape} {color}?", "yes")]
    if others:
        is_it.append((f"Is the {shape} {rng.choice(others)}?", "no"))
    options = [
        (f"What color is the {shape}?", color),
        ("What color is the background?", scene.background),
        ("How many shapes are there?", NUMBERS[len(things) - 1]),
        rng.choice([(f"Is there {world.article(shape)}?", "yes"), (f"Is there {world.article(other_shape)}?", "no")]),
        rng.choice(is_it),
    ]
    if len({t.color for t in things}) == len(things):
        options.append((f"What shape is {color}?", shape))
    if scene.relation is None:
        where = {"left": "on the left", "right": "on the right", "top": "at the top", "bottom": "at the bottom", "center": "in the center"}
        options += [(f"What size is the {shape}?", scene.size), (f"Where is the {shape}?", where[scene.position])] * 2
        options += [(f"Where is the {shape}?", where[scene.position])] * sides
        if scene.position != "center":
            options += [(f"What shape is {where[scene.position]}?", shape)] * (1 + sides)
    else:
        view = scene if rng.random() < 0.5 else scene.converse()
        a, b = view.things
        side = {"left of": "on the left", "right of": "on the right", "above": "at the top", "below": "at the bottom"}[view.relation]
        wrong = rng.choice([r for r in world.RELATIONS if r not in (view.relation, world.CONVERSE[view.relation])])
        told = [
            (f"Where is the {a.color} {a.shape}?", f"{view.relation} the {b.color} {b.shape}"),
            (f"What shape is {side}?", a.shape),
            (f"What color is the shape {side}?", a.color),
        ]
        options += [
            (f"What is {view.relation} the {b.color} {b.shape}?", world.name(a)),
            (f"What is {view.relation} the {b.color} {b.shape}?", world.name(a)),
            (f"What is {wrong} the {b.color} {b.shape}?", "nothing"),
        ] + told * (1 + sides)
    return rng.choice(options)


def scene_question(rng, held_out=False, pair=None, sides=0):
    """A described scene with a question: one user message, its answer and the scene."""
    scene = world.random_scene(rng, held_out, pair)
    question, answer = ask(scene, rng, sides)
    return f"Scene: {world.caption(scene, rng)}. Question: {question}", answer, scene


def lookups(rng):
    """A list of things, and then what belongs to what, over and over: texts by turns to
    be read and to be learnt, and the shape that each of the latter is about. Which
    colour goes with which shape is hard to learn from one answer in a conversation, and
    easier from twenty in a row."""
    count = rng.randint(2, 5)
    things = list(zip(rng.sample(list(world.COLORS), count), rng.sample(world.SHAPES, count)))
    turns, about = [f"Here is {join([f'{world.article(c)} {s}' for c, s in things])}."], []
    for _ in range(rng.randint(12, 24)):
        color, shape = rng.choice(things)
        asked, answer = rng.choice([(f" The {shape} is", f" {color}"), (f" What is {color} is a", f" {shape}")])
        turns[-1] += asked
        turns += [answer, "."]
        about.append(shape)
    return turns, about


# ---------------------------------------------------------------- stories

_NAMES = [("Tom", "he", "his", "him"), ("Ben", "he", "his", "him"), ("Max", "he", "his", "him"), ("Sam", "he", "his", "him"),
          ("Lily", "she", "her", "her"), ("Anna", "she", "her", "her"), ("Mia", "she", "her", "her"), ("Zoe", "she", "her", "her")]
_HEROES = ["cat", "dog", "bird", "fox", "rabbit", "bear", "duck", "mouse", "frog", "owl", "girl", "boy"]
_MOODS = ["happy", "sleepy", "brave", "shy", "kind", "curious", "funny", "quiet"]
_PLACES = ["in the park", "by the river", "in a big forest", "near the sea", "on a green hill", "in a small house", "in the garden", "under an old tree"]
_LOVES = ["to play in the sun", "to sing songs", "to run and jump", "to look at the stars", "to draw shapes", "to help friends", "to read books", "to eat red apples"]
_OBJECTS = ["ball", "kite", "book", "hat", "box", "key", "shell", "drum", "lamp", "boat"]
_WEATHER = ["sunny", "rainy", "windy", "cold", "warm", "snowy"]
_TROUBLE = [
    ("could not find {P} {o}", "looked under the bed, behind the door and in the garden", "found the {o} inside a bag"),
    ("fell down and hurt {P} leg", "sat down and began to cry", "felt better after a hug"),
    ("lost the way home", "walked and walked until it was dark", "saw the light of {P} house"),
    ("wanted to share {P} {o} but had no friends", "asked everyone to come and play", "was not alone any more"),
    ("was afraid of the dark", "turned on a little lamp", "saw that there was nothing to fear"),
    ("broke {P} favorite {o}", "tried to fix it with some glue", "made it as good as new"),
]
_ENDINGS = [
    "From that day on, they were best friends.", "Then they all went home and had dinner.", "{N} smiled and went to sleep.",
    "It was the best day ever.", "And they lived happily ever after.", "{N} learned that it is good to ask for help.", "Everyone laughed and danced.",
]


def story(rng, hero=None):
    hero = hero or rng.choice(_HEROES)
    pick = [n for n in _NAMES if (hero not in ("girl", "boy")) or (n[1] == "she") == (hero == "girl")]
    N, S, P, O = rng.choice(pick)
    friend = rng.choice([n[0] for n in _NAMES if n[0] != N])
    o, c, mood = rng.choice(_OBJECTS), rng.choice(list(world.COLORS)), rng.choice(_MOODS)
    problem, action, result = (t.format(P=P, o=o) for t in rng.choice(_TROUBLE))
    helper = rng.choice(_HEROES)
    lines = [
        rng.choice([f"Once upon a time there was {world.article(mood)} {hero} named {N}.", f"There was once a little {hero} called {N}, who was very {mood}.", f"{N} was {world.article(mood)} {hero} who lived {rng.choice(_PLACES)}."]),
        rng.choice([f"{N} had {world.article(c)} {o} and loved {rng.choice(_LOVES)}.", f"{S.capitalize()} loved {rng.choice(_LOVES)} with {P} {c} {o}.", f"Every day {S} liked {rng.choice(_LOVES)}."]),
        rng.choice([f"One {rng.choice(_WEATHER)} day, {N} {problem}.", f"One morning, {S} {problem}.", f"But one {rng.choice(_WEATHER)} evening {N} {problem}."]),
        f"{S.capitalize()} {action}.",
        rng.choice([f"Then {P} friend {friend} came to help.", f"A {mood if rng.random() < .3 else 'kind'} {helper} named {friend} saw {O} and said, \"Do not worry, I will help you.\"", f"\"What is wrong?\" asked {friend}."]),
        rng.choice([f"At last {N} {result}.", f"Together with {friend}, {S} {result}.", f"Soon {S} {result}."]),
        rng.choice(_ENDINGS).format(N=N),
    ]
    if rng.random() < 0.3:
        del lines[rng.choice([1, 4])]
    return " ".join(lines).replace(" A an ", " An ")


# ---------------------------------------------------------------- small talk and lists

_RHYMES = ["cat hat mat bat", "dog log fog frog", "sun run fun bun", "blue shoe new too", "red bed head bread", "star car far jar",
           "ring king sing wing", "tree bee sea me", "moon spoon soon noon", "night light bright kite", "ball wall tall fall", "day play say way",
           "fox box socks rocks", "mouse house", "bear chair hair pear", "green queen bean seen"]
_OPPOSITES = [("big", "small"), ("hot", "cold"), ("up", "down"), ("happy", "sad"), ("day", "night"), ("fast", "slow"), ("left", "right"),
              ("above", "below"), ("black", "white"), ("open", "closed"), ("old", "new"), ("yes", "no"), ("long", "short"), ("wet", "dry")]
_FACTS = [
    ("What color is the sky?", "The sky is blue."), ("What color is grass?", "Grass is green."), ("What color is the sun?", "The sun is yellow."),
    ("What color is snow?", "Snow is white."), ("What color is the night?", "The night is black."), ("What color is an apple?", "An apple can be red or green."),
    ("How many sides does a triangle have?", "A triangle has three sides."), ("How many sides does a square have?", "A square has four sides."),
    ("How many corners does a square have?", "A square has four corners."), ("Which shape is round?", "A circle is round, and so is a ring."),
    ("Which shape has a hole?", "A ring has a hole in the middle."), ("What is a star?", "A star is a shape with five points."),
    ("What is a cross?", "A cross is a shape like a plus sign."), ("What is a circle?", "A circle is a round shape without corners."),
    ("What does a cat say?", "A cat says meow."), ("What does a dog say?", "A dog says woof."), ("What does a duck say?", "A duck says quack."),
    ("What do you see at night?", "At night I see the moon and the stars."), ("Where do fish live?", "Fish live in the water."),
    ("Where do birds live?", "Birds live in the trees."), ("What do rabbits eat?", "Rabbits eat grass and carrots."),
]
_TALK = [
    (["Hello!", "Hi!", "Hi there!", "Hello there!", "Good morning!", "Hey!", "hello", "hi"], ["Hello! How can I help you?", "Hi! It is nice to meet you.", "Hello! What would you like to talk about?"]),
    (["How are you?", "How are you today?", "How do you do?"], ["I am fine, thank you. How are you?", "I am very well, thank you!", "I am happy today. And you?"]),
    (["What is your name?", "Who are you?", "What are you?"], ["I am a tiny language model that knows about shapes.", "I am a very small model. I like shapes and stories."]),
    (["What can you do?", "Can you help me?", "What do you know?"], ["I can tell stories, count, name colors and answer questions about shapes."]),
    (["Thank you!", "Thanks!", "Thank you very much!"], ["You are welcome!", "You are welcome. Have a nice day!"]),
    (["Goodbye!", "Bye!", "Good night!", "See you later!"], ["Goodbye! See you soon.", "Bye! Have a nice day."]),
    (["Do you like shapes?", "What do you like?"], ["Yes, I like shapes very much. My favorite shape is the star.", "I like shapes and colors. The star is my favorite."]),
    (["I am sad.", "I feel sad today."], ["I am sorry to hear that. Would you like a story?", "Do not be sad. I can tell you a story."]),
    (["I am happy.", "I feel happy today."], ["That is good to hear!", "I am happy too!"]),
]


def join(words):
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def chat(rng):
    """One exchange: a user message and its answer."""
    kind = rng.randrange(12)
    if kind < 3:
        hero = rng.choice(_HEROES)
        prompt = rng.choice(["Tell me a story about {}.", "Can you tell me a story about {}?", "I want a story about {}.", "Write a short story about {}."])
        return prompt.format(world.article(hero)), story(rng, hero)
    if kind < 5:
        users, answers = rng.choice(_TALK)
        return rng.choice(users), rng.choice(answers)
    if kind == 5:
        n = rng.choice(_NAMES)[0]
        return rng.choice([(f"My name is {n}.", f"Nice to meet you, {n}!"), (f"Hello, I am {n}.", f"Hello, {n}! How are you today?")])
    if kind == 6:
        a, b = sorted(rng.sample(range(12), 2))
        return rng.choice([
            (f"Count to {NUMBERS[b]}.", ", ".join(NUMBERS[:b + 1]) + "."),
            (f"Count from {NUMBERS[a]} to {NUMBERS[b]}.", ", ".join(NUMBERS[a:b + 1]) + "."),
            (f"What comes after {NUMBERS[b - 1]}?", NUMBERS[b].capitalize() + "."), (f"What comes before {NUMBERS[b]}?", NUMBERS[b - 1].capitalize() + "."),
        ])
    if kind == 7:
        what, words = rng.choice([("color", list(world.COLORS)), ("shape", list(world.SHAPES)), ("animal", _HEROES[:10])])
        n = rng.randint(2, 5)
        if rng.random() < 0.3:
            return f"Name a {what}.".replace("a animal", "an animal"), rng.choice(words).capitalize() + "."
        return rng.choice(["Name {} {}s.", "Tell me {} {}s.", "Can you name {} {}s?"]).format(NUMBERS[n - 1], what), join(rng.sample(words, n)).capitalize() + "."
    if kind == 8:
        words = rng.choice(_RHYMES).split()
        a, b = rng.sample(words, 2)
        return rng.choice([f"What rhymes with {a}?", f"Tell me a word that rhymes with {a}."]), f"{b.capitalize()} rhymes with {a}."
    if kind == 9:
        a, b = rng.choice(_OPPOSITES)
        a, b = rng.choice([(a, b), (b, a)])
        return rng.choice([f"What is the opposite of {a}?", f"Tell me the opposite of {a}."]), f"The opposite of {a} is {b}."
    if kind == 10:
        return rng.choice(_FACTS)
    thing = rng.choice(world.TRAINED)
    scene = world.random_scene(rng)
    return rng.choice([
        ("Describe a picture.", world.plain_caption(scene).capitalize() + "."), ("Describe a scene with shapes.", world.plain_caption(scene).capitalize() + "."),
        (f"Say it in other words: {world.caption(scene, rng)}.", world.plain_caption(scene).capitalize() + "."),
        (f"Is {thing[0]} a color?", f"Yes, {thing[0]} is a color."), (f"Is {thing[1]} a color?", f"No, {thing[1]} is a shape."),
        (f"Is {thing[1]} a shape?", f"Yes, {thing[1]} is a shape."),
    ])


def conversation(rng, scenes=0.6, questions=0.5, pairs=None, sides=0):
    """Messages in the usual role/content form: on a scene with that chance (of two
    things with the chance `pairs`), and then each time with a further question with
    that chance."""
    messages = [{"role": "system", "content": rng.choice(SYSTEMS)}] if rng.random() < 0.25 else []

    def add(user, answer):
        messages.extend([{"role": "user", "content": user}, {"role": "assistant", "content": answer}])

    if rng.random() < scenes:
        user, answer, scene = scene_question(rng, pair=None if pairs is None else rng.random() < pairs, sides=sides)
        add(user, answer)
        while rng.random() < questions:
            question, answer = ask(scene, rng, sides)
            add(rng.choice(["Question: ", ""]) + question, answer)
    else:
        add(*chat(rng))
        while rng.random() < 0.4:
            add(*chat(rng))
    return messages


if __name__ == "__main__":
    rng = random.Random(0)
    for _ in range(12):
        print(conversation(rng))
    print(story(rng))
