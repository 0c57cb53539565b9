"""Polish captions of the demo world."""

from __future__ import annotations

import random

from xpet.demo.grammars._slavic import (
    adjective_form,
    choose_place,
    join_list,
    noun_form,
    place_somewhere,
    singular_column,
)
from xpet.demo.scenes import Group, Message

# Gender; nominative, genitive, accusative, instrumental; after 2 and 3; genitive and instrumental plural.
NOUNS = {
    "ball": (
        "f piłka piłki piłkę piłką piłki piłek piłkami",
        "f piłeczka piłeczki piłeczkę piłeczką piłeczki piłeczek piłeczkami",
    ),
    "box": (
        "n pudełko pudełka pudełko pudełkiem pudełka pudełek pudełkami",
        "f skrzynka skrzynki skrzynkę skrzynką skrzynki skrzynek skrzynkami",
    ),
    "star": (
        "f gwiazda gwiazdy gwiazdę gwiazdą gwiazdy gwiazd gwiazdami",
        "f gwiazdka gwiazdki gwiazdkę gwiazdką gwiazdki gwiazdek gwiazdkami",
    ),
    "tree": (
        "f choinka choinki choinkę choinką choinki choinek choinkami",
        "n drzewo drzewa drzewo drzewem drzewa drzew drzewami",
        "m świerk świerka świerk świerkiem świerki świerków świerkami",
    ),
    "house": (
        "m dom domu dom domem domy domów domami",
        "m domek domku domek domkiem domki domków domkami",
    ),
    "car": (
        "m samochód samochodu samochód samochodem samochody samochodów samochodami",
        "n auto auta auto autem auta aut autami",
    ),
    "boat": (
        "f żaglówka żaglówki żaglówkę żaglówką żaglówki żaglówek żaglówkami",
        "f łódka łódki łódkę łódką łódki łódek łódkami",
    ),
    "fish": (
        "f ryba ryby rybę rybą ryby ryb rybami",
        "f rybka rybki rybkę rybką rybki rybek rybkami",
    ),
    "flower": (
        "m kwiat kwiatu kwiat kwiatem kwiaty kwiatów kwiatami",
        "m kwiatek kwiatka kwiatek kwiatkiem kwiatki kwiatków kwiatkami",
    ),
    "cup": ("m kubek kubka kubek kubkiem kubki kubków kubkami",),
    "heart": (
        "n serce serca serce sercem serca serc sercami",
        "n serduszko serduszka serduszko serduszkiem serduszka serduszek serduszkami",
    ),
    "moon": (
        "m księżyc księżyca księżyc księżycem księżyce księżyców księżycami",
        "m półksiężyc półksiężyca półksiężyc półksiężycem półksiężyce półksiężyców półksiężycami",
    ),
    "mushroom": (
        "ma grzyb grzyba grzyba grzybem grzyby grzybów grzybami",
        "ma grzybek grzybka grzybka grzybkiem grzybki grzybków grzybkami",
    ),
    "umbrella": (
        "m parasol parasola parasol parasolem parasole parasoli parasolami",
        "f parasolka parasolki parasolkę parasolką parasolki parasolek parasolkami",
    ),
    "bottle": ("f butelka butelki butelkę butelką butelki butelek butelkami",),
    "hat": (
        "m kapelusz kapelusza kapelusz kapeluszem kapelusze kapeluszy kapeluszami",
        "m cylinder cylindra cylinder cylindrem cylindry cylindrów cylindrami",
    ),
}
# Stem and declension of `_ENDINGS`.
COLOURS = {
    "red": ("czerwon-hard",), "green": ("zielon-hard",), "blue": ("niebiesk-velar",), "yellow": ("żółt-hard",),
    "black": ("czarn-hard",), "white": ("biał-hard",), "orange": ("pomarańczow-hard",), "purple": ("fioletow-hard",),
}  # fmt: skip
SIZES = {
    "small": ("mał-hard", "niewielk-velar", "malutk-velar"),
    "large": ("duż-hard", "wielk-velar", "ogromn-hard"),
}
_ENDINGS = {
    "hard": "y a e ego ej ą ym ą e ych ymi",
    "velar": "i a ie iego iej ą im ą ie ich imi",
}
# Before masculine and neuter nouns, then before feminine nouns.
_NUMBERS = {
    2: {"nom": ("dwa", "dwie"), "gen": ("dwóch", "dwóch"), "ins": ("dwoma", "dwiema")},
    3: {"nom": ("trzy", "trzy"), "gen": ("trzech", "trzech"), "ins": ("trzema", "trzema")},
}
# Preposition and the case it governs.
RELATIONS = {
    "left": (("na lewo od", "gen"), ("po lewej stronie", "gen"), ("z lewej strony", "gen")),
    "right": (("na prawo od", "gen"), ("po prawej stronie", "gen"), ("z prawej strony", "gen")),
    "above": (("nad", "ins"), ("tuż nad", "ins"), ("powyżej", "gen")),
    "below": (("pod", "ins"), ("tuż pod", "ins"), ("poniżej", "gen")),
    "beside": (("obok", "gen"), ("koło", "gen"), ("tuż obok", "gen")),
}
BACKGROUNDS = {
    "meadow": ("na łące", "na trawie", "na zielonej łące"),
    "beach": ("na plaży", "nad morzem", "na piaszczystej plaży"),
    "snow": ("na śniegu", "w śniegu", "w śnieżnej scenerii"),
    "night": ("nocą", "w nocy", "pod nocnym niebem"),
    "wall": ("na tle ceglanego muru", "przed ceglanym murem", "przy ceglanym murze"),
}
# Opening and the case of what follows.
OPENINGS = (
    ("", "nom"), ("", "nom"), ("", "nom"), ("na obrazku widać ", "acc"), ("widzimy ", "acc"),
    ("obrazek przedstawia ", "acc"), ("obrazek z ", "ins"), ("zdjęcie ", "gen"),
)  # fmt: skip

# The demo's machine translator into Polish: one fixed word each, several of them off.
_MACHINE_NOUNS = {
    "ball": "f kula kuli kulę kulą kule kul kulami",
    "boat": "f łódź łodzi łódź łodzią łodzie łodzi łodziami",
    "car": "m wóz wozu wóz wozem wozy wozów wozami",
    "cup": "f filiżanka filiżanki filiżankę filiżanką filiżanki filiżanek filiżankami",
    "bottle": "f flaszka flaszki flaszkę flaszką flaszki flaszek flaszkami",
    "tree": NOUNS["tree"][1],
}
_MACHINE_SIZES = {"small": "mał-hard", "large": "wielk-velar"}
_MACHINE_COLOURS = {"purple": "purpurow-hard"}
_MACHINE_RELATIONS = {
    "left": ("w lewo od", "gen"), "right": ("w prawo od", "gen"), "above": ("ponad", "ins"), "below": ("pod", "ins"),
    "beside": ("blisko", "gen"),
}  # fmt: skip
_MACHINE_BACKGROUNDS = {
    "meadow": "na trawniku", "beach": "przy brzegu", "snow": "na śniegu", "night": "podczas nocy",
    "wall": "przed ścianą z cegieł",
}  # fmt: skip


def _phrase(noun: str, adjectives: list[str], case: str, count: int) -> str:
    gender = noun.split()[0]
    if count == 1:
        column = singular_column(gender, case)
        words = [adjective_form(a, _ENDINGS, column) for a in adjectives]
        return " ".join([*words, noun_form(noun, case, False)])
    case = "nom" if case == "acc" else case
    words = [adjective_form(a, _ENDINGS, f"pl_{case}") for a in adjectives]
    return " ".join([_NUMBERS[count][case][gender == "f"], *words, noun_form(noun, case, True)])


def _group(group: Group, case: str, rng: random.Random) -> str:
    noun = rng.choice(NOUNS[group.kind])
    adjectives = [rng.choice(SIZES[group.size])] if group.size else []
    adjectives.append(rng.choice(COLOURS[group.colour]))
    return _phrase(noun, adjectives, case, group.count)


def _related(message: Message, relation: str, place: str, rng: random.Random) -> str:
    opening, case = rng.choice(OPENINGS)
    preposition, governed = rng.choice(RELATIONS[relation])
    first = _group(message.groups[0], case, rng)
    second = f"{preposition} {_group(message.groups[1], governed, rng)}"
    verb = "znajduje się" if message.groups[0].count == 1 else "znajdują się"
    style = rng.random()
    if opening:
        return place_somewhere(f"{opening}{first} {second}", place, 0.0, rng)
    if style < 0.25:
        return place_somewhere(f"{second} {verb} {first}", place, 1.0, rng)
    if style < 0.45:
        return place_somewhere(f"{first} {verb} {second}", place, 0.5, rng)
    return place_somewhere(f"{first} {second}", place, 0.4, rng)


def say(message: Message, rng: random.Random) -> str:
    """A natural Polish caption of the message."""
    avoid = RELATIONS[message.relation][0][0] if message.relation else ""
    place = choose_place(BACKGROUNDS[message.background], avoid, rng) if message.background else ""
    if message.relation:
        return _related(message, message.relation, place, rng)
    opening, case = rng.choice(OPENINGS)
    text = join_list([_group(g, case, rng) for g in message.groups], "i")
    return place_somewhere(opening + text, place, 0.0 if opening else 0.4, rng)


def _machine_group(group: Group, case: str) -> str:
    noun = _MACHINE_NOUNS.get(group.kind, NOUNS[group.kind][0])
    adjectives = [_MACHINE_SIZES[group.size]] if group.size else []
    adjectives.append(_MACHINE_COLOURS.get(group.colour, COLOURS[group.colour][0]))
    return _phrase(noun, adjectives, case, group.count)


def say_as_machine(message: Message) -> str:
    """The same message as the demo's machine translator words it in Polish."""
    if message.relation:
        preposition, case = _MACHINE_RELATIONS[message.relation]
        first, second = message.groups
        text = f"{_machine_group(first, 'nom')} {preposition} {_machine_group(second, case)}"
    else:
        text = " i ".join(_machine_group(g, "nom") for g in message.groups)
    return f"{text} {_MACHINE_BACKGROUNDS[message.background]}" if message.background else text
