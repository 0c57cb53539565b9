"""Italian captions of the demo world."""

from __future__ import annotations

import random

from xpet.demo.grammars._western import Forms, agree, listing
from xpet.demo.scenes import Group, Message

# Gender, singular, plural.
Noun = tuple[str, str, str]
NOUNS: dict[str, tuple[Noun, ...]] = {
    "ball": (("f", "palla", "palle"), ("m", "pallone", "palloni")),
    "box": (("f", "scatola", "scatole"), ("f", "cassa", "casse")),
    "star": (("f", "stella", "stelle"),),
    "tree": (("m", "albero", "alberi"), ("m", "abete", "abeti")),
    "house": (("f", "casa", "case"),),
    "car": (("f", "auto", "auto"), ("f", "macchina", "macchine"), ("f", "automobile", "automobili")),
    "boat": (("f", "barca", "barche"), ("f", "barca a vela", "barche a vela")),
    "fish": (("m", "pesce", "pesci"),),
    "flower": (("m", "fiore", "fiori"),),
    "cup": (("f", "tazza", "tazze"),),
    "heart": (("m", "cuore", "cuori"),),
    "moon": (("f", "luna", "lune"), ("f", "mezzaluna", "mezzelune")),
    "mushroom": (("m", "fungo", "funghi"),),
    "umbrella": (("m", "ombrello", "ombrelli"),),
    "bottle": (("f", "bottiglia", "bottiglie"),),
    "hat": (("m", "cappello", "cappelli"), ("m", "cappello a cilindro", "cappelli a cilindro")),
}
COLOURS: dict[str, tuple[Forms, ...]] = {
    "red": (("rosso", "rossa", "rossi", "rosse"),),
    "green": (("verde", "verde", "verdi", "verdi"),),
    "blue": (("blu", "blu", "blu", "blu"),),
    "yellow": (("giallo", "gialla", "gialli", "gialle"),),
    "black": (("nero", "nera", "neri", "nere"),),
    "white": (("bianco", "bianca", "bianchi", "bianche"),),
    "orange": (("arancione", "arancione", "arancioni", "arancioni"),),
    "purple": (("viola", "viola", "viola", "viola"),),
}
SIZES: dict[str, tuple[Forms, ...]] = {
    "small": (("piccolo", "piccola", "piccoli", "piccole"), ("minuscolo", "minuscola", "minuscoli", "minuscole")),
    "large": (("grande", "grande", "grandi", "grandi"), ("enorme", "enorme", "enormi", "enormi")),
}
NUMBERS = {2: "due", 3: "tre"}
RELATIONS = {
    "left": ("a sinistra di", "alla sinistra di"),
    "right": ("a destra di", "alla destra di"),
    "above": ("sopra", "al di sopra di"),
    "below": ("sotto", "al di sotto di"),
    "beside": ("accanto a", "di fianco a", "vicino a"),
}
BACKGROUNDS = {
    "meadow": ("su un prato", "sull'erba", "in un prato verde"),
    "beach": ("sulla spiaggia", "in riva al mare", "su una spiaggia sabbiosa"),
    "snow": ("nella neve", "sulla neve", "in un paesaggio innevato"),
    "night": ("di notte", "sotto un cielo stellato", "nel buio della notte"),
    "wall": ("davanti a un muro di mattoni", "contro un muro di mattoni", "davanti a una parete di mattoni"),
}
# Openings and verbs for one thing and for several.
OPENINGS = (
    ("", ""), ("", ""), ("", ""), ("c'è ", "ci sono "), ("vediamo ", "vediamo "),
    ("un'immagine di ", "un'immagine di "),
    ("un'immagine con ", "un'immagine con "), ("nell'immagine si vede ", "nell'immagine si vedono "),
)  # fmt: skip
VERBS = (("c'è", "ci sono"), ("si vede", "si vedono"))

# How the demo's machine translator words Italian: one fixed, slightly odd choice each.
_MACHINE_NOUNS: dict[str, Noun] = {
    "box": ("f", "cassetta", "cassette"),
    "boat": ("m", "battello", "battelli"),
    "cup": ("f", "coppa", "coppe"),
    "umbrella": ("m", "parasole", "parasoli"),
    "bottle": ("m", "flacone", "flaconi"),
    "hat": ("m", "berretto", "berretti"),
}
_MACHINE_COLOURS: dict[str, Forms] = {"purple": ("porpora", "porpora", "porpora", "porpora")}
_MACHINE_RELATIONS = {
    "left": "alla sinistra da", "right": "alla destra da", "above": "sopra di", "below": "sotto di",
    "beside": "presso",
}  # fmt: skip
_MACHINE_BACKGROUNDS = {
    "meadow": "sul pascolo", "beach": "alla spiaggia", "snow": "su neve",
    "night": "nella notte", "wall": "prima del muro di mattoni",
}  # fmt: skip


def _article(feminine: bool, phrase: str) -> str:
    if not feminine:
        return "un " + phrase
    return ("un'" if phrase[0] in "aeiou" else "una ") + phrase


def _phrase(noun: Noun, size: Forms | None, colour: Forms, count: int) -> str:
    feminine, plural = noun[0] == "f", count > 1
    words = [noun[1 + plural], agree(colour, feminine, plural)]
    if size:
        words.insert(0, agree(size, feminine, plural))
    phrase = " ".join(words)
    return f"{NUMBERS[count]} {phrase}" if plural else _article(feminine, phrase)


def _group(group: Group, rng: random.Random) -> str:
    size = rng.choice(SIZES[group.size]) if group.size else None
    return _phrase(rng.choice(NOUNS[group.kind]), size, rng.choice(COLOURS[group.colour]), group.count)


def say(message: Message, rng: random.Random) -> str:
    """A natural Italian caption of the message."""
    groups = [_group(g, rng) for g in message.groups]
    place = rng.choice(BACKGROUNDS[message.background]) if message.background else ""
    several = message.groups[0].count > 1 or (len(groups) > 1 and not message.relation)
    style = rng.random()
    text = listing(groups, "e")
    if message.relation:
        related = f"{rng.choice(RELATIONS[message.relation])} {groups[1]}"
        if style < 0.2:
            return f"{related} {rng.choice(VERBS)[several]} {groups[0]} {place}".rstrip()
        text = f"{groups[0]} {related}"
    if place and style > 0.8:
        return place + rng.choice((",", *(" " + verb[several] for verb in VERBS))) + f" {text}"
    return f"{rng.choice(OPENINGS)[several]}{text} {place}".rstrip()


def _machine_group(group: Group) -> str:
    noun = _MACHINE_NOUNS.get(group.kind, NOUNS[group.kind][0])
    size = SIZES[group.size][0] if group.size else None
    colour = _MACHINE_COLOURS.get(group.colour, COLOURS[group.colour][0])
    return _phrase(noun, size, colour, group.count)


def say_as_machine(message: Message) -> str:
    """The same message as the demo's machine translator words it in Italian; deterministic."""
    groups = [_machine_group(g) for g in message.groups]
    text = " e ".join(groups)
    if message.relation:
        text = f"{groups[0]} {_MACHINE_RELATIONS[message.relation]} {groups[1]}"
    text = ("là c'è " if message.groups[0].count == 1 else "là ci sono ") + text
    return f"{text} {_MACHINE_BACKGROUNDS[message.background]}" if message.background else text
