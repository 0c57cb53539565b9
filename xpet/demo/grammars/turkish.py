"""Turkish captions of the demo world."""

from __future__ import annotations

import random

from xpet.demo.grammars._lists import listing
from xpet.demo.scenes import Message, ObjectGroup, pick

_HARMONY = {"a": "ı", "ı": "ı", "e": "i", "i": "i", "o": "u", "u": "u", "ö": "ü", "ü": "ü"}
"""The high vowel that follows each vowel in a suffix."""


def _with_genitive(noun: str) -> tuple[str, str]:
    """Nominative and genitive, from "NOUN", or "NOUN/ENDING" where the end of the genitive does not follow the rule.

    The irregular ending replaces the noun's last letter: "kalp/bin" is "kalbin".
    """
    noun, _, ending = noun.partition("/")
    vowel = _HARMONY[next(letter for letter in reversed(noun) if letter in _HARMONY)]
    return noun, noun[:-1] + ending if ending else noun + "n" * (noun[-1] in _HARMONY) + vowel + "n"


# After numerals a Turkish noun stays singular.
_WORDS = {
    "ball": "top", "box": "kutu, koli", "tree": "ağaç/cın, çam ağacı, köknar", "house": "ev, kulübe",
    "car": "araba, otomobil", "flower": "çiçek/ğin, kır çiçeği", "star": "yıldız", "cup": "kupa, fincan",
    "boat": "yelkenli, tekne, yelkenli tekne", "chair": "sandalye, iskemle", "table": "masa, çalışma masası",
    "hat": "şapka, silindir şapka", "bottle": "şişe, cam şişe", "lamp": "lamba, abajur, masa lambası",
    "book": "kitap/bın", "umbrella": "şemsiye", "heart": "kalp/bin", "clock": "saat/tin, çalar saat/tin",
    "balloon": "balon", "apple": "elma", "moon": "ay, hilal/lin, yarım ay", "mushroom": "mantar", "bell": "çan, zil",
    "key": "anahtar", "kite": "uçurtma", "candle": "mum", "drum": "davul, trampet", "tent": "çadır",
    "flag": "bayrak/ğın, sancak/ğın", "crown": "taç/cın, kral tacı", "ladder": "merdiven, el merdiveni",
    "shoe": "ayakkabı, spor ayakkabı, pabuç/cun", "train": "tren, lokomotif", "plane": "uçak/ğın, yolcu uçağı",
    "rocket": "roket, uzay gemisi", "cake": "pasta, yaş pasta, doğum günü pastası", "pear": "armut/dun",
    "cactus": "kaktüs", "leaf": "yaprak/ğın", "guitar": "gitar", "windmill": "yel değirmeni, değirmen",
    "ring": "yüzük/ğün, pırlanta yüzük/ğün", "anchor": "çapa, gemi çapası", "spoon": "kaşık/ğın, çorba kaşığı",
    "dog": "köpek/ğin, yavru köpek/ğin", "cat": "kedi, pisi, yavru kedi", "bird": "kuş", "fish": "balık/ğın",
    "horse": "at, midilli, tay", "duck": "ördek/ğin, ördek yavrusu", "rabbit": "tavşan, yabani tavşan",
    "mouse": "fare, sıçan", "turtle": "kaplumbağa, tosbağa", "butterfly": "kelebek/ğin", "robot": "robot",
    "snowman": "kardan adam", "snake": "yılan", "elephant": "fil", "snail": "salyangoz", "ghost": "hayalet, hortlak/ğın",
}  # fmt: skip
NOUNS = {kind: tuple(_with_genitive(noun) for noun in words.split(", ")) for kind, words in _WORDS.items()}
COLOURS = {
    "red": ("kırmızı", "kızıl", "al"), "blue": ("mavi", "gök mavisi"), "green": ("yeşil", "zümrüt yeşili"),
    "yellow": ("sarı", "altın sarısı"), "white": ("beyaz", "bembeyaz", "ak"), "black": ("siyah", "simsiyah", "kara"),
    "orange": ("turuncu", "portakal rengi"), "pink": ("pembe", "toz pembe"), "purple": ("mor", "eflatun", "menekşe rengi"),
    "brown": ("kahverengi", "kestane rengi"),
}  # fmt: skip
SIZES = {"small": ("küçük", "ufak", "minik"), "large": ("büyük", "kocaman", "iri")}
PATTERNS = {
    "striped": ("çizgili", "şeritli"), "dotted": ("benekli", "puantiyeli", "noktalı"), "checked": ("kareli", "damalı"),
}  # fmt: skip
# A participle and the verb of a sentence.
ACTIONS = {
    "sleeping": (("uyuyan", "uyuyor"), ("uyuklayan", "uyukluyor"), ("dinlenen", "dinleniyor")),
    "jumping": (("zıplayan", "zıplıyor"), ("sıçrayan", "sıçrıyor"), ("hoplayan", "hopluyor")),
    "running": (("koşan", "koşuyor"), ("koşturan", "koşturuyor")),
    "flying": (("uçan", "uçuyor"), ("süzülen", "süzülüyor")),
    "swimming": (("yüzen", "yüzüyor"),),
    "singing": (("şarkı söyleyen", "şarkı söylüyor"), ("türkü söyleyen", "türkü söylüyor")),
    "crying": (("ağlayan", "ağlıyor"), ("gözyaşı döken", "gözyaşı döküyor")),
    "falling": (("düşen", "düşüyor"), ("tepetaklak düşen", "tepetaklak düşüyor")),
}
NUMBERS = {2: "iki", 3: "üç", 4: "dört"}
# All in the locative, after a genitive; with -ki they become attributes.
RELATIONS = {
    "left": ("solunda", "sol tarafında", "sol yanında"), "right": ("sağında", "sağ tarafında", "sağ yanında"),
    "above": ("üstünde", "üzerinde", "yukarısında"), "below": ("altında", "aşağısında", "hemen altında"),
    "behind": ("arkasında", "ardında", "gerisinde"), "front": ("önünde", "ön tarafında", "hemen önünde"),
    "beside": ("yanında", "yanı başında", "yakınında"),
}  # fmt: skip
# All in the locative.
BACKGROUNDS = {
    "meadow": ("çayırda", "çimenlikte", "otların üzerinde"), "beach": ("kumsalda", "sahilde", "plajda"),
    "wall": ("tuğla duvarın önünde", "tuğla duvarın dibinde"), "forest": ("ormanda", "koruda", "ağaçların arasında"),
    "snow": ("karda", "karlı bir arazide", "karların içinde"), "room": ("odada", "evin içinde", "salonda"),
    "city": ("şehirde", "kentte", "gökdelenlerin arasında"), "sea": ("denizde", "suda", "okyanusta"),
    "road": ("yolda", "caddede", "asfaltta"), "garden": ("bahçede", "çitin yanında", "avluda"),
    "mountains": ("dağlarda", "dağların eteğinde", "zirvelerin önünde"),
    "sky": ("gökyüzünde", "bulutların arasında", "havada"), "desert": ("çölde", "kum tepelerinde"),
    "field": ("buğday tarlasında", "tarlada", "ekinlerin arasında"), "cave": ("mağarada", "mağaranın içinde", "yer altında"),
    "stage": ("sahnede", "tiyatroda", "perdenin önünde"),
}  # fmt: skip
WEATHERS = {
    "night": ("gece vakti", "yıldızlı bir gecede", "karanlıkta"),
    "rain": ("yağmur altında", "yağmurlu bir günde", "sağanak altında"),
    "sunshine": ("güneşli havada", "güneşli bir günde", "gün ışığında"),
    "sunset": ("gün batımında", "akşamüstü", "alacakaranlıkta"), "rainbow": ("gökkuşağının altında",),
    "storm": ("fırtınada", "şimşekler çakarken", "gök gürlerken"),
}  # fmt: skip
# What frames a caption that says there is something; the empty ones leave a bare noun phrase.
FRAMES = (
    ("", ""), ("", ""), ("", ""), ("", " var"), ("resimde ", " var"), ("resimde ", " görülüyor"), ("", " görüyoruz"),
)  # fmt: skip

# The demo's machine translator into Turkish: one fixed word each, several of them off.
_MACHINE_NOUNS = {
    kind: _with_genitive(noun)
    for kind, noun in {
        "ball": "küre", "boat": "gemi", "cup": "bardak/ğın", "bottle": "matara", "heart": "yürek/ğin", "cake": "turta",
    }.items()
}  # fmt: skip
_MACHINE_RELATIONS = {
    "left": "solunda", "right": "sağında", "above": "yukarısında", "below": "aşağısında", "behind": "arkasında",
    "front": "önünde", "beside": "yakınında",
}  # fmt: skip
_MACHINE_BACKGROUNDS = {"meadow": "çim alanda", "beach": "kıyıda", "wall": "tuğlaların duvarının önünde"}


def _adjectives(group: ObjectGroup) -> list[str]:
    """Size, pattern and colour."""
    words = [pick(SIZES[group.size], group.manner)] if group.size else []
    words += [pick(PATTERNS[group.pattern], group.manner)] if group.pattern else []
    return [*words, pick(COLOURS[group.colour], group.manner)]


def _action(group: ObjectGroup) -> tuple[str, str]:
    """The action as a participle and as the verb of a sentence, both empty where there is none."""
    return pick(ACTIONS[group.action], group.manner) if group.action else ("", "")


def _group(group: ObjectGroup, article: bool = True, genitive: bool = False, acting: bool = True) -> str:
    """The group as a noun phrase; `acting`: with its action in front."""
    words = [_action(group)[0]] if acting and group.action else []
    words += [NUMBERS[group.count]] if group.count > 1 else []
    words += _adjectives(group)
    words += ["bir"] if group.count == 1 and article else []
    return " ".join([*words, pick(NOUNS[group.kind], group.word)[genitive]])


def _words(message: Message) -> list[str]:
    """Weather and background, where they are mentioned."""
    words = [pick(WEATHERS[message.weather], message.word)] if message.weather else []
    return words + ([pick(BACKGROUNDS[message.background], message.word)] if message.background else [])


def _placed(message: Message, text: str, rng: random.Random, before: str = "") -> str:
    """The text with the setting in front, and an opening before that."""
    setting = " ".join(_words(message))
    comma = "," if not before and rng.random() < 0.3 else ""
    return f"{before}{setting}{comma} {text}" if setting else before + text


def _ki(place: str, group: ObjectGroup) -> str:
    """The place as what describes the group, or, where it does something, as where it does it."""
    return place if group.action else place + "ki"


def _related(message: Message, relation: str, rng: random.Random) -> str:
    """A caption of two groups in a relation."""
    where, style = pick(RELATIONS[relation], message.word), rng.random()
    first, second = message.groups
    before, after = rng.choice(FRAMES)
    article = bool(after) or rng.random() < 0.7
    anchor = _group(second, article, genitive=True)
    if style < 0.35 and first.action:
        actor, doing = _group(first, acting=False), _action(first)[1]
        # A participle right behind the first group would be taken for its own.
        texts = [f"{anchor} {where} {actor} {doing}"] + ([] if second.action else [f"{actor} {anchor} {where} {doing}"])
        return _placed(message, rng.choice(texts), rng, before)
    if style < 0.2 and not second.action:
        standing = rng.choice(("duruyor", "yer alıyor"))
        return _placed(message, f"{_group(first)} {_group(second, genitive=True)} {where} {standing}", rng)
    if style < 0.4 and not _words(message):
        possessor = _group(first, article, genitive=True)
        side = _ki(where, first)
        return rng.choice((f"{anchor} {side} {_group(first, article)}", f"{anchor} {side} {possessor} resmi"))
    return _placed(message, f"{anchor} {where} {_group(first, article)}{after}", rng, before)


def _listed(message: Message, rng: random.Random) -> str:
    """A caption of groups that are just listed."""
    before, after = rng.choice(FRAMES)
    article = bool(after) or rng.random() < 0.7
    *_, last = message.groups
    if len(message.groups) == 1 and last.action and rng.random() < 0.5:
        return _placed(message, f"{_group(last, acting=False)} {_action(last)[1]}", rng, before)
    picture = rng.random() < 0.15 and not message.weather
    groups = [_group(g, article, picture and g is last) for g in message.groups]
    text = listing(groups, rng.choice(("ve", "ve", "ile")) if len(groups) == 2 else "ve")
    if picture:
        return " ".join([*(_ki(place, message.groups[0]) for place in _words(message)), text, "resmi"])
    return _placed(message, text + after, rng, before)


def say(message: Message, rng: random.Random) -> str:
    """A natural Turkish caption of the message."""
    return _related(message, message.relation, rng) if message.relation else _listed(message, rng)


def _machine_group(group: ObjectGroup, genitive: bool = False) -> str:
    """A group as the machine words it, its article in front as in English."""
    odd = None if group.word else _MACHINE_NOUNS.get(group.kind)
    noun = (odd or pick(NOUNS[group.kind], group.word))[genitive]
    action = [_action(group)[0]] if group.action else []
    return " ".join([NUMBERS.get(group.count, "bir"), *action, *_adjectives(group), noun])


def say_as_machine(message: Message) -> str:
    """The same message as the demo's machine translator words it in Turkish: article and setting as in English."""
    if message.relation:
        first, second = message.groups
        text = f"{_machine_group(first)} {_machine_group(second, True)} {_MACHINE_RELATIONS[message.relation]}"
    else:
        text = " ve ".join(_machine_group(g) for g in message.groups)
    setting = _words(message)[::-1]
    if message.background in _MACHINE_BACKGROUNDS and not message.word:
        setting[0] = _MACHINE_BACKGROUNDS[message.background]
    return " ".join([text, *setting])
