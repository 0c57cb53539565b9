"""Simplified Chinese captions of the demo world."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from xpet.demo.scenes import Message, ObjectGroup, pick


def _nouns(text: str) -> tuple[tuple[str, str], ...]:
    """Nouns, each with the measure words it takes, from "NOUN MEASURES, ..."."""
    return tuple((noun, measures) for noun, measures in (entry.split() for entry in text.split(", ")))


_WORDS = {
    "ball": "球 个, 皮球 个只", "box": "箱子 个只, 盒子 个, 纸箱 个只", "tree": "树 棵, 松树 棵, 杉树 棵",
    "house": "房子 座栋幢, 房屋 座栋", "car": "汽车 辆, 轿车 辆", "flower": "花 朵, 鲜花 朵", "star": "星星 颗, 五角星 颗个",
    "cup": "杯子 个只, 马克杯 个只", "boat": "帆船 艘条, 船 艘条只", "chair": "椅子 把张, 座椅 把张",
    "table": "桌子 张, 书桌 张", "hat": "帽子 顶, 礼帽 顶", "bottle": "瓶子 个只, 酒瓶 个只, 玻璃瓶 个只",
    "lamp": "台灯 盏, 灯 盏", "book": "书 本, 图书 本", "umbrella": "雨伞 把, 伞 把", "heart": "爱心 颗个, 桃心 颗个",
    "clock": "闹钟 个, 时钟 个, 钟表 个", "balloon": "气球 个只", "apple": "苹果 个", "moon": "月亮 个, 月牙 个弯",
    "mushroom": "蘑菇 个朵", "bell": "铃铛 个, 摇铃 个", "key": "钥匙 把", "kite": "风筝 只个", "candle": "蜡烛 根支",
    "drum": "鼓 面个, 军鼓 面个", "tent": "帐篷 顶个, 营帐 顶个", "flag": "旗子 面, 旗帜 面", "crown": "王冠 顶个, 皇冠 顶个",
    "ladder": "梯子 架个, 木梯 架个", "shoe": "鞋子 只, 鞋 只, 运动鞋 只", "train": "火车 列辆, 火车头 个, 列车 列",
    "plane": "飞机 架, 客机 架", "rocket": "火箭 枚, 宇宙飞船 艘", "cake": "蛋糕 个块, 生日蛋糕 个", "pear": "梨 个, 梨子 个",
    "cactus": "仙人掌 棵株", "leaf": "叶子 片, 树叶 片, 叶片 片", "guitar": "吉他 把, 木吉他 把", "windmill": "风车 座个",
    "ring": "戒指 枚个, 钻戒 枚个, 指环 枚个", "anchor": "船锚 个, 锚 个", "spoon": "勺子 把个, 汤匙 把个",
    "dog": "狗 只条, 狗狗 只, 犬 只条", "cat": "猫 只, 猫咪 只", "bird": "鸟 只, 鸟儿 只", "fish": "鱼 条, 鱼儿 条",
    "horse": "马 匹, 马儿 匹, 骏马 匹", "duck": "鸭子 只, 鸭 只", "rabbit": "兔子 只, 野兔 只", "mouse": "老鼠 只, 耗子 只",
    "turtle": "乌龟 只, 陆龟 只", "butterfly": "蝴蝶 只", "robot": "机器人 个", "snowman": "雪人 个",
    "snake": "蛇 条, 蟒蛇 条", "elephant": "大象 头只, 象 头", "snail": "蜗牛 只", "ghost": "幽灵 个只, 鬼魂 个",
}  # fmt: skip
NOUNS = {kind: _nouns(words) for kind, words in _WORDS.items()}
COLOURS = {
    "red": ("红色", "鲜红色", "朱红色"), "blue": ("蓝色", "湛蓝色", "天蓝色"), "green": ("绿色", "翠绿色", "草绿色"),
    "yellow": ("黄色", "金黄色"), "white": ("白色", "雪白"), "black": ("黑色", "漆黑"), "orange": ("橙色", "橘色"),
    "pink": ("粉色", "粉红色"), "purple": ("紫色", "紫罗兰色"), "brown": ("棕色", "褐色", "咖啡色"),
}  # fmt: skip
SIZES = {"small": ("小", "小小的", "很小的"), "large": ("大", "大大的", "巨大的")}
PATTERNS = {"striped": ("条纹", "条状花纹"), "dotted": ("圆点", "斑点", "波点"), "checked": ("格子", "方格")}
ACTIONS = {
    "sleeping": ("睡觉", "打瞌睡", "熟睡"), "jumping": ("跳跃", "蹦跳"), "running": ("奔跑", "飞奔"),
    "flying": ("飞翔", "飞行"), "swimming": ("游泳", "游水"), "singing": ("唱歌", "歌唱"), "crying": ("哭泣", "流泪"),
    "falling": ("坠落", "掉落", "下落"),
}  # fmt: skip
NUMBERS = {1: "一", 2: "两", 3: "三", 4: "四"}
RELATIONS = {
    "left": ("左边", "左侧", "左面"), "right": ("右边", "右侧", "右面"), "above": ("上方", "上面", "上边"),
    "below": ("下方", "下面", "底下"), "behind": ("后面", "后方", "背后"), "front": ("前面", "前方"),
    "beside": ("旁边", "边上"),
}  # fmt: skip
BACKGROUNDS = {
    "meadow": ("草地上", "草坪上", "草原上"), "beach": ("沙滩上", "海滩上", "海边"), "wall": ("砖墙前", "砖墙旁", "墙壁前"),
    "forest": ("森林里", "树林里", "林地里"), "snow": ("雪地里", "雪原上", "冰天雪地里"),
    "room": ("房间里", "屋子里", "室内"), "city": ("城市里", "都市里", "高楼大厦之间"),
    "sea": ("海面上", "大海上", "水面上"), "road": ("马路上", "公路上", "道路上"),
    "garden": ("花园里", "院子里", "篱笆旁"), "mountains": ("群山之间", "山中", "山峰前"),
    "sky": ("天空中", "云朵间", "云层里"), "desert": ("沙漠里", "沙丘间"), "field": ("麦田里", "田野里", "庄稼地里"),
    "cave": ("山洞里", "洞穴里", "岩洞里"), "stage": ("舞台上", "剧场里", "幕布前"),
}  # fmt: skip
WEATHERS = {
    "night": ("夜晚", "星空下", "黑暗中"), "rain": ("雨中", "雨天", "大雨中"), "sunshine": ("阳光下", "晴天", "烈日下"),
    "sunset": ("日落时分", "傍晚", "黄昏时"), "rainbow": ("彩虹下",), "storm": ("雷雨中", "电闪雷鸣中", "暴风雨中"),
}  # fmt: skip
JOINTS = ("和", "与", "和", "，还有")
OPENINGS = ("图中", "图片中", "画面中")

# "小汽车" is any car and "大灯" a headlight: such nouns take the size only as a word of its own.
_UNSIZED = frozenset("汽车 轿车 大象 象 灯 鲜花 房屋 旗帜 列车 钟表 图书 骏马 军鼓 马儿 鸟儿 鱼儿".split())
# Nouns that sound right with a bare colour ("红雨伞", "小黑狗"); and colours that are used so.
_BARE_NOUNS = frozenset(
    "狗 猫 鸟 鱼 马 花 树 球 船 伞 蛇 鞋 房子 汽车 箱子 盒子 杯子 瓶子 雨伞 蘑菇 皮球 气球 苹果 鸭子 蝴蝶 椅子 桌子 蜡烛 帐篷 旗子 鞋子".split()
)
_BARE_COLOURS = frozenset(("红色", "绿色", "蓝色", "黄色", "黑色", "白色", "紫色"))

# How the demo's machine translator words Chinese: one fixed, stiff choice each, in the order of the English words.
_MACHINE_NOUNS = {"cup": "茶杯", "heart": "心脏", "umbrella": "阳伞", "bottle": "烧瓶", "boat": "艇", "lamp": "灯具"}
_MACHINE_RELATIONS = {
    "left": "左边", "right": "右边", "above": "之上", "below": "之下", "behind": "后面", "front": "前面", "beside": "近处",
}  # fmt: skip
_MACHINE_BACKGROUNDS = {"meadow": "草甸上", "beach": "海岸上", "wall": "砖的墙的前方", "field": "小麦场里"}


def _coloured(group: ObjectGroup, short: str, noun: str, described: bool, rng: random.Random) -> str:
    """Colour and noun, with a short size in between; `described`: other words stand in front."""
    colour = pick(COLOURS[group.colour], group.manner)
    if noun in _BARE_NOUNS and colour in _BARE_COLOURS and group.size != "large" and rng.random() < 0.3:
        return short + colour[0] + noun
    linked = len(short + noun) == 1 or colour[-1] != "色" or rng.random() < (0.25 if described else 0.6)
    return colour + "的" * linked + short + noun


def _phrase(group: ObjectGroup, rng: random.Random, acting: bool = True) -> str:
    """The group as a noun phrase; `acting`: with its action in front."""
    noun, measures = pick(NOUNS[group.kind], group.word)
    size = pick(SIZES[group.size], group.manner) if group.size else ""
    if group.size and noun in _UNSIZED and len(size) == 1:
        size = SIZES[group.size][1]
    short, long = (size, "") if len(size) == 1 else ("", size)
    action = rng.choice(("正在", "正在", "")) + pick(ACTIONS[group.action], group.manner) if group.action else ""
    clauses = [action] if acting and action else []
    pattern = "带" + pick(PATTERNS[group.pattern], group.manner) if group.pattern else ""
    colour = pick(COLOURS[group.colour], group.manner)
    if pattern and colour[-1] == "色" and (clauses or rng.random() < 0.5):
        core = f"{colour}{pattern}的{short}{noun}"
    else:
        clauses += [pattern] if pattern else []
        core = _coloured(group, short, noun, bool(clauses or long), rng)
    head = "".join(f"{clause}的" for clause in clauses)
    attributes = head + long if acting and action else long + head
    return NUMBERS[group.count] + rng.choice(measures) + attributes + core


def _list(groups: Sequence[ObjectGroup], rng: random.Random, joints: Sequence[str]) -> str:
    """The groups as a list: "A、B和C"."""
    phrases = [_phrase(g, rng) for g in groups]
    return "、".join(phrases[:-1]) + rng.choice(joints) + phrases[-1] if len(phrases) > 1 else phrases[0]


def _words(message: Message) -> tuple[str, str]:
    """Background and weather, each empty where it is not mentioned."""
    background = pick(BACKGROUNDS[message.background], message.word) if message.background else ""
    return background, pick(WEATHERS[message.weather], message.word) if message.weather else ""


def _backdrop(place: str) -> str:
    """The place as what is behind everything, appended to a caption."""
    return "，背景是" + re.sub("(之间|[上里中前旁间])$", "", place)


def _doing(group: ObjectGroup, rng: random.Random) -> str:
    """What the group does, or nothing where that is said in front of its noun or not at all."""
    return pick(ACTIONS[group.action], group.manner) if group.action and rng.random() < 0.6 else ""


def _related(message: Message, rng: random.Random) -> str:
    """Two groups in a relation, without the setting."""
    doing = _doing(message.groups[0], rng)
    first, second = _phrase(message.groups[0], rng, not doing), _phrase(message.groups[1], rng)
    side = second + rng.choice(("", "的")) + pick(RELATIONS[message.relation or "beside"], message.word)
    if doing:
        now = "" if message.groups[1].action else "正"  # not twice in one clause
        return rng.choice((f"{first}{now}在{side}{doing}", f"{side}有{first}正在{doing}"))
    return rng.choice((f"{side}有{first}", f"{side}是{first}", f"{first}在{side}", f"{first}位于{side}"))


def _say_related(message: Message, rng: random.Random) -> str:
    """A caption of two groups in a relation."""
    text, (background, weather) = _related(message, rng), _words(message)
    opening = rng.choice(OPENINGS)
    if not background:
        opening = weather or (opening if rng.random() < 0.4 else "")
        return f"{opening}，{text}" if opening else text
    place = f"{weather}的{background}" if weather else background
    if rng.random() < 0.2:
        return text + _backdrop(place)
    return rng.choice(
        (f"{place}，{text}", f"在{place}，{text}", f"{opening}{'，' if weather else '的'}{place}，{text}")
    )


def _say_listed(message: Message, rng: random.Random) -> str:
    """A caption of groups that are just listed."""
    (place, weather), style = _words(message), rng.random()
    front = f"{weather}，" if weather and (not place or rng.random() < 0.35) else ""
    if weather and not front:
        place = f"{weather}的{place}"
    doing = _doing(message.groups[0], rng) if len(message.groups) == 1 else ""
    if doing:
        return f"{front}{_phrase(message.groups[0], rng, False)}正在{place}{doing}"
    text, tied = _list(message.groups, rng, JOINTS), _list(message.groups, rng, JOINTS[:2])
    if not place:
        return front + text if front or style < 0.6 else f"{rng.choice(OPENINGS)}有{text}"
    if style < 0.2 and not front:
        return text + _backdrop(place)
    if style < 0.3 and not front:
        return f"{rng.choice(OPENINGS)}，{place}有{text}"
    if style < 0.7:
        return f"{front}{place}有{text}"
    return f"{front}{tied}在{place}" if style < 0.8 or front else f"{place}的{tied}"


def say(message: Message, rng: random.Random) -> str:
    """A natural simplified Chinese caption of the message."""
    return _say_related(message, rng) if message.relation else _say_listed(message, rng)


def _machine_group(group: ObjectGroup) -> str:
    """A group as the machine words it: always the measure word of people and things, and every word linked."""
    noun = pick(NOUNS[group.kind], group.word)[0]
    if not group.word:
        noun = _MACHINE_NOUNS.get(group.kind, noun)
    words = [pick(ACTIONS[group.action], group.manner)] if group.action else []
    words += [pick(SIZES[group.size], group.manner).removesuffix("的")] if group.size else []
    words += [pick(PATTERNS[group.pattern], group.manner)] if group.pattern else []
    words.append(pick(COLOURS[group.colour], group.manner))
    return NUMBERS[group.count] + "个" + "".join(f"{word}的" for word in words) + noun


def say_as_machine(message: Message) -> str:
    """The same message as a mediocre machine translator words it in Chinese; deterministic."""
    groups = [_machine_group(g) for g in message.groups]
    text = "和".join(groups)
    if message.relation:
        text = f"{groups[0]}在{groups[1]}的{_MACHINE_RELATIONS[message.relation]}"
    background, weather = _words(message)
    if message.background and not message.word:
        background = _MACHINE_BACKGROUNDS.get(message.background, background)
    return text + "".join(f"在{words}" for words in (background, weather) if words)
