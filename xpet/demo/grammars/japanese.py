"""Japanese captions of the demo world."""

from __future__ import annotations

import random

from xpet.demo.grammars._topic_first import TopicFirstGrammar
from xpet.demo.scenes import Message, ObjectGroup

NOUNS = {
    "ball": ("ボール", "玉"), "box": ("箱", "ボックス"), "star": ("星", "お星さま"), "tree": ("木", "もみの木"),
    "house": ("家", "おうち"), "car": ("車", "自動車"), "boat": ("ヨット", "帆船"), "fish": ("魚", "お魚"),
    "flower": ("花", "お花"), "cup": ("マグカップ", "カップ"), "heart": ("ハート",), "moon": ("三日月", "月"),
    "mushroom": ("キノコ", "きのこ"), "umbrella": ("傘", "雨傘"), "bottle": ("瓶", "ボトル"),
    "hat": ("帽子", "シルクハット"),
}  # fmt: skip
COUNTERS = {
    "ball": ("つ", "個"), "box": ("つ", "個"), "star": ("つ",), "tree": ("本",), "house": ("軒",), "car": ("台",),
    "boat": ("艘", "隻"), "fish": ("匹",), "flower": ("輪", "本"), "cup": ("つ", "個"), "heart": ("つ", "個"),
    "moon": ("つ",), "mushroom": ("本", "つ"), "umbrella": ("本",), "bottle": ("本",), "hat": ("つ", "個"),
}  # fmt: skip
COLOURS = {
    "red": ("赤い", "赤い", "真っ赤な"), "green": ("緑の", "緑色の"), "blue": ("青い", "青い", "真っ青な"),
    "yellow": ("黄色い", "黄色の"), "black": ("黒い", "黒い", "真っ黒な"), "white": ("白い", "白い", "真っ白な"),
    "orange": ("オレンジ色の", "橙色の"), "purple": ("紫の", "紫色の"),
}  # fmt: skip
SIZES = {"small": ("小さな", "小さな", "小さい", "ちっちゃな"), "large": ("大きな", "大きな", "大きい", "巨大な")}
JOINED_SIZES = {"small": "小さくて", "large": "大きくて"}
NUMBERS = {2: ("2", "二"), 3: ("3", "三")}
RELATIONS = {
    "left": ("左", "左側", "左隣"), "right": ("右", "右側", "右隣"), "above": ("上", "真上", "上の方"),
    "below": ("下", "真下", "下の方"), "beside": ("隣", "横", "そば"),
}  # fmt: skip
BACKGROUNDS = {
    "meadow": ("草原", "野原", "芝生の上"),
    "beach": ("砂浜", "浜辺", "ビーチ"),
    "snow": ("雪の中", "雪の上", "雪原"),
    "night": ("夜空の下", "星空の下", "夜の闇の中"),
    "wall": ("レンガの壁の前", "レンガ塀の前", "れんが壁の前"),
}
BACKDROPS = {"meadow": "草原", "beach": "砂浜", "snow": "雪景色", "night": "夜空", "wall": "レンガの壁"}
VERBS = {False: ("ある", "あります", "見える"), True: ("いる", "います", "見える")}
PICTURES = ("絵", "写真", "画像")

# How the demo's machine translator words Japanese: one fixed, stiff choice each, in the order of the English words.
_MACHINE_NOUNS = {
    "cup": "コップ", "heart": "心臓", "umbrella": "パラソル", "hat": "ハット", "mushroom": "マッシュルーム",
    "boat": "ボート",
}  # fmt: skip
_MACHINE_COLOURS = {
    "red": "赤色の", "green": "緑色の", "blue": "青色の", "yellow": "黄色の",
    "black": "黒色の", "white": "白色の", "orange": "オレンジ色の", "purple": "紫色の",
}  # fmt: skip
_MACHINE_SIZES = {"small": "小さい", "large": "大きい", None: ""}
_MACHINE_NUMBERS = {1: "一つの", 2: "二つの", 3: "三つの"}
_MACHINE_RELATIONS = {"left": "左側", "right": "右側", "above": "上方", "below": "下方", "beside": "次"}
_MACHINE_BACKGROUNDS = {
    "meadow": "牧草地で", "beach": "海岸の上で", "snow": "雪の中で", "night": "夜において", "wall": "煉瓦の壁の前方で",
}  # fmt: skip


def _described(group: ObjectGroup, rng: random.Random) -> str:
    noun, colour = rng.choice(NOUNS[group.kind]), rng.choice(COLOURS[group.colour])
    if not group.size:
        return colour + noun
    if rng.random() < 0.2 and colour[-1] != "の":
        return JOINED_SIZES[group.size] + colour + noun
    if colour[-1] == "な":
        colour = COLOURS[group.colour][0]
    if rng.random() < 0.2:
        return colour + SIZES[group.size][0] + noun
    size = rng.choice(SIZES[group.size])
    if size[-1] == colour[-1] == "い":
        size = SIZES[group.size][0]
    return size + colour + noun


def _number(group: ObjectGroup, rng: random.Random) -> str:
    return rng.choice(NUMBERS[group.count]) + rng.choice(COUNTERS[group.kind])


def _group(group: ObjectGroup, rng: random.Random) -> str:
    phrase = _described(group, rng)
    if group.count == 1:
        return phrase
    number = _number(group, rng)
    return rng.choice((f"{number}の{phrase}", phrase + number))


def _subject(group: ObjectGroup, rng: random.Random) -> str:
    """The group with its particle, plural numbers often floating behind it."""
    if group.count > 1 and rng.random() < 0.6:
        return f"{_described(group, rng)}が{_number(group, rng)}"
    return _group(group, rng) + "が"


def _predicate(groups: tuple[ObjectGroup, ...], rng: random.Random, closed: bool) -> str:
    """The listed groups as a noun phrase, a sentence, or a picture of them; `closed`: without polite verbs."""
    separator = rng.choice(("と", "と", "、"))
    head = "".join(_group(g, rng) + separator for g in groups[:-1])
    verbs = VERBS[groups[-1].kind == "fish"]
    style = rng.random()
    if style < 0.35:
        return head + _group(groups[-1], rng)
    clause = head + _subject(groups[-1], rng)
    if style < 0.8:
        return clause + (verbs[0] if closed else rng.choice(verbs))
    return clause + verbs[0] + rng.choice(PICTURES)


def _related(message: Message, rng: random.Random) -> str:
    first, second = message.groups
    side = f"{_group(second, rng)}の{rng.choice(RELATIONS[message.relation or 'beside'])}に"
    be = VERBS[first.kind == "fish"][0]
    style = rng.random()
    backdrop = bool(message.background) and style < 0.25
    if message.background and not backdrop:
        there = VERBS[second.kind == "fish"][0]
        side = rng.choice(BACKGROUNDS[message.background]) + rng.choice(("には、", "、", f"に{there}")) + side
    elif style < 0.1 or style > 0.8:
        return _backed(f"{_group(first, rng)}が{side}{be}", message.background)
    text = side + _predicate((first,), rng, backdrop)
    return _backed(text, message.background) if backdrop else text


def _backed(text: str, background: str | None) -> str:
    return f"{text}、背景は{BACKDROPS[background]}" if background else text


def _in_setting(message: Message, background: str, style: float, rng: random.Random) -> str:
    if style < 0.4 and len(message.groups) == 1:
        be, thing = VERBS[message.groups[0].kind == "fish"][0], _group(message.groups[0], rng)
        return rng.choice((f"{thing}が{background}に{be}", f"{background}の{thing}"))
    return background + "に" + _predicate(message.groups, rng, False)


say = TopicFirstGrammar(_related, _predicate, _backed, _in_setting, BACKGROUNDS).say


def _machine_group(group: ObjectGroup) -> str:
    noun = _MACHINE_NOUNS.get(group.kind, NOUNS[group.kind][0])
    return _MACHINE_NUMBERS[group.count] + _MACHINE_SIZES[group.size] + _MACHINE_COLOURS[group.colour] + noun


def say_as_machine(message: Message) -> str:
    """The same message as a mediocre machine translator words it in Japanese; deterministic."""
    groups = [_machine_group(g) for g in message.groups]
    if message.relation:
        text = f"{groups[0]}は{groups[1]}の{_MACHINE_RELATIONS[message.relation]}に"
    else:
        text = "、そして".join(groups)
    return f"{text}、{_MACHINE_BACKGROUNDS[message.background]}" if message.background else text
