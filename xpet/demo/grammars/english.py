"""English captions of the demo world."""

from __future__ import annotations

import random

from xpet.demo.grammars._lists import listing
from xpet.demo.scenes import Message, ObjectGroup, pick

NOUNS = {
    "ball": (("ball", "balls"),),
    "box": (("box", "boxes"), ("crate", "crates"), ("chest", "chests")),
    "tree": (("tree", "trees"), ("fir", "firs"), ("pine", "pines")),
    "house": (("house", "houses"), ("cottage", "cottages"), ("hut", "huts")),
    "car": (("car", "cars"), ("automobile", "automobiles")),
    "flower": (("flower", "flowers"), ("blossom", "blossoms")),
    "star": (("star", "stars"),),
    "cup": (("cup", "cups"), ("mug", "mugs")),
    "boat": (("boat", "boats"), ("sailboat", "sailboats"), ("ship", "ships")),
    "chair": (("chair", "chairs"), ("seat", "seats")),
    "table": (("table", "tables"), ("desk", "desks")),
    "hat": (("hat", "hats"), ("top hat", "top hats")),
    "bottle": (("bottle", "bottles"), ("flask", "flasks")),
    "lamp": (("lamp", "lamps"), ("lantern", "lanterns")),
    "book": (("book", "books"),),
    "umbrella": (("umbrella", "umbrellas"), ("parasol", "parasols")),
    "heart": (("heart", "hearts"),),
    "clock": (("clock", "clocks"), ("watch", "watches")),
    "balloon": (("balloon", "balloons"),),
    "apple": (("apple", "apples"),),
    "moon": (("moon", "moons"), ("crescent", "crescents")),
    "mushroom": (("mushroom", "mushrooms"), ("toadstool", "toadstools")),
    "bell": (("bell", "bells"),),
    "key": (("key", "keys"),),
    "kite": (("kite", "kites"),),
    "candle": (("candle", "candles"),),
    "drum": (("drum", "drums"),),
    "tent": (("tent", "tents"),),
    "flag": (("flag", "flags"), ("banner", "banners")),
    "crown": (("crown", "crowns"),),
    "ladder": (("ladder", "ladders"),),
    "shoe": (("shoe", "shoes"), ("boot", "boots")),
    "train": (("train", "trains"), ("locomotive", "locomotives")),
    "plane": (("plane", "planes"), ("aircraft", "aircraft")),
    "rocket": (("rocket", "rockets"), ("spaceship", "spaceships")),
    "cake": (("cake", "cakes"), ("pie", "pies")),
    "pear": (("pear", "pears"),),
    "cactus": (("cactus", "cacti"),),
    "leaf": (("leaf", "leaves"),),
    "guitar": (("guitar", "guitars"),),
    "windmill": (("windmill", "windmills"), ("mill", "mills")),
    "ring": (("ring", "rings"),),
    "anchor": (("anchor", "anchors"),),
    "spoon": (("spoon", "spoons"),),
    "dog": (("dog", "dogs"), ("puppy", "puppies"), ("hound", "hounds")),
    "cat": (("cat", "cats"), ("kitten", "kittens")),
    "bird": (("bird", "birds"),),
    "fish": (("fish", "fish"),),
    "horse": (("horse", "horses"), ("pony", "ponies")),
    "duck": (("duck", "ducks"), ("duckling", "ducklings")),
    "rabbit": (("rabbit", "rabbits"), ("bunny", "bunnies"), ("hare", "hares")),
    "mouse": (("mouse", "mice"),),
    "turtle": (("turtle", "turtles"), ("tortoise", "tortoises")),
    "butterfly": (("butterfly", "butterflies"),),
    "robot": (("robot", "robots"), ("android", "androids")),
    "snowman": (("snowman", "snowmen"),),
    "snake": (("snake", "snakes"), ("serpent", "serpents")),
    "elephant": (("elephant", "elephants"),),
    "snail": (("snail", "snails"),),
    "ghost": (("ghost", "ghosts"), ("spirit", "spirits")),
}
COLOURS = {
    "red": ("red", "crimson", "scarlet"), "blue": ("blue", "azure"), "green": ("green", "emerald"),
    "yellow": ("yellow", "golden"), "white": ("white", "snow-white"), "black": ("black", "jet-black"),
    "orange": ("orange",), "pink": ("pink", "rosy"), "purple": ("purple", "violet", "lilac"),
    "brown": ("brown", "chestnut"),
}  # fmt: skip
SIZES = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")}
PATTERNS = {
    "striped": ("striped", "stripy"), "dotted": ("dotted", "spotted"), "checked": ("checked", "chequered"),
}  # fmt: skip
ACTIONS = {
    "sleeping": ("sleeping", "dozing", "resting"), "jumping": ("jumping", "leaping", "hopping"),
    "running": ("running", "racing"), "flying": ("flying", "soaring"), "swimming": ("swimming", "bathing"),
    "singing": ("singing",), "crying": ("crying", "weeping"), "falling": ("falling", "tumbling"),
}  # fmt: skip
NUMBERS = {2: "two", 3: "three", 4: "four"}
RELATIONS = {
    "left": ("to the left of", "on the left of", "left of"),
    "right": ("to the right of", "on the right of", "right of"),
    "above": ("above", "over"),
    "below": ("below", "under", "beneath"),
    "behind": ("behind", "at the back of"),
    "front": ("in front of", "before"),
    "beside": ("next to", "beside", "by"),
}
BACKGROUNDS = {
    "meadow": ("on a meadow", "on the grass", "on a green lawn"),
    "beach": ("on the beach", "at the seaside", "on the sand"),
    "wall": ("against a brick wall", "by a wall of bricks"),
    "forest": ("in the forest", "in the woods", "among trees"),
    "snow": ("in the snow", "in a wintry landscape", "on the ice"),
    "room": ("in a room", "inside a house", "on the carpet"),
    "city": ("in the city", "in a town", "between skyscrapers"),
    "sea": ("on the sea", "on the water", "on the ocean"),
    "road": ("on a road", "on the street", "on the asphalt"),
    "garden": ("in a garden", "by a fence", "in a backyard"),
    "mountains": ("in the mountains", "in the hills", "before the peaks"),
    "sky": ("in the sky", "in the clouds", "up in the air"),
    "desert": ("in the desert", "among dunes"),
    "field": ("in a wheat field", "in a cornfield", "on farmland"),
    "cave": ("in a cave", "in a grotto", "underground"),
    "stage": ("on a stage", "in a theatre", "before a curtain"),
}
WEATHERS = {
    "night": ("at night", "in the moonlight", "in the dark"),
    "rain": ("in the rain", "on a rainy day"),
    "sunshine": ("in the sunshine", "on a sunny day"),
    "sunset": ("at sunset", "in the evening", "at dusk"),
    "rainbow": ("under a rainbow",),
    "storm": ("in a thunderstorm", "with lightning"),
}
OPENINGS = ("", "", "", "there is ", "a picture of ", "an image of ", "we see ")

# How the demo's machine translator words English: mostly the usual word, some of them odd, whatever the source.
_MACHINE_NOUNS = {"cup": ("beaker", "beakers"), "tent": ("marquee", "marquees"), "shoe": ("footwear", "footwear")}
_MACHINE_RELATIONS = {
    "left": "left from", "right": "right from", "above": "over", "below": "under", "behind": "behind",
    "front": "before", "beside": "near to",
}  # fmt: skip
_ARTICLE_FREE = frozenset(("ja", "ko", "zh", "ru", "pl", "tr"))
_NOUN_FIRST = frozenset(("fr", "es", "it"))
_SETTING_FIRST = frozenset(("ja", "ko", "zh", "tr"))


def _with_article(phrase: str) -> str:
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def _adjectives(group: ObjectGroup) -> list[str]:
    """Size, pattern and colour."""
    words = [pick(SIZES[group.size], group.manner)] if group.size else []
    words += [pick(PATTERNS[group.pattern], group.manner)] if group.pattern else []
    return [*words, pick(COLOURS[group.colour], group.manner)]


def _action(group: ObjectGroup) -> list[str]:
    return [pick(ACTIONS[group.action], group.manner)] if group.action else []


def _group(group: ObjectGroup, rng: random.Random) -> str:
    noun = pick(NOUNS[group.kind], group.word)[group.count > 1]
    words = [*_adjectives(group), noun]
    phrase = " ".join([*words, *_action(group)] if rng.random() < 0.4 else [*_action(group), *words])
    return _with_article(phrase) if group.count == 1 else f"{NUMBERS[group.count]} {phrase}"


def _setting(message: Message) -> list[str]:
    """Background and weather, where they are mentioned."""
    words = [pick(BACKGROUNDS[message.background], message.word)] if message.background else []
    return words + ([pick(WEATHERS[message.weather], message.word)] if message.weather else [])


def say(message: Message, rng: random.Random) -> str:
    """A natural English caption of the message."""
    groups = [_group(g, rng) for g in message.groups]
    opening = rng.choice(OPENINGS)
    if opening == "there is " and message.groups[0].count > 1:
        opening = "there are "
    if message.relation:
        text = f"{groups[0]} {pick(RELATIONS[message.relation], message.word)} {groups[1]}"
    else:
        text = listing(groups, "and")
    setting = _setting(message)
    if setting and not opening and rng.random() < 0.2:
        return f"{setting[-1]}, {' '.join([text, *setting[:-1]])}"
    return " ".join([opening + text, *setting])


def _machine_group(group: ObjectGroup, source: str) -> str:
    noun = pick(NOUNS[group.kind], group.word)[group.count > 1]
    if group.kind in _MACHINE_NOUNS and not group.word:
        noun = _MACHINE_NOUNS[group.kind][group.count > 1]
    adjectives = [*_action(group), *_adjectives(group)]
    phrase = " ".join([noun, *reversed(adjectives)] if source in _NOUN_FIRST else [*adjectives, noun])
    if group.count > 1:
        return f"{NUMBERS[group.count]} {phrase}"
    return phrase if source in _ARTICLE_FREE else _with_article(phrase)


def say_as_machine(message: Message, source: str) -> str:
    """The same message as the demo's machine translator words it in English, translating from language `source`.

    Deterministic: dropped articles from languages without them, nouns before adjectives from Romance languages, the
    setting first from the languages that put it first, one fixed preposition for each relation and some odd nouns.
    """
    groups = [_machine_group(g, source) for g in message.groups]
    text = " and ".join(groups)
    if message.relation:
        text = f"{groups[0]} {_MACHINE_RELATIONS[message.relation]} {groups[1]}"
    setting = _setting(message)
    return " ".join([*setting, text] if source in _SETTING_FIRST else [text, *setting])
