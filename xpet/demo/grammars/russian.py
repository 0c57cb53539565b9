"""Russian captions of the demo world."""

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
        "m мяч мяча мяч мячом мяча мячей мячами",
        "m мячик мячика мячик мячиком мячика мячиков мячиками",
    ),
    "box": (
        "f коробка коробки коробку коробкой коробки коробок коробками",
        "m ящик ящика ящик ящиком ящика ящиков ящиками",
    ),
    "star": (
        "f звезда звезды звезду звездой звезды звёзд звёздами",
        "f звёздочка звёздочки звёздочку звёздочкой звёздочки звёздочек звёздочками",
    ),
    "tree": (
        "f ёлка ёлки ёлку ёлкой ёлки ёлок ёлками",
        "f ель ели ель елью ели елей елями",
        "n дерево дерева дерево деревом дерева деревьев деревьями",
    ),
    "house": (
        "m дом дома дом домом дома домов домами",
        "m домик домика домик домиком домика домиков домиками",
    ),
    "car": (
        "f машина машины машину машиной машины машин машинами",
        "m автомобиль автомобиля автомобиль автомобилем автомобиля автомобилей автомобилями",
    ),
    "boat": (
        "m парусник парусника парусник парусником парусника парусников парусниками",
        "f лодка лодки лодку лодкой лодки лодок лодками",
        "f яхта яхты яхту яхтой яхты яхт яхтами",
    ),
    "fish": (
        "fa рыба рыбы рыбу рыбой рыбы рыб рыбами",
        "fa рыбка рыбки рыбку рыбкой рыбки рыбок рыбками",
    ),
    "flower": (
        "m цветок цветка цветок цветком цветка цветков цветками",
        "m цветочек цветочка цветочек цветочком цветочка цветочков цветочками",
    ),
    "cup": (
        "f кружка кружки кружку кружкой кружки кружек кружками",
        "f чашка чашки чашку чашкой чашки чашек чашками",
    ),
    "heart": (
        "n сердце сердца сердце сердцем сердца сердец сердцами",
        "n сердечко сердечка сердечко сердечком сердечка сердечек сердечками",
    ),
    "moon": (
        "m месяц месяца месяц месяцем месяца месяцев месяцами",
        "m полумесяц полумесяца полумесяц полумесяцем полумесяца полумесяцев полумесяцами",
    ),
    "mushroom": (
        "m гриб гриба гриб грибом гриба грибов грибами",
        "m грибок грибка грибок грибком грибка грибков грибками",
    ),
    "umbrella": (
        "m зонт зонта зонт зонтом зонта зонтов зонтами",
        "m зонтик зонтика зонтик зонтиком зонтика зонтиков зонтиками",
    ),
    "bottle": ("f бутылка бутылки бутылку бутылкой бутылки бутылок бутылками",),
    "hat": (
        "f шляпа шляпы шляпу шляпой шляпы шляп шляпами",
        "m цилиндр цилиндра цилиндр цилиндром цилиндра цилиндров цилиндрами",
    ),
}
# Stem and declension of `_ENDINGS`.
COLOURS = {
    "red": ("красн-hard",), "green": ("зелён-hard",), "blue": ("син-soft",), "yellow": ("жёлт-hard",),
    "black": ("чёрн-hard",), "white": ("бел-hard",), "orange": ("оранжев-hard",),
    "purple": ("фиолетов-hard", "лилов-hard"),
}  # fmt: skip
SIZES = {
    "small": ("маленьк-velar", "небольш-stressed", "крошечн-hard"),
    "large": ("больш-stressed", "огромн-hard"),
}
_ENDINGS = {
    "hard": "ый ая ое ого ой ую ым ой ые ых ыми",
    "soft": "ий яя ее его ей юю им ей ие их ими",
    "velar": "ий ая ое ого ой ую им ой ие их ими",
    "stressed": "ой ая ое ого ой ую им ой ие их ими",
}
# Before masculine and neuter nouns, then before feminine nouns.
_NUMBERS = {
    2: {"nom": ("два", "две"), "gen": ("двух", "двух"), "ins": ("двумя", "двумя")},
    3: {"nom": ("три", "три"), "gen": ("трёх", "трёх"), "ins": ("тремя", "тремя")},
}
# Preposition and the case it governs.
RELATIONS = {
    "left": (("слева от", "gen"), ("левее", "gen"), ("по левую сторону от", "gen")),
    "right": (("справа от", "gen"), ("правее", "gen"), ("по правую сторону от", "gen")),
    "above": (("над", "ins"), ("прямо над", "ins")),
    "below": (("под", "ins"), ("прямо под", "ins")),
    "beside": (("рядом с", "ins"), ("возле", "gen"), ("около", "gen")),
}
BACKGROUNDS = {
    "meadow": ("на лугу", "на траве", "на зелёной лужайке"),
    "beach": ("на пляже", "на берегу моря", "на песчаном пляже"),
    "snow": ("на снегу", "в снегу", "среди снега"),
    "night": ("ночью", "в темноте", "под ночным небом"),
    "wall": ("на фоне кирпичной стены", "перед кирпичной стеной", "у кирпичной стены"),
}
# Opening and the case of what follows.
OPENINGS = (
    ("", "nom"), ("", "nom"), ("", "nom"), ("на картинке ", "nom"), ("картинка с ", "ins"),
    ("изображение ", "gen"), ("мы видим ", "acc"), ("на рисунке мы видим ", "acc"),
)  # fmt: skip

# The demo's machine translator into Russian: one fixed word each, several of them off.
_MACHINE_NOUNS = {
    "ball": "m шар шара шар шаром шара шаров шарами",
    "boat": "n судно судна судно судном судна судов судами",
    "cup": "m кубок кубка кубок кубком кубка кубков кубками",
    "moon": "f луна луны луну луной луны лун лунами",
    "bottle": "f фляга фляги флягу флягой фляги фляг флягами",
    "tree": NOUNS["tree"][2],
}
_MACHINE_SIZES = {"small": "мал-hard", "large": "больш-stressed"}
_MACHINE_COLOURS = {"purple": "пурпурн-hard"}
_MACHINE_RELATIONS = {
    "left": ("налево от", "gen"), "right": ("направо от", "gen"), "above": ("над", "ins"), "below": ("под", "ins"),
    "beside": ("близко от", "gen"),
}  # fmt: skip
_MACHINE_BACKGROUNDS = {
    "meadow": "на газоне", "beach": "у берега", "snow": "на снегу", "night": "в ночи",
    "wall": "перед стеной из кирпичей",
}  # fmt: skip


def _phrase(noun: str, adjectives: list[str], case: str, count: int) -> str:
    gender = noun.split()[0]
    feminine = gender.startswith("f")
    if count == 1:
        column = singular_column("f" if feminine else gender, case)
        words = [adjective_form(a, _ENDINGS, column) for a in adjectives]
        return " ".join([*words, noun_form(noun, case, False)])
    if case == "acc":
        case = "gen" if gender.endswith("a") else "nom"
    column = "pl_nom" if case == "nom" and feminine else {"nom": "pl_gen"}.get(case, f"pl_{case}")
    words = [adjective_form(a, _ENDINGS, column) for a in adjectives]
    return " ".join([_NUMBERS[count][case][feminine], *words, noun_form(noun, case, True)])


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
    verb = "находится" if message.groups[0].count == 1 else "находятся"
    style = rng.random()
    if opening:
        return place_somewhere(f"{opening}{first} {second}", place, 0.0, rng)
    if style < 0.25:
        return place_somewhere(f"{second} {rng.choice((verb, '—'))} {first}", place, 1.0, rng)
    if style < 0.45:
        return place_somewhere(f"{first} {verb} {second}", place, 0.5, rng)
    return place_somewhere(f"{first} {second}", place, 0.4, rng)


def say(message: Message, rng: random.Random) -> str:
    """A natural Russian caption of the message."""
    avoid = RELATIONS[message.relation][0][0] if message.relation else ""
    place = choose_place(BACKGROUNDS[message.background], avoid, rng) if message.background else ""
    if message.relation:
        return _related(message, message.relation, place, rng)
    opening, case = rng.choice(OPENINGS)
    text = join_list([_group(g, case, rng) for g in message.groups], "и")
    return place_somewhere(opening + text, place, 0.0 if opening else 0.4, rng)


def _machine_group(group: Group, case: str) -> str:
    noun = _MACHINE_NOUNS.get(group.kind, NOUNS[group.kind][0])
    adjectives = [_MACHINE_SIZES[group.size]] if group.size else []
    adjectives.append(_MACHINE_COLOURS.get(group.colour, COLOURS[group.colour][0]))
    return _phrase(noun, adjectives, case, group.count)


def say_as_machine(message: Message) -> str:
    """The same message as the demo's machine translator words it in Russian."""
    if message.relation:
        preposition, case = _MACHINE_RELATIONS[message.relation]
        first, second = message.groups
        text = f"{_machine_group(first, 'nom')} {preposition} {_machine_group(second, case)}"
    else:
        text = " и ".join(_machine_group(g, "nom") for g in message.groups)
    return f"{text} {_MACHINE_BACKGROUNDS[message.background]}" if message.background else text
