"""Simplified Chinese captions of the demo world."""

from __future__ import annotations

import random

from xpet.demo.scenes import Message, ObjectGroup

# Nouns, each with the measure words it takes.
NOUNS = {
    "ball": (("球", "个"), ("皮球", "个只")),
    "box": (("箱子", "个只"), ("盒子", "个")),
    "star": (("星星", "颗"), ("五角星", "颗个")),
    "tree": (("树", "棵"), ("杉树", "棵")),
    "house": (("房子", "座栋幢"),),
    "car": (("汽车", "辆"), ("轿车", "辆")),
    "boat": (("帆船", "艘条"), ("船", "艘条只")),
    "fish": (("鱼", "条"),),
    "flower": (("花", "朵"), ("鲜花", "朵")),
    "cup": (("杯子", "个只"), ("马克杯", "个只")),
    "heart": (("爱心", "颗个"), ("桃心", "颗个")),
    "moon": (("月亮", "个"), ("月牙", "弯")),
    "mushroom": (("蘑菇", "个朵"),),
    "umbrella": (("伞", "把"), ("雨伞", "把")),
    "bottle": (("瓶子", "个只"),),
    "hat": (("帽子", "顶"), ("礼帽", "顶")),
}
COLOURS = {
    "red": ("红色",), "green": ("绿色",), "blue": ("蓝色",), "yellow": ("黄色",),
    "black": ("黑色",), "white": ("白色",), "orange": ("橙色", "橘色"), "purple": ("紫色",),
}  # fmt: skip
SIZES = {"small": ("小小的", "很小的"), "large": ("大大的", "很大的", "巨大的")}
SHORT_SIZES = {"small": "小", "large": "大"}
NUMBERS = {1: "一", 2: "两", 3: "三"}
RELATIONS = {
    "left": ("左边", "左侧", "左面"), "right": ("右边", "右侧", "右面"), "above": ("上面", "上方", "上边"),
    "below": ("下面", "下方", "下边"), "beside": ("旁边", "边上"),
}  # fmt: skip
BACKGROUNDS = {
    "meadow": ("草地上", "草坪上", "草原上"),
    "beach": ("沙滩上", "海滩上", "海边"),
    "snow": ("雪地里", "雪地上", "雪中"),
    "night": ("夜空下", "星空下", "夜色中"),
    "wall": ("砖墙前", "砖墙前面", "一面砖墙前"),
}
JOINTS = ("和", "与", "和", "，还有")
BACKDROPS = {"meadow": "草地", "beach": "沙滩", "snow": "雪地", "night": "夜空", "wall": "砖墙"}
OPENINGS = ("图中", "图片中", "画面中")

# Nouns that sound right with a bare colour ("红雨伞"); and colours that are used so.
_BARE_NOUNS = frozenset(("房子", "汽车", "箱子", "盒子", "杯子", "瓶子", "雨伞", "蘑菇", "皮球"))
_BARE_COLOURS = frozenset(("红色", "绿色", "蓝色", "黄色", "黑色", "白色", "紫色"))

# How the demo's machine translator words Chinese: one fixed, stiff choice each, in the order of the English words.
_MACHINE_NOUNS = {"star": "星", "boat": "艇", "cup": "茶杯", "heart": "心脏", "umbrella": "阳伞", "bottle": "烧瓶"}
_MACHINE_SIZES = {"small": "小的", "large": "大的", None: ""}
_MACHINE_RELATIONS = {"left": "左方", "right": "右方", "above": "之上", "below": "之下", "beside": "近处"}
_MACHINE_BACKGROUNDS = {
    "meadow": "草甸上", "beach": "海岸上", "snow": "雪里", "night": "夜间", "wall": "砖的墙的前方",
}  # fmt: skip


def _group(group: ObjectGroup, rng: random.Random) -> str:
    noun, measures = rng.choice(NOUNS[group.kind])
    colour, number = rng.choice(COLOURS[group.colour]), NUMBERS[group.count] + rng.choice(measures)
    if group.size is None:
        if noun in _BARE_NOUNS and colour in _BARE_COLOURS and rng.random() < 0.3:
            return number + colour[0] + noun
        return number + colour + ("的" if len(noun) == 1 or rng.random() < 0.7 else "") + noun
    # "小汽车" and "小轿车" name the kind, not the size, so cars take the size only in front.
    if group.kind != "car" and rng.random() < 0.6:
        return f"{number}{colour}的{SHORT_SIZES[group.size]}{noun}"
    return number + rng.choice(SIZES[group.size]) + colour + ("的" if len(noun) == 1 else "") + noun


def _listed(groups: tuple[ObjectGroup, ...], rng: random.Random, joints: tuple[str, ...]) -> str:
    phrases = [_group(g, rng) for g in groups]
    if len(phrases) == 1:
        return phrases[0]
    return "、".join(phrases[:-1]) + rng.choice(joints) + phrases[-1]


def _related(message: Message, rng: random.Random) -> str:
    first, second = (_group(g, rng) for g in message.groups)
    side = second + rng.choice(("", "的")) + rng.choice(RELATIONS[message.relation or "beside"])
    templates = ("{side}有{first}", "{side}是{first}", "{first}在{side}", "{first}位于{side}")
    return rng.choice(templates).format(side=side, first=first)


def say(message: Message, rng: random.Random) -> str:
    """A natural simplified Chinese caption of the message."""
    text = _related(message, rng) if message.relation else _listed(message.groups, rng, JOINTS)
    opening, style = rng.choice(OPENINGS), rng.random()
    if not message.background:
        if style < 0.6:
            return text
        return f"{opening}，{text}" if message.relation else f"{opening}有{text}"
    if style < 0.2:
        return f"{text}，背景是{BACKDROPS[message.background]}"
    background = rng.choice(BACKGROUNDS[message.background])
    if message.relation:
        return rng.choice((f"{background}，{text}", f"在{background}，{text}", f"{opening}的{background}，{text}"))
    if style < 0.3:
        return f"{opening}，{background}有{text}"
    if style < 0.7:
        return f"{background}有{text}"
    text = _listed(message.groups, rng, JOINTS[:2])
    return f"{text}在{background}" if style < 0.8 else f"{background}的{text}"


def _machine_group(group: ObjectGroup) -> str:
    noun = _MACHINE_NOUNS.get(group.kind, NOUNS[group.kind][0][0])
    return f"{NUMBERS[group.count]}个{_MACHINE_SIZES[group.size]}{COLOURS[group.colour][0]}的{noun}"


def say_as_machine(message: Message) -> str:
    """The same message as a mediocre machine translator words it in Chinese; deterministic."""
    groups = [_machine_group(g) for g in message.groups]
    if message.relation:
        text = f"{groups[0]}在{groups[1]}的{_MACHINE_RELATIONS[message.relation]}"
    else:
        text = "和".join(groups)
    return f"{text}在{_MACHINE_BACKGROUNDS[message.background]}" if message.background else text
