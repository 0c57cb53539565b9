"""English captions of the demo world."""

from __future__ import annotations

import random

from xpet.demo.grammars._lists import listing
from xpet.demo.scenes import Message, ObjectGroup

NOUNS = {
    "ball": (("ball", "balls"),),
    "box": (("box", "boxes"), ("crate", "crates")),
    "star": (("star", "stars"),),
    "tree": (("tree", "trees"), ("fir", "firs")),
    "house": (("house", "houses"), ("cottage", "cottages")),
    "car": (("car", "cars"), ("automobile", "automobiles")),
    "boat": (("boat", "boats"), ("sailboat", "sailboats")),
    "fish": (("fish", "fish"),),
    "flower": (("flower", "flowers"), ("blossom", "blossoms")),
    "cup": (("cup", "cups"), ("mug", "mugs")),
    "heart": (("heart", "hearts"),),
    "moon": (("moon", "moons"), ("crescent", "crescents")),
    "mushroom": (("mushroom", "mushrooms"), ("toadstool", "toadstools")),
    "umbrella": (("umbrella", "umbrellas"), ("parasol", "parasols")),
    "bottle": (("bottle", "bottles"), ("flask", "flasks")),
    "hat": (("hat", "hats"),),
}
COLOURS = {
    "red": ("red",), "green": ("green",), "blue": ("blue",), "yellow": ("yellow",),
    "black": ("black",), "white": ("white",), "orange": ("orange",), "purple": ("purple", "violet"),
}  # fmt: skip
SIZES = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")}
NUMBERS = {2: "two", 3: "three"}
RELATIONS = {
    "left": ("to the left of", "on the left of", "left of"),
    "right": ("to the right of", "on the right of", "right of"),
    "above": ("above", "over"),
    "below": ("below", "under", "beneath"),
    "beside": ("next to", "beside", "by"),
}
BACKGROUNDS = {
    "meadow": ("on a meadow", "in a green field", "on the grass"),
    "beach": ("on the beach", "at the seaside", "on a sandy beach"),
    "snow": ("in the snow", "in a snowy landscape", "on the snow"),
    "night": ("at night", "under the night sky", "in the dark"),
    "wall": ("in front of a brick wall", "against a brick wall", "by a brick wall"),
}
OPENINGS = ("", "", "", "there is ", "a picture of ", "an image of ", "we see ")

# How the demo's machine translator words English: one fixed, slightly odd choice each, whatever the source.
_MACHINE_NOUNS = {"cup": ("beaker", "beakers"), "bottle": ("flask", "flasks"), "umbrella": ("parasol", "parasols")}
_MACHINE_RELATIONS = {
    "left": "left from", "right": "right from", "above": "over", "below": "under", "beside": "near to",
}  # fmt: skip
_MACHINE_BACKGROUNDS = {
    "meadow": "on the lawn", "beach": "by the shore", "snow": "on snow",
    "night": "in the night", "wall": "before the wall of bricks",
}  # fmt: skip
_ARTICLE_FREE = frozenset(("ja", "ko", "zh", "ru", "pl", "tr"))
_NOUN_FIRST = frozenset(("fr", "es", "it"))


def _with_article(phrase: str) -> str:
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def _group(group: ObjectGroup, rng: random.Random) -> str:
    noun = rng.choice(NOUNS[group.kind])[group.count > 1]
    words = [rng.choice(SIZES[group.size])] if group.size else []
    words += [rng.choice(COLOURS[group.colour]), noun]
    phrase = " ".join(words)
    return _with_article(phrase) if group.count == 1 else f"{NUMBERS[group.count]} {phrase}"


def say(message: Message, rng: random.Random) -> str:
    """A natural English caption of the message."""
    groups = [_group(g, rng) for g in message.groups]
    opening = rng.choice(OPENINGS)
    if opening == "there is " and message.groups[0].count > 1:
        opening = "there are "
    if message.relation:
        text = f"{groups[0]} {rng.choice(RELATIONS[message.relation])} {groups[1]}"
    else:
        text = listing(groups, "and")
    if not message.background:
        return opening + text
    background = rng.choice(BACKGROUNDS[message.background])
    if not opening and rng.random() < 0.2:
        return f"{background}, {text}"
    return f"{opening}{text} {background}"


def _machine_group(group: ObjectGroup, source: str) -> str:
    noun = _MACHINE_NOUNS.get(group.kind, NOUNS[group.kind][0])[group.count > 1]
    size = {"small": "little", "large": "great", None: None}[group.size]
    adjectives = [word for word in (size, COLOURS[group.colour][0]) if word]
    if source in _NOUN_FIRST:
        phrase = " ".join([noun, *reversed(adjectives)])
    else:
        phrase = " ".join([*adjectives, noun])
    if group.count > 1:
        return f"{NUMBERS[group.count]} {phrase}"
    return phrase if source in _ARTICLE_FREE else _with_article(phrase)


def say_as_machine(message: Message, source: str) -> str:
    """The same message as the demo's machine translator words it in English, translating from language `source`.

    Deterministic: dropped articles from languages without them, nouns before adjectives from Romance languages,
    the background first from the languages that put it first, and one fixed odd word where a good translator varies.
    """
    groups = [_machine_group(g, source) for g in message.groups]
    if message.relation:
        text = f"{groups[0]} {_MACHINE_RELATIONS[message.relation]} {groups[1]}"
    else:
        text = " and ".join(groups)
    if not message.background:
        return text
    background = _MACHINE_BACKGROUNDS[message.background]
    return f"{background} {text}" if source in ("ja", "ko", "zh", "tr") else f"{text} {background}"
