"""German captions of the demo world."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import NamedTuple

from xpet.demo.grammars._lists import listing
from xpet.demo.scenes import Message, ObjectGroup, pick


class Noun(NamedTuple):
    """A noun; `oblique` is the dative singular, and of a masculine also the accusative."""

    gender: str
    singular: str
    plural: str
    oblique: str

    def form(self, case: str, count: int) -> str:
        """The form of a case and number."""
        if count > 1:
            return self.plural + ("n" if case == "dat" and self.plural[-1] not in "ns" else "")
        return self.oblique if case == "dat" or (case == "acc" and self.gender == "m") else self.singular


def _nouns(text: str) -> tuple[Noun, ...]:
    """Nouns from "GENDER SINGULAR PLURAL, ..."; a fourth word is the oblique case where it is not the singular."""
    words = [noun.split() for noun in text.split(", ")]
    return tuple(Noun(noun[0], noun[1], noun[2], noun[-1] if len(noun) > 3 else noun[1]) for noun in words)


_WORDS = {
    "ball": "m Ball Bälle", "box": "f Kiste Kisten, f Schachtel Schachteln, m Karton Kartons",
    "tree": "m Baum Bäume, f Tanne Tannen, m Tannenbaum Tannenbäume",
    "house": "n Haus Häuser, n Häuschen Häuschen, f Hütte Hütten", "car": "n Auto Autos, m Wagen Wagen",
    "flower": "f Blume Blumen, f Blüte Blüten", "star": "m Stern Sterne", "cup": "f Tasse Tassen, m Becher Becher",
    "boat": "n Boot Boote, n Segelboot Segelboote, n Schiff Schiffe", "chair": "m Stuhl Stühle, m Holzstuhl Holzstühle",
    "table": "m Tisch Tische, m Schreibtisch Schreibtische", "hat": "m Hut Hüte, m Zylinder Zylinder",
    "bottle": "f Flasche Flaschen, f Weinflasche Weinflaschen",
    "lamp": "f Lampe Lampen, f Tischlampe Tischlampen, f Leuchte Leuchten", "book": "n Buch Bücher",
    "umbrella": "m Regenschirm Regenschirme, m Schirm Schirme", "heart": "n Herz Herzen Herzen",
    "clock": "f Uhr Uhren, m Wecker Wecker", "balloon": "m Luftballon Luftballons, m Ballon Ballons",
    "apple": "m Apfel Äpfel", "moon": "m Mond Monde, f Mondsichel Mondsicheln, m Halbmond Halbmonde",
    "mushroom": "m Pilz Pilze", "bell": "f Glocke Glocken, n Glöckchen Glöckchen", "key": "m Schlüssel Schlüssel",
    "kite": "m Drachen Drachen, m Papierdrachen Papierdrachen", "candle": "f Kerze Kerzen",
    "drum": "f Trommel Trommeln", "tent": "n Zelt Zelte", "flag": "f Fahne Fahnen, f Flagge Flaggen",
    "crown": "f Krone Kronen, f Königskrone Königskronen", "ladder": "f Leiter Leitern",
    "shoe": "m Schuh Schuhe, m Turnschuh Turnschuhe",
    "train": "m Zug Züge, f Lokomotive Lokomotiven, f Eisenbahn Eisenbahnen",
    "plane": "n Flugzeug Flugzeuge, m Flieger Flieger", "rocket": "f Rakete Raketen, n Raumschiff Raumschiffe",
    "cake": "f Torte Torten, m Kuchen Kuchen, f Geburtstagstorte Geburtstagstorten", "pear": "f Birne Birnen",
    "cactus": "m Kaktus Kakteen", "leaf": "n Blatt Blätter, n Laubblatt Laubblätter", "guitar": "f Gitarre Gitarren",
    "windmill": "f Windmühle Windmühlen, f Mühle Mühlen", "ring": "m Ring Ringe, m Diamantring Diamantringe",
    "anchor": "m Anker Anker", "spoon": "m Löffel Löffel, m Esslöffel Esslöffel",
    "dog": "m Hund Hunde, m Welpe Welpen Welpen, n Hündchen Hündchen",
    "cat": "f Katze Katzen, n Kätzchen Kätzchen, f Mieze Miezen", "bird": "m Vogel Vögel, n Vögelchen Vögelchen",
    "fish": "m Fisch Fische", "horse": "n Pferd Pferde, n Pony Ponys, n Ross Rösser",
    "duck": "f Ente Enten, n Entchen Entchen", "rabbit": "m Hase Hasen Hasen, n Kaninchen Kaninchen, n Häschen Häschen",
    "mouse": "f Maus Mäuse, n Mäuschen Mäuschen", "turtle": "f Schildkröte Schildkröten",
    "butterfly": "m Schmetterling Schmetterlinge, m Falter Falter",
    "robot": "m Roboter Roboter, m Android Androiden Androiden", "snowman": "m Schneemann Schneemänner",
    "snake": "f Schlange Schlangen, f Natter Nattern",
    "elephant": "m Elefant Elefanten Elefanten, m Dickhäuter Dickhäuter", "snail": "f Schnecke Schnecken",
    "ghost": "n Gespenst Gespenster, m Geist Geister",
}  # fmt: skip
NOUNS = {kind: _nouns(text) for kind, text in _WORDS.items()}
COLOURS = {
    "red": ("rot", "knallrot", "scharlachrot"), "blue": ("blau", "azurblau"), "green": ("grün", "smaragdgrün"),
    "yellow": ("gelb", "goldgelb"), "white": ("weiß", "schneeweiß"), "black": ("schwarz", "pechschwarz"),
    "orange": ("orange", "orangefarben"), "pink": ("rosa", "pinkfarben", "rosarot"),
    "purple": ("lila", "violett", "fliederfarben"), "brown": ("braun", "kastanienbraun"),
}  # fmt: skip
SIZES = {"small": ("klein", "winzig", "klitzeklein"), "large": ("groß", "riesig", "riesengroß")}
PATTERNS = {
    "striped": ("gestreift", "geringelt"), "dotted": ("gepunktet", "getupft"), "checked": ("kariert", "gewürfelt"),
}  # fmt: skip
ACTIONS = {  # the infinitive, which is also the plural, and the singular
    "sleeping": (("schlafen", "schläft"), ("dösen", "döst"), ("schlummern", "schlummert")),
    "jumping": (("springen", "springt"), ("hüpfen", "hüpft")),
    "running": (("rennen", "rennt"), ("laufen", "läuft"), ("flitzen", "flitzt")),
    "flying": (("fliegen", "fliegt"), ("flattern", "flattert")),
    "swimming": (("schwimmen", "schwimmt"), ("baden", "badet")),
    "singing": (("singen", "singt"), ("trällern", "trällert")),
    "crying": (("weinen", "weint"), ("heulen", "heult")),
    "falling": (("fallen", "fällt"), ("stürzen", "stürzt"), ("purzeln", "purzelt")),
}
NUMBERS = {2: "zwei", 3: "drei", 4: "vier"}
RELATIONS = {
    "left": ("links von", "links neben", "zur Linken von"),
    "right": ("rechts von", "rechts neben", "zur Rechten von"), "above": ("über", "oberhalb von"),
    "below": ("unter", "unterhalb von"), "behind": ("hinter", "halb verdeckt von"), "front": ("vor", "unmittelbar vor"),
    "beside": ("neben", "direkt neben", "bei"),
}  # fmt: skip
BACKGROUNDS = {
    "meadow": ("auf einer Wiese", "im Gras", "auf einem grünen Rasen"),
    "beach": ("am Strand", "an der Küste", "auf dem Sand"),
    "wall": ("vor einer Backsteinmauer", "vor einer Ziegelmauer", "vor einer Wand aus Ziegeln"),
    "forest": ("im Wald", "im Tannenwald", "zwischen Bäumen"),
    "snow": ("im Schnee", "in einer Winterlandschaft", "auf dem Eis"),
    "room": ("in einem Zimmer", "in einem Raum", "in einer Stube"),
    "city": ("in der Stadt", "in einer Großstadt", "zwischen Hochhäusern"),
    "sea": ("auf dem Meer", "auf dem Wasser", "auf hoher See"),
    "road": ("auf einer Straße", "auf der Fahrbahn", "auf dem Asphalt"),
    "garden": ("im Garten", "an einem Zaun", "zwischen Blumenbeeten"),
    "mountains": ("in den Bergen", "im Gebirge", "vor hohen Gipfeln"),
    "sky": ("am Himmel", "zwischen Wolken", "in der Luft"),
    "desert": ("in der Wüste", "zwischen Dünen"),
    "field": ("in einem Weizenfeld", "in einem Kornfeld", "auf einem Acker"),
    "cave": ("in einer Höhle", "in einer Grotte", "unter der Erde"),
    "stage": ("auf einer Bühne", "im Theater", "vor einem Vorhang"),
}
WEATHERS = {
    "night": ("bei Nacht", "im Mondschein", "im Dunkeln"),
    "rain": ("im Regen", "bei Regenwetter", "an einem regnerischen Tag"),
    "sunshine": ("bei Sonnenschein", "an einem sonnigen Tag"),
    "sunset": ("bei Sonnenuntergang", "am Abend", "in der Dämmerung"),
    "rainbow": ("unter einem Regenbogen",),
    "storm": ("bei Gewitter", "bei Blitz und Donner", "im Sturm"),
}
OPENINGS = (
    ("", "nom"), ("", "nom"), ("", "nom"), ("ein Bild von ", "dat"), ("ein Bild mit ", "dat"),
    ("man sieht ", "acc"), ("wir sehen ", "acc"), ("auf dem Bild sieht man ", "acc"),
)  # fmt: skip
VERBS = ("sieht man", "erkennt man", "sehen wir")

_INVARIABLE = frozenset(("lila", "orange", "rosa"))
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
_PRONOUNS = {"m": "der", "f": "die", "n": "das", "plural": "die"}

# How the demo's machine translator words German: mostly the usual word, English order, some fixed odd choices.
_MACHINE_NOUNS = {
    "box": _nouns("f Box Boxen")[0], "boat": _nouns("n Segelschiff Segelschiffe")[0],
    "car": _nouns("n Automobil Automobile")[0], "cup": _nouns("m Pokal Pokale")[0],
    "umbrella": _nouns("m Parasol Parasole")[0],
}  # fmt: skip
_MACHINE_COLOURS = {"purple": "purpurn"}
_MACHINE_RELATIONS = {
    "left": "auf der linken Seite von", "right": "auf der rechten Seite von", "above": "über", "below": "unter",
    "behind": "hinter", "front": "vor", "beside": "nahe bei",
}  # fmt: skip
_MACHINE_BACKGROUNDS = {"meadow": "auf dem Rasen", "beach": "bei dem Strand", "wall": "vor der Wand von Ziegeln"}


def _phrase(noun: Noun, adjectives: list[str], count: int, case: str) -> str:
    """A number or article, adjectives without their endings, and a noun, in a case."""
    ending = _ENDINGS[case][noun.gender if count == 1 else "plural"]
    words = [word if word in _INVARIABLE else word + ending for word in adjectives]
    determiner = _ARTICLES[case][noun.gender] if count == 1 else NUMBERS[count]
    return " ".join([determiner, *words, noun.form(case, count)])


def _verb(group: ObjectGroup) -> str:
    """What the group does, as the verb of a sentence; nothing if it does nothing."""
    return pick(ACTIONS[group.action], group.manner)[group.count == 1] if group.action else ""


def _participle(group: ObjectGroup) -> list[str]:
    """What the group does, as an adjective."""
    return [pick(ACTIONS[group.action], group.manner)[0] + "d"] if group.action else []


def _size(group: ObjectGroup) -> list[str]:
    """The size, where it is mentioned."""
    return [pick(SIZES[group.size], group.manner)] if group.size else []


def _group(group: ObjectGroup, rng: random.Random, case: str) -> str:
    """Everything about a group; a patterned one is striped red or red-striped."""
    looks = [pick(COLOURS[group.colour], group.manner)]
    if group.pattern:
        pattern = pick(PATTERNS[group.pattern], group.manner)
        looks = [pattern, *looks] if rng.random() < 0.4 else [f"{looks[0]} {pattern}"]
    words = [*_size(group), *looks]
    words = [*words, *_participle(group)] if rng.random() < 0.5 else [*_participle(group), *words]
    return _phrase(pick(NOUNS[group.kind], group.word), words, group.count, case)


def _last(group: ObjectGroup, rng: random.Random, case: str, setting: list[str]) -> str:
    """The last group and the setting after it, which may go into a relative clause on what the group does."""
    if not group.action or rng.random() < 0.6:
        return " ".join([_group(group, rng, case), *setting])
    gender = pick(NOUNS[group.kind], group.word).gender if group.count == 1 else "plural"
    clause = " ".join([_PRONOUNS[gender], *setting, _verb(group)])
    return f"{_group(replace(group, action=None), rng, case)}, {clause}"


def _what(message: Message, rng: random.Random, case: str, setting: list[str]) -> str:
    """All groups and the setting."""
    *groups, last = message.groups
    first = [_group(group, rng, case) for group in groups]
    if message.relation:
        return f"{first[0]} {pick(RELATIONS[message.relation], message.word)} {_last(last, rng, 'dat', setting)}"
    return listing([*first, _last(last, rng, case, setting)], "und")


def _setting(message: Message) -> list[str]:
    """Background and weather, where they are mentioned."""
    words = [pick(BACKGROUNDS[message.background], message.word)] if message.background else []
    return words + ([pick(WEATHERS[message.weather], message.word)] if message.weather else [])


def _beside(message: Message, rng: random.Random) -> list[str]:
    """Where the first group is in relation to the second, if that is said."""
    if not message.relation:
        return []
    return [f"{pick(RELATIONS[message.relation], message.word)} {_group(message.groups[1], rng, 'dat')}"]


def _sentence(message: Message, rng: random.Random, setting: list[str]) -> str:
    """A sentence whose verb is what the first group does, and which may start with a place."""
    subject = _group(replace(message.groups[0], action=None), rng, "nom")
    places = [*_beside(message, rng), *setting]
    front = places.pop(rng.randrange(len(places))) if places and rng.random() < 0.4 else subject
    return " ".join([front, _verb(message.groups[0]), *([] if front is subject else [subject]), *places])


def say(message: Message, rng: random.Random) -> str:
    """A natural German caption of the message."""
    setting = _setting(message)
    rng.shuffle(setting)
    first, *others = message.groups
    if first.action and (message.relation or not others) and rng.random() < 0.45:
        return _sentence(message, rng, setting)
    style = rng.random()
    if message.relation and style < 0.2:
        return f"{_beside(message, rng)[0]} {rng.choice(VERBS)} {_last(first, rng, 'acc', setting)}"
    if setting and style > 0.8:
        return f"{setting[0]} {rng.choice(VERBS)} {_what(message, rng, 'acc', setting[1:])}"
    opening, case = rng.choice(OPENINGS)
    return opening + _what(message, rng, case, setting)


def _machine_group(group: ObjectGroup, case: str) -> str:
    """A group as the machine translator words it: all adjectives before the noun, in one order."""
    noun, colour = pick(NOUNS[group.kind], group.word), pick(COLOURS[group.colour], group.manner)
    noun = noun if group.word else _MACHINE_NOUNS.get(group.kind, noun)
    colour = colour if group.manner else _MACHINE_COLOURS.get(group.colour, colour)
    pattern = [pick(PATTERNS[group.pattern], group.manner)] if group.pattern else []
    return _phrase(noun, [*_participle(group), *_size(group), *pattern, colour], group.count, case)


def say_as_machine(message: Message) -> str:
    """The same message as the demo's machine translator words it in German; deterministic."""
    first, *others = message.groups
    text = ("dort ist " if first.count == 1 else "dort sind ") + _machine_group(first, "nom")
    for group in others:
        if message.relation:
            text += f" {_MACHINE_RELATIONS[message.relation]} {_machine_group(group, 'dat')}"
        else:
            text += f" und {_machine_group(group, 'nom')}"
    setting = _setting(message)
    if message.background in _MACHINE_BACKGROUNDS and not message.word:
        setting[0] = _MACHINE_BACKGROUNDS[message.background]
    return " ".join([text, *setting])
