"""German captions of the demo world."""

from __future__ import annotations

import random

from xpet.demo.grammars._lists import listing
from xpet.demo.scenes import Message, ObjectGroup

# Gender, then nominative singular, dative singular, nominative plural, dative plural.
Noun = tuple[str, str, str, str, str]
NOUNS: dict[str, tuple[Noun, ...]] = {
    "ball": (("m", "Ball", "Ball", "Bälle", "Bällen"),),
    "box": (
        ("f", "Kiste", "Kiste", "Kisten", "Kisten"),
        ("f", "Schachtel", "Schachtel", "Schachteln", "Schachteln"),
        ("m", "Karton", "Karton", "Kartons", "Kartons"),
    ),
    "star": (("m", "Stern", "Stern", "Sterne", "Sternen"),),
    "tree": (
        ("m", "Baum", "Baum", "Bäume", "Bäumen"),
        ("f", "Tanne", "Tanne", "Tannen", "Tannen"),
        ("m", "Tannenbaum", "Tannenbaum", "Tannenbäume", "Tannenbäumen"),
    ),
    "house": (("n", "Haus", "Haus", "Häuser", "Häusern"),),
    "car": (("n", "Auto", "Auto", "Autos", "Autos"), ("m", "Wagen", "Wagen", "Wagen", "Wagen")),
    "boat": (("n", "Boot", "Boot", "Boote", "Booten"), ("n", "Segelboot", "Segelboot", "Segelboote", "Segelbooten")),
    "fish": (("m", "Fisch", "Fisch", "Fische", "Fischen"),),
    "flower": (("f", "Blume", "Blume", "Blumen", "Blumen"),),
    "cup": (("f", "Tasse", "Tasse", "Tassen", "Tassen"), ("m", "Becher", "Becher", "Becher", "Bechern")),
    "heart": (("n", "Herz", "Herzen", "Herzen", "Herzen"),),
    "moon": (
        ("m", "Mond", "Mond", "Monde", "Monden"),
        ("f", "Mondsichel", "Mondsichel", "Mondsicheln", "Mondsicheln"),
        ("m", "Halbmond", "Halbmond", "Halbmonde", "Halbmonden"),
    ),
    "mushroom": (("m", "Pilz", "Pilz", "Pilze", "Pilzen"),),
    "umbrella": (
        ("m", "Regenschirm", "Regenschirm", "Regenschirme", "Regenschirmen"),
        ("m", "Schirm", "Schirm", "Schirme", "Schirmen"),
    ),
    "bottle": (("f", "Flasche", "Flasche", "Flaschen", "Flaschen"),),
    "hat": (("m", "Hut", "Hut", "Hüte", "Hüten"), ("m", "Zylinder", "Zylinder", "Zylinder", "Zylindern")),
}
COLOURS = {
    "red": ("rot",), "green": ("grün",), "blue": ("blau",), "yellow": ("gelb",),
    "black": ("schwarz",), "white": ("weiß",), "orange": ("orange", "orangefarben"), "purple": ("lila", "violett"),
}  # fmt: skip
SIZES = {"small": ("klein", "klein", "winzig"), "large": ("groß", "groß", "riesig")}
NUMBERS = {2: "zwei", 3: "drei"}
RELATIONS = {
    "left": ("links von", "links neben"),
    "right": ("rechts von", "rechts neben"),
    "above": ("über", "oberhalb von"),
    "below": ("unter", "unterhalb von"),
    "beside": ("neben", "direkt neben"),
}
BACKGROUNDS = {
    "meadow": ("auf einer Wiese", "im Gras", "auf einer grünen Wiese"),
    "beach": ("am Strand", "am Meer", "an einem Sandstrand"),
    "snow": ("im Schnee", "in einer Schneelandschaft", "in einer verschneiten Landschaft"),
    "night": ("bei Nacht", "unter dem Sternenhimmel", "in der Nacht"),
    "wall": ("vor einer Backsteinmauer", "vor einer Ziegelmauer", "vor einer Ziegelwand"),
}
OPENINGS = (
    ("", "nom"), ("", "nom"), ("", "nom"), ("ein Bild von ", "dat"), ("ein Bild mit ", "dat"),
    ("man sieht ", "acc"), ("wir sehen ", "acc"), ("auf dem Bild sieht man ", "acc"),
)  # fmt: skip
VERBS = ("sieht man", "erkennt man", "sehen wir")

_INVARIABLE = frozenset(("lila", "orange"))
_ARTICLES = {
    "nom": {"m": "ein", "f": "eine", "n": "ein"},
    "acc": {"m": "einen", "f": "eine", "n": "ein"},
    "dat": {"m": "einem", "f": "einer", "n": "einem"},
}
_ENDINGS = {  # of adjectives: after "ein", and in the plural after a numeral
    "nom": {"m": "er", "f": "e", "n": "es", "plural": "e"},
    "acc": {"m": "en", "f": "e", "n": "es", "plural": "e"},
    "dat": {"m": "en", "f": "en", "n": "en", "plural": "en"},
}

# How the demo's machine translator words German: one fixed, slightly odd choice each.
_MACHINE_NOUNS: dict[str, Noun] = {
    "box": ("f", "Box", "Box", "Boxen", "Boxen"),
    "boat": ("n", "Segelschiff", "Segelschiff", "Segelschiffe", "Segelschiffen"),
    "car": ("n", "Automobil", "Automobil", "Automobile", "Automobilen"),
    "cup": ("m", "Pokal", "Pokal", "Pokale", "Pokalen"),
    "umbrella": ("m", "Parasol", "Parasol", "Parasole", "Parasolen"),
}
_MACHINE_COLOURS = {"purple": "purpurn"}
_MACHINE_RELATIONS = {
    "left": "auf der linken Seite von", "right": "auf der rechten Seite von", "above": "über", "below": "unter",
    "beside": "nahe bei",
}  # fmt: skip
_MACHINE_BACKGROUNDS = {
    "meadow": "auf dem Rasen", "beach": "bei dem Strand", "snow": "auf Schnee",
    "night": "bei der Nacht", "wall": "vor der Wand von Ziegeln",
}  # fmt: skip


def _phrase(noun: Noun, adjectives: list[str], count: int, case: str) -> str:
    gender, dative = noun[0], case == "dat"
    ending = _ENDINGS[case][gender if count == 1 else "plural"]
    words = [word if word in _INVARIABLE else word + ending for word in adjectives]
    determiner = _ARTICLES[case][gender] if count == 1 else NUMBERS[count]
    return " ".join([determiner, *words, noun[1 + dative + 2 * (count > 1)]])


def _group(group: ObjectGroup, rng: random.Random, case: str) -> str:
    noun = rng.choice(NOUNS[group.kind])
    adjectives = [rng.choice(SIZES[group.size])] if group.size else []
    adjectives.append(rng.choice(COLOURS[group.colour]))
    return _phrase(noun, adjectives, group.count, case)


def _what(message: Message, rng: random.Random, case: str) -> str:
    first = _group(message.groups[0], rng, case)
    if message.relation:
        return f"{first} {rng.choice(RELATIONS[message.relation])} {_group(message.groups[1], rng, 'dat')}"
    return listing([first, *(_group(g, rng, case) for g in message.groups[1:])], "und")


def say(message: Message, rng: random.Random) -> str:
    """A natural German caption of the message."""
    background = rng.choice(BACKGROUNDS[message.background]) if message.background else ""
    style = rng.random()
    if message.relation and style < 0.2:
        first, second = _group(message.groups[0], rng, "acc"), _group(message.groups[1], rng, "dat")
        relation = rng.choice(RELATIONS[message.relation])
        return f"{relation} {second} {rng.choice(VERBS)} {first} {background}".rstrip()
    if background and style > 0.8:
        return f"{background} {rng.choice(VERBS)} {_what(message, rng, 'acc')}"
    opening, case = rng.choice(OPENINGS)
    return f"{opening}{_what(message, rng, case)} {background}".rstrip()


def _machine_group(group: ObjectGroup, case: str) -> str:
    noun = _MACHINE_NOUNS.get(group.kind, NOUNS[group.kind][0])
    adjectives = [SIZES[group.size][0]] if group.size else []
    adjectives.append(_MACHINE_COLOURS.get(group.colour, COLOURS[group.colour][0]))
    return _phrase(noun, adjectives, group.count, case)


def say_as_machine(message: Message) -> str:
    """The same message as the demo's machine translator words it in German; deterministic."""
    first, *others = message.groups
    text = ("dort ist " if first.count == 1 else "dort sind ") + _machine_group(first, "nom")
    for group in others:
        if message.relation:
            text += f" {_MACHINE_RELATIONS[message.relation]} {_machine_group(group, 'dat')}"
        else:
            text += f" und {_machine_group(group, 'nom')}"
    return f"{text} {_MACHINE_BACKGROUNDS[message.background]}" if message.background else text
