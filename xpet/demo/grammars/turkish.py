"""Turkish captions of the demo world."""

from __future__ import annotations

import random

from xpet.demo.scenes import Message, ObjectGroup

# Nominative and genitive; after numerals a Turkish noun stays singular.
NOUNS = {
    "ball": (("top", "topun"),),
    "box": (("kutu", "kutunun"), ("sandık", "sandığın")),
    "star": (("yıldız", "yıldızın"),),
    "tree": (("ağaç", "ağacın"), ("çam ağacı", "çam ağacının"), ("köknar", "köknarın")),
    "house": (("ev", "evin"),),
    "car": (("araba", "arabanın"), ("otomobil", "otomobilin")),
    "boat": (("yelkenli", "yelkenlinin"), ("tekne", "teknenin"), ("yelkenli tekne", "yelkenli teknenin")),
    "fish": (("balık", "balığın"),),
    "flower": (("çiçek", "çiçeğin"),),
    "cup": (("fincan", "fincanın"), ("kupa", "kupanın")),
    "heart": (("kalp", "kalbin"),),
    "moon": (("hilal", "hilalin"), ("ay", "ayın")),
    "mushroom": (("mantar", "mantarın"),),
    "umbrella": (("şemsiye", "şemsiyenin"),),
    "bottle": (("şişe", "şişenin"),),
    "hat": (("şapka", "şapkanın"), ("silindir şapka", "silindir şapkanın")),
}
COLOURS = {
    "red": ("kırmızı",), "green": ("yeşil",), "blue": ("mavi",), "yellow": ("sarı",), "black": ("siyah",),
    "white": ("beyaz",), "orange": ("turuncu", "portakal rengi"), "purple": ("mor",),
}  # fmt: skip
SIZES = {"small": ("küçük", "ufak", "minik"), "large": ("büyük", "kocaman")}
NUMBERS = {2: "iki", 3: "üç"}
# All in the locative, after a genitive; with -ki they become attributes.
RELATIONS = {
    "left": ("solunda", "sol tarafında"),
    "right": ("sağında", "sağ tarafında"),
    "above": ("üstünde", "üzerinde"),
    "below": ("altında", "hemen altında"),
    "beside": ("yanında", "hemen yanında", "yanı başında"),
}
BACKGROUNDS = {
    "meadow": ("çayırda", "çimenlikte", "çimenlerin üzerinde"),
    "beach": ("kumsalda", "sahilde", "plajda"),
    "snow": ("karda", "karların üzerinde", "karlı bir arazide"),
    "night": ("geceleyin", "karanlıkta", "yıldızlı gökyüzünün altında"),
    "wall": ("tuğla duvarın önünde", "tuğla bir duvarın önünde", "tuğla duvar önünde"),
}
# What frames a caption that says there is something; the empty ones leave a bare noun phrase.
FRAMES = (
    ("", ""), ("", ""), ("", ""), ("", " var"), ("resimde ", " var"), ("resimde ", " görülüyor"), ("", " görüyoruz"),
)  # fmt: skip

# The demo's machine translator into Turkish: one fixed word each, several of them off.
_MACHINE_NOUNS = {
    "ball": ("küre", "kürenin"), "boat": ("gemi", "geminin"), "cup": ("bardak", "bardağın"),
    "bottle": ("matara", "mataranın"), "heart": ("yürek", "yüreğin"), "moon": ("ay", "ayın"),
}  # fmt: skip
_MACHINE_RELATIONS = {
    "left": "soluna doğru", "right": "sağına doğru", "above": "yukarısında", "below": "aşağısında",
    "beside": "yakınında",
}  # fmt: skip
_MACHINE_BACKGROUNDS = {
    "meadow": "çim alanda", "beach": "kıyıda", "snow": "kar üstünde", "night": "gecede",
    "wall": "tuğlaların duvarının önünde",
}  # fmt: skip


def _group(group: ObjectGroup, rng: random.Random, article: bool = True, genitive: bool = False) -> str:
    words = [NUMBERS[group.count]] if group.count > 1 else []
    if group.size:
        words.append(rng.choice(SIZES[group.size]))
    words.append(rng.choice(COLOURS[group.colour]))
    if group.count == 1 and article:
        words.append("bir")
    words.append(rng.choice(NOUNS[group.kind])[genitive])
    return " ".join(words)


def _background(name: str, relation: str | None, rng: random.Random) -> str:
    """A background whose last word does not repeat the relation."""
    taken = RELATIONS[relation] if relation else ()
    return rng.choice([background for background in BACKGROUNDS[name] if background.split()[-1] not in taken])


def _with_background(text: str, background: str, rng: random.Random) -> str:
    if not background:
        return text
    return f"{background}, {text}" if rng.random() < 0.3 else f"{background} {text}"


def _related(message: Message, relation: str, background: str, rng: random.Random) -> str:
    where = rng.choice(RELATIONS[relation])
    style = rng.random()
    before, after = rng.choice(FRAMES)
    article = bool(after) or rng.random() < 0.7
    if style < 0.2:
        article = True
    first = _group(message.groups[0], rng, article)
    second = _group(message.groups[1], rng, article, genitive=True)
    if style < 0.2:
        return _with_background(f"{first} {second} {where} {rng.choice(('duruyor', 'yer alıyor'))}", background, rng)
    if style < 0.4 and not background:
        possessor = _group(message.groups[0], rng, article, genitive=True)
        return rng.choice((f"{second} {where}ki {first}", f"{second} {where}ki {possessor} resmi"))
    return before + _with_background(f"{second} {where} {first}{after}", background, rng)


def _listed(message: Message, background: str, rng: random.Random) -> str:
    before, after = rng.choice(FRAMES)
    article = bool(after) or rng.random() < 0.7
    conjunction = rng.choice(("ve", "ve", "ile")) if len(message.groups) == 2 else "ve"
    picture = rng.random() < 0.15 and background != "geceleyin"
    groups = [_group(g, rng, article) for g in message.groups[:-1]]
    last = _group(message.groups[-1], rng, article, genitive=picture)
    text = f"{', '.join(groups)} {conjunction} {last}" if groups else last
    if picture:
        return f"{background}ki {text} resmi" if background else f"{text} resmi"
    return before + _with_background(text + after, background, rng)


def say(message: Message, rng: random.Random) -> str:
    """A natural Turkish caption of the message."""
    background = _background(message.background, message.relation, rng) if message.background else ""
    if message.relation:
        return _related(message, message.relation, background, rng)
    return _listed(message, background, rng)


def _machine_group(group: ObjectGroup, genitive: bool = False) -> str:
    noun = _MACHINE_NOUNS.get(group.kind, NOUNS[group.kind][0])[genitive]
    words = [NUMBERS.get(group.count, "bir")]
    if group.size:
        words.append(SIZES[group.size][0])
    return " ".join([*words, COLOURS[group.colour][0], noun])


def say_as_machine(message: Message) -> str:
    """The same message as the demo's machine translator words it in Turkish: article and background as in English."""
    if message.relation:
        first, second = message.groups
        text = f"{_machine_group(first)} {_machine_group(second, True)} {_MACHINE_RELATIONS[message.relation]}"
    else:
        text = " ve ".join(_machine_group(g) for g in message.groups)
    return f"{text} {_MACHINE_BACKGROUNDS[message.background]}" if message.background else text
