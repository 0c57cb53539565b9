"""French captions of the demo world."""

from __future__ import annotations

import random

from xpet.demo.grammars._western import Forms, agree, listing
from xpet.demo.scenes import Group, Message

# Gender, singular, plural.
Noun = tuple[str, str, str]
NOUNS: dict[str, tuple[Noun, ...]] = {
    "ball": (("m", "ballon", "ballons"), ("f", "balle", "balles")),
    "box": (("f", "boîte", "boîtes"), ("f", "caisse", "caisses")),
    "star": (("f", "étoile", "étoiles"),),
    "tree": (("m", "arbre", "arbres"), ("m", "sapin", "sapins")),
    "house": (("f", "maison", "maisons"),),
    "car": (("f", "voiture", "voitures"), ("f", "auto", "autos")),
    "boat": (("m", "bateau", "bateaux"), ("m", "voilier", "voiliers")),
    "fish": (("m", "poisson", "poissons"),),
    "flower": (("f", "fleur", "fleurs"),),
    "cup": (("f", "tasse", "tasses"), ("m", "mug", "mugs")),
    "heart": (("m", "cœur", "cœurs"),),
    "moon": (("f", "lune", "lunes"), ("m", "croissant de lune", "croissants de lune")),
    "mushroom": (("m", "champignon", "champignons"),),
    "umbrella": (("m", "parapluie", "parapluies"), ("m", "parasol", "parasols")),
    "bottle": (("f", "bouteille", "bouteilles"),),
    "hat": (("m", "chapeau", "chapeaux"), ("m", "haut-de-forme", "hauts-de-forme")),
}
COLOURS: dict[str, tuple[Forms, ...]] = {
    "red": (("rouge", "rouge", "rouges", "rouges"),),
    "green": (("vert", "verte", "verts", "vertes"),),
    "blue": (("bleu", "bleue", "bleus", "bleues"),),
    "yellow": (("jaune", "jaune", "jaunes", "jaunes"),),
    "black": (("noir", "noire", "noirs", "noires"),),
    "white": (("blanc", "blanche", "blancs", "blanches"),),
    "orange": (("orange", "orange", "orange", "orange"),),
    "purple": (("violet", "violette", "violets", "violettes"), ("mauve", "mauve", "mauves", "mauves")),
}
SIZES: dict[str, tuple[Forms, ...]] = {
    "small": (
        ("petit", "petite", "petits", "petites"),
        ("tout petit", "toute petite", "tout petits", "toutes petites"),
    ),
    "large": (
        ("grand", "grande", "grands", "grandes"),
        ("gros", "grosse", "gros", "grosses"),
        ("énorme", "énorme", "énormes", "énormes"),
    ),
}
NUMBERS = {2: "deux", 3: "trois"}
RELATIONS = {
    "left": ("à gauche de", "juste à gauche de"),
    "right": ("à droite de", "juste à droite de"),
    "above": ("au-dessus de", "juste au-dessus de"),
    "below": ("sous", "en dessous de", "au-dessous de"),
    "beside": ("à côté de", "près de", "juste à côté de"),
}
BACKGROUNDS = {
    "meadow": ("dans un pré", "dans l'herbe", "dans une prairie"),
    "beach": ("sur la plage", "sur une plage de sable", "au bord de la mer"),
    "snow": ("dans la neige", "sur la neige", "dans un paysage enneigé"),
    "night": ("dans la nuit", "en pleine nuit", "sous un ciel étoilé"),
    "wall": ("devant un mur de briques", "devant un mur en briques", "contre un mur de briques"),
}
OPENINGS = ("", "", "", "il y a ", "on voit ", "une image avec ", "une image montrant ", "sur l'image, on voit ")
VERBS = ("il y a", "on voit", "on peut voir")

# How the demo's machine translator words French: one fixed, slightly odd choice each.
_MACHINE_NOUNS: dict[str, Noun] = {
    "box": ("m", "coffre", "coffres"),
    "boat": ("m", "navire", "navires"),
    "cup": ("m", "gobelet", "gobelets"),
    "umbrella": ("f", "ombrelle", "ombrelles"),
    "hat": ("m", "couvre-chef", "couvre-chefs"),
}
_MACHINE_COLOURS: dict[str, Forms] = {"purple": ("pourpre", "pourpre", "pourpres", "pourpres")}
_MACHINE_RELATIONS = {
    "left": "à la gauche de", "right": "à la droite de", "above": "par-dessus", "below": "sous", "beside": "auprès de",
}  # fmt: skip
_MACHINE_BACKGROUNDS = {
    "meadow": "sur le pré", "beach": "à la plage", "snow": "sur neige",
    "night": "à la nuit", "wall": "avant le mur de briques",
}  # fmt: skip


def _phrase(noun: Noun, size: Forms | None, colour: Forms, count: int) -> str:
    feminine, plural = noun[0] == "f", count > 1
    words = [NUMBERS[count] if plural else "une" if feminine else "un"]
    if size:
        words.append(agree(size, feminine, plural))
    return " ".join([*words, noun[1 + plural], agree(colour, feminine, plural)])


def _group(group: Group, rng: random.Random) -> str:
    size = rng.choice(SIZES[group.size]) if group.size else None
    return _phrase(rng.choice(NOUNS[group.kind]), size, rng.choice(COLOURS[group.colour]), group.count)


def _related(relation: str, phrase: str) -> str:
    if relation.endswith(" de") and phrase[0] == "u":
        return f"{relation[:-1]}'{phrase}"
    return f"{relation} {phrase}"


def say(message: Message, rng: random.Random) -> str:
    """A natural French caption of the message."""
    groups = [_group(g, rng) for g in message.groups]
    place = rng.choice(BACKGROUNDS[message.background]) if message.background else ""
    style = rng.random()
    text = listing(groups, "et")
    if message.relation:
        related = _related(rng.choice(RELATIONS[message.relation]), groups[1])
        if style < 0.2:
            return f"{related}, {rng.choice(VERBS)} {groups[0]} {place}".rstrip()
        text = f"{groups[0]} {related}"
    if place and style > 0.8:
        verb = rng.choice(("", *(verb + " " for verb in VERBS)))
        return f"{place}, {verb}{text}"
    return f"{rng.choice(OPENINGS)}{text} {place}".rstrip()


def _machine_group(group: Group) -> str:
    noun = _MACHINE_NOUNS.get(group.kind, NOUNS[group.kind][0])
    size = SIZES[group.size][0] if group.size else None
    colour = _MACHINE_COLOURS.get(group.colour, COLOURS[group.colour][0])
    return _phrase(noun, size, colour, group.count)


def say_as_machine(message: Message) -> str:
    """The same message as the demo's machine translator words it in French; deterministic."""
    groups = [_machine_group(g) for g in message.groups]
    if message.relation:
        text = f"{groups[0]} {_related(_MACHINE_RELATIONS[message.relation], groups[1])}"
    else:
        text = " et ".join(groups)
    text = f"là il y a {text}"
    return f"{text} {_MACHINE_BACKGROUNDS[message.background]}" if message.background else text
