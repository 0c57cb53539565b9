"""Spanish captions of the demo world."""

from __future__ import annotations

import random

from xpet.demo.grammars._western import Forms, agree, listing
from xpet.demo.scenes import Group, Message

# Gender, singular, plural.
Noun = tuple[str, str, str]
NOUNS: dict[str, tuple[Noun, ...]] = {
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
}
COLOURS: dict[str, tuple[Forms, ...]] = {
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
}
_PEQUENO = ("pequeño", "pequeña", "pequeños", "pequeñas")
_ENORME = ("enorme", "enorme", "enormes", "enormes")
_GRAN = ("gran", "gran", "grandes", "grandes")
_GRANDE = ("grande", "grande", "grandes", "grandes")
# Each size with whether it stands before the noun (otherwise after the colour).
SIZES: dict[str, tuple[tuple[Forms, bool], ...]] = {
    "small": ((_PEQUENO, True), (_PEQUENO, False), (("diminuto", "diminuta", "diminutos", "diminutas"), False)),
    "large": ((_GRAN, True), (_GRANDE, False), (_ENORME, True), (_ENORME, False)),
}
NUMBERS = {2: "dos", 3: "tres"}
RELATIONS = {
    "left": ("a la izquierda de", "justo a la izquierda de"),
    "right": ("a la derecha de", "justo a la derecha de"),
    "above": ("encima de", "por encima de", "sobre"),
    "below": ("debajo de", "por debajo de", "bajo"),
    "beside": ("al lado de", "junto a"),
}
BACKGROUNDS = {
    "meadow": ("en un prado", "sobre la hierba", "en el césped"),
    "beach": ("en la playa", "en una playa de arena", "a la orilla del mar"),
    "snow": ("en la nieve", "sobre la nieve", "en un paisaje nevado"),
    "night": ("por la noche", "bajo un cielo estrellado", "en plena noche"),
    "wall": ("delante de un muro de ladrillo", "frente a una pared de ladrillo", "ante una pared de ladrillos"),
}
OPENINGS = ("", "", "", "hay ", "vemos ", "una imagen de ", "una imagen con ", "en la imagen hay ")
VERBS = ("hay", "vemos", "podemos ver")

# How the demo's machine translator words Spanish: one fixed, slightly odd choice each.
_MACHINE_NOUNS: dict[str, Noun] = {
    "box": ("m", "cajón", "cajones"),
    "boat": ("m", "bote", "botes"),
    "fish": ("m", "pescado", "pescados"),
    "cup": ("m", "vaso", "vasos"),
    "umbrella": ("m", "parasol", "parasoles"),
    "hat": ("m", "gorro", "gorros"),
}
_MACHINE_COLOURS: dict[str, Forms] = {"purple": ("púrpura", "púrpura", "púrpuras", "púrpuras")}
_MACHINE_RELATIONS = {
    "left": "a la izquierda desde", "right": "a la derecha desde", "above": "sobre", "below": "abajo de",
    "beside": "cercano a",
}  # fmt: skip
_MACHINE_BACKGROUNDS = {
    "meadow": "en la pradera", "beach": "por la playa", "snow": "en nieve",
    "night": "en la noche", "wall": "antes de la pared de ladrillos",
}  # fmt: skip


def _phrase(noun: Noun, size: tuple[Forms, bool] | None, colour: Forms, count: int) -> str:
    feminine, plural = noun[0] == "f", count > 1
    words = [noun[1 + plural], agree(colour, feminine, plural)]
    if size:
        words.insert(0 if size[1] else 2, agree(size[0], feminine, plural))
    determiner = NUMBERS[count] if plural else "una" if feminine else "un"
    return " ".join([determiner, *words])


def _group(group: Group, rng: random.Random) -> str:
    size = rng.choice(SIZES[group.size]) if group.size else None
    return _phrase(rng.choice(NOUNS[group.kind]), size, rng.choice(COLOURS[group.colour]), group.count)


def say(message: Message, rng: random.Random) -> str:
    """A natural Spanish caption of the message."""
    groups = [_group(g, rng) for g in message.groups]
    place = rng.choice(BACKGROUNDS[message.background]) if message.background else ""
    style = rng.random()
    text = listing(groups, "y")
    if message.relation:
        related = f"{rng.choice(RELATIONS[message.relation])} {groups[1]}"
        if style < 0.2:
            return f"{related} {rng.choice(VERBS)} {groups[0]} {place}".rstrip()
        text = f"{groups[0]} {related}"
    if place and style > 0.8:
        return place + rng.choice((",", *(" " + verb for verb in VERBS))) + f" {text}"
    return f"{rng.choice(OPENINGS)}{text} {place}".rstrip()


def _machine_group(group: Group) -> str:
    noun = _MACHINE_NOUNS.get(group.kind, NOUNS[group.kind][0])
    size = SIZES[group.size][0] if group.size else None
    colour = _MACHINE_COLOURS.get(group.colour, COLOURS[group.colour][0])
    return _phrase(noun, size, colour, group.count)


def say_as_machine(message: Message) -> str:
    """The same message as the demo's machine translator words it in Spanish; deterministic."""
    groups = [_machine_group(g) for g in message.groups]
    text = " y ".join(groups)
    if message.relation:
        text = f"{groups[0]} {_MACHINE_RELATIONS[message.relation]} {groups[1]}"
    text = f"allí hay {text}"
    return f"{text} {_MACHINE_BACKGROUNDS[message.background]}" if message.background else text
