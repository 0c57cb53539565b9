"""French captions of the demo world."""

from __future__ import annotations

from xpet.demo.grammars._romance import Forms, Noun, RomanceGrammar, agree

_NUMBERS = {2: "deux", 3: "trois"}
_OPENINGS = ("", "", "", "il y a ", "on voit ", "une image avec ", "une image montrant ", "sur l'image, on voit ")
_VERBS = ("il y a", "on voit", "on peut voir")
_LINKS = (",", *(f", {verb}" for verb in _VERBS))


def _phrase(noun: Noun, size: Forms | None, colour: Forms, count: int) -> str:
    feminine, plural = noun[0] == "f", count > 1
    words = [_NUMBERS[count] if plural else "une" if feminine else "un"]
    if size:
        words.append(agree(size, feminine, plural))
    return " ".join([*words, noun[1 + plural], agree(colour, feminine, plural)])


def _contracted(preposition: str, phrase: str) -> str:
    """The preposition before the phrase: "de" loses its vowel before "un" and "une"."""
    if preposition.endswith(" de") and phrase[0] == "u":
        return f"{preposition[:-1]}'{phrase}"
    return f"{preposition} {phrase}"


GRAMMAR = RomanceGrammar(
    phrase=_phrase,
    attach=_contracted,
    conjunction="et",
    nouns={
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
    },
    colours={
        "red": (("rouge", "rouge", "rouges", "rouges"),),
        "green": (("vert", "verte", "verts", "vertes"),),
        "blue": (("bleu", "bleue", "bleus", "bleues"),),
        "yellow": (("jaune", "jaune", "jaunes", "jaunes"),),
        "black": (("noir", "noire", "noirs", "noires"),),
        "white": (("blanc", "blanche", "blancs", "blanches"),),
        "orange": (("orange", "orange", "orange", "orange"),),
        "purple": (("violet", "violette", "violets", "violettes"), ("mauve", "mauve", "mauves", "mauves")),
    },
    sizes={
        "small": (
            ("petit", "petite", "petits", "petites"),
            ("tout petit", "toute petite", "tout petits", "toutes petites"),
        ),
        "large": (
            ("grand", "grande", "grands", "grandes"),
            ("gros", "grosse", "gros", "grosses"),
            ("énorme", "énorme", "énormes", "énormes"),
        ),
    },
    relations={
        "left": ("à gauche de", "juste à gauche de"),
        "right": ("à droite de", "juste à droite de"),
        "above": ("au-dessus de", "juste au-dessus de"),
        "below": ("sous", "en dessous de", "au-dessous de"),
        "beside": ("à côté de", "près de", "juste à côté de"),
    },
    backgrounds={
        "meadow": ("dans un pré", "dans l'herbe", "dans une prairie"),
        "beach": ("sur la plage", "sur une plage de sable", "au bord de la mer"),
        "snow": ("dans la neige", "sur la neige", "dans un paysage enneigé"),
        "night": ("dans la nuit", "en pleine nuit", "sous un ciel étoilé"),
        "wall": ("devant un mur de briques", "devant un mur en briques", "contre un mur de briques"),
    },
    openings=(_OPENINGS, _OPENINGS),
    verbs=(_VERBS, _VERBS),
    links=(_LINKS, _LINKS),
    pause=",",
    # The demo's machine translator: one fixed, slightly odd choice each.
    machine_nouns={
        "box": ("m", "coffre", "coffres"),
        "boat": ("m", "navire", "navires"),
        "cup": ("m", "gobelet", "gobelets"),
        "umbrella": ("f", "ombrelle", "ombrelles"),
        "hat": ("m", "couvre-chef", "couvre-chefs"),
    },
    machine_colours={"purple": ("pourpre", "pourpre", "pourpres", "pourpres")},
    machine_relations={
        "left": "à la gauche de",
        "right": "à la droite de",
        "above": "par-dessus",
        "below": "sous",
        "beside": "auprès de",
    },
    machine_backgrounds={
        "meadow": "sur le pré",
        "beach": "à la plage",
        "snow": "sur neige",
        "night": "à la nuit",
        "wall": "avant le mur de briques",
    },
    machine_openings=("là il y a", "là il y a"),
)
