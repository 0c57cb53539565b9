"""Italian captions of the demo world."""

from __future__ import annotations

from xpet.demo.grammars._romance import Forms, Noun, RomanceGrammar, agree

_NUMBERS = {2: "due", 3: "tre"}
_VERBS = (("c'è", "si vede"), ("ci sono", "si vedono"))


def _phrase(noun: Noun, size: Forms | None, colour: Forms, count: int) -> str:
    feminine, plural = noun[0] == "f", count > 1
    words = [noun[1 + plural], agree(colour, feminine, plural)]
    if size:
        words.insert(0, agree(size, feminine, plural))
    phrase = " ".join(words)
    return f"{_NUMBERS[count]} {phrase}" if plural else _with_article(feminine, phrase)


def _with_article(feminine: bool, phrase: str) -> str:
    if not feminine:
        return "un " + phrase
    return ("un'" if phrase[0] in "aeiou" else "una ") + phrase


GRAMMAR = RomanceGrammar(
    phrase=_phrase,
    conjunction="e",
    nouns={
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
    },
    colours={
        "red": (("rosso", "rossa", "rossi", "rosse"),),
        "green": (("verde", "verde", "verdi", "verdi"),),
        "blue": (("blu", "blu", "blu", "blu"),),
        "yellow": (("giallo", "gialla", "gialli", "gialle"),),
        "black": (("nero", "nera", "neri", "nere"),),
        "white": (("bianco", "bianca", "bianchi", "bianche"),),
        "orange": (("arancione", "arancione", "arancioni", "arancioni"),),
        "purple": (("viola", "viola", "viola", "viola"),),
    },
    sizes={
        "small": (("piccolo", "piccola", "piccoli", "piccole"), ("minuscolo", "minuscola", "minuscoli", "minuscole")),
        "large": (("grande", "grande", "grandi", "grandi"), ("enorme", "enorme", "enormi", "enormi")),
    },
    relations={
        "left": ("a sinistra di", "alla sinistra di"),
        "right": ("a destra di", "alla destra di"),
        "above": ("sopra", "al di sopra di"),
        "below": ("sotto", "al di sotto di"),
        "beside": ("accanto a", "di fianco a", "vicino a"),
    },
    backgrounds={
        "meadow": ("su un prato", "sull'erba", "in un prato verde"),
        "beach": ("sulla spiaggia", "in riva al mare", "su una spiaggia sabbiosa"),
        "snow": ("nella neve", "sulla neve", "in un paesaggio innevato"),
        "night": ("di notte", "sotto un cielo stellato", "nel buio della notte"),
        "wall": ("davanti a un muro di mattoni", "contro un muro di mattoni", "davanti a una parete di mattoni"),
    },
    openings=(
        ("", "", "", "c'è ", "vediamo ", "un'immagine di ", "un'immagine con ", "nell'immagine si vede "),
        ("", "", "", "ci sono ", "vediamo ", "un'immagine di ", "un'immagine con ", "nell'immagine si vedono "),
    ),
    verbs=_VERBS,
    links=((",", *(f" {verb}" for verb in _VERBS[0])), (",", *(f" {verb}" for verb in _VERBS[1]))),
    # The demo's machine translator: one fixed, slightly odd choice each.
    machine_nouns={
        "box": ("f", "cassetta", "cassette"),
        "boat": ("m", "battello", "battelli"),
        "cup": ("f", "coppa", "coppe"),
        "umbrella": ("m", "parasole", "parasoli"),
        "bottle": ("m", "flacone", "flaconi"),
        "hat": ("m", "berretto", "berretti"),
    },
    machine_colours={"purple": ("porpora", "porpora", "porpora", "porpora")},
    machine_relations={
        "left": "alla sinistra da",
        "right": "alla destra da",
        "above": "sopra di",
        "below": "sotto di",
        "beside": "presso",
    },
    machine_backgrounds={
        "meadow": "sul pascolo",
        "beach": "alla spiaggia",
        "snow": "su neve",
        "night": "nella notte",
        "wall": "prima del muro di mattoni",
    },
    machine_openings=("là c'è", "là ci sono"),
)
