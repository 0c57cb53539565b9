"""Spanish captions of the demo world."""

from __future__ import annotations

from xpet.demo.grammars._romance import Forms, Noun, RomanceGrammar, agree

Size = tuple[Forms, bool]
"""An adjective and whether it stands before the noun (otherwise after the colour)."""

_PEQUENO = ("pequeño", "pequeña", "pequeños", "pequeñas")
_ENORME = ("enorme", "enorme", "enormes", "enormes")
_GRAN = ("gran", "gran", "grandes", "grandes")
_GRANDE = ("grande", "grande", "grandes", "grandes")
_NUMBERS = {2: "dos", 3: "tres"}
_OPENINGS = ("", "", "", "hay ", "vemos ", "una imagen de ", "una imagen con ", "en la imagen hay ")
_VERBS = ("hay", "vemos", "podemos ver")
_LINKS = (",", *(f" {verb}" for verb in _VERBS))


def _phrase(noun: Noun, size: Size | None, colour: Forms, count: int) -> str:
    feminine, plural = noun[0] == "f", count > 1
    words = [noun[1 + plural], agree(colour, feminine, plural)]
    if size:
        words.insert(0 if size[1] else 2, agree(size[0], feminine, plural))
    determiner = _NUMBERS[count] if plural else "una" if feminine else "un"
    return " ".join([determiner, *words])


GRAMMAR = RomanceGrammar(
    phrase=_phrase,
    conjunction="y",
    nouns={
        "ball": (("f", "pelota", "pelotas"), ("m", "balón", "balones")),
        "box": (("f", "caja", "cajas"),),
        "star": (("f", "estrella", "estrellas"),),
        "tree": (("m", "árbol", "árboles"), ("m", "abeto", "abetos"), ("m", "pino", "pinos")),
        "house": (("f", "casa", "casas"),),
        "car": (("m", "coche", "coches"), ("m", "auto", "autos")),
        "boat": (("m", "barco", "barcos"), ("m", "velero", "veleros")),
        "fish": (("m", "pez", "peces"),),
        "flower": (("f", "flor", "flores"),),
        "cup": (("f", "taza", "tazas"),),
        "heart": (("m", "corazón", "corazones"),),
        "moon": (("f", "luna", "lunas"), ("f", "media luna", "medias lunas")),
        "mushroom": (("f", "seta", "setas"), ("m", "hongo", "hongos")),
        "umbrella": (("m", "paraguas", "paraguas"), ("f", "sombrilla", "sombrillas")),
        "bottle": (("f", "botella", "botellas"),),
        "hat": (
            ("m", "sombrero", "sombreros"),
            ("m", "sombrero de copa", "sombreros de copa"),
            ("f", "chistera", "chisteras"),
        ),
    },
    colours={
        "red": (("rojo", "roja", "rojos", "rojas"),),
        "green": (("verde", "verde", "verdes", "verdes"),),
        "blue": (("azul", "azul", "azules", "azules"),),
        "yellow": (("amarillo", "amarilla", "amarillos", "amarillas"),),
        "black": (("negro", "negra", "negros", "negras"),),
        "white": (("blanco", "blanca", "blancos", "blancas"),),
        "orange": (
            ("naranja", "naranja", "naranjas", "naranjas"),
            ("anaranjado", "anaranjada", "anaranjados", "anaranjadas"),
        ),
        "purple": (("morado", "morada", "morados", "moradas"), ("violeta", "violeta", "violetas", "violetas")),
    },
    sizes={
        "small": ((_PEQUENO, True), (_PEQUENO, False), (("diminuto", "diminuta", "diminutos", "diminutas"), False)),
        "large": ((_GRAN, True), (_GRANDE, False), (_ENORME, True), (_ENORME, False)),
    },
    relations={
        "left": ("a la izquierda de", "justo a la izquierda de"),
        "right": ("a la derecha de", "justo a la derecha de"),
        "above": ("encima de", "por encima de", "sobre"),
        "below": ("debajo de", "por debajo de", "bajo"),
        "beside": ("al lado de", "junto a"),
    },
    backgrounds={
        "meadow": ("en un prado", "sobre la hierba", "en el césped"),
        "beach": ("en la playa", "en una playa de arena", "a la orilla del mar"),
        "snow": ("en la nieve", "sobre la nieve", "en un paisaje nevado"),
        "night": ("por la noche", "bajo un cielo estrellado", "en plena noche"),
        "wall": ("delante de un muro de ladrillo", "frente a una pared de ladrillo", "ante una pared de ladrillos"),
    },
    openings=(_OPENINGS, _OPENINGS),
    verbs=(_VERBS, _VERBS),
    links=(_LINKS, _LINKS),
    # The demo's machine translator: one fixed, slightly odd choice each.
    machine_nouns={
        "box": ("m", "cajón", "cajones"),
        "boat": ("m", "bote", "botes"),
        "fish": ("m", "pescado", "pescados"),
        "cup": ("m", "vaso", "vasos"),
        "umbrella": ("m", "parasol", "parasoles"),
        "hat": ("m", "gorro", "gorros"),
    },
    machine_colours={"purple": ("púrpura", "púrpura", "púrpuras", "púrpuras")},
    machine_relations={
        "left": "a la izquierda desde",
        "right": "a la derecha desde",
        "above": "sobre",
        "below": "abajo de",
        "beside": "cercano a",
    },
    machine_backgrounds={
        "meadow": "en la pradera",
        "beach": "por la playa",
        "snow": "en nieve",
        "night": "en la noche",
        "wall": "antes de la pared de ladrillos",
    },
    machine_openings=("allí hay", "allí hay"),
)
