"""Japanese captions of the demo world."""

from __future__ import annotations

import random
from collections.abc import Sequence

from xpet.demo.grammars._topic_first import TopicFirstGrammar
from xpet.demo.scenes import AGENTS, ObjectGroup, pick

NOUNS = {
    "ball": ("ボール", "玉"), "box": ("箱", "ボックス"), "tree": ("木", "もみの木"),
    "house": ("家", "民家"), "car": ("車", "自動車"), "flower": ("花", "お花"),
    "star": ("星",), "cup": ("カップ", "マグカップ"), "boat": ("ヨット", "帆船", "船"),
    "chair": ("椅子", "チェア"), "table": ("テーブル", "机"), "hat": ("帽子", "シルクハット"),
    "bottle": ("瓶", "ボトル"), "lamp": ("ランプ", "電気スタンド"), "book": ("本", "書物"),
    "umbrella": ("傘", "雨傘"), "heart": ("ハート", "ハートマーク"), "clock": ("時計", "目覚まし時計"),
    "balloon": ("風船", "バルーン"), "apple": ("りんご",), "moon": ("月", "三日月"), "mushroom": ("キノコ",),
    "bell": ("鐘", "ベル"), "key": ("鍵",), "kite": ("凧", "カイト"), "candle": ("ろうそく", "キャンドル"),
    "drum": ("太鼓", "ドラム"), "tent": ("テント",), "flag": ("旗",), "crown": ("王冠", "冠"),
    "ladder": ("はしご",), "shoe": ("靴", "シューズ"), "train": ("汽車", "機関車", "列車"),
    "plane": ("飛行機", "航空機"), "rocket": ("ロケット", "宇宙船"), "cake": ("ケーキ", "誕生日ケーキ"), "pear": ("洋梨", "梨"),
    "cactus": ("サボテン",), "leaf": ("葉っぱ", "葉", "木の葉"), "guitar": ("ギター",),
    "windmill": ("風車", "風車小屋"), "ring": ("指輪",), "anchor": ("錨",),
    "spoon": ("スプーン", "さじ"), "dog": ("犬", "子犬", "ワンちゃん"), "cat": ("猫", "子猫", "ネコちゃん"),
    "bird": ("鳥", "小鳥"), "fish": ("魚",), "horse": ("馬", "ポニー"), "duck": ("アヒル", "カモ"),
    "rabbit": ("うさぎ", "野うさぎ"), "mouse": ("ネズミ", "ハツカネズミ"), "turtle": ("カメ",),
    "butterfly": ("蝶", "ちょうちょ"), "robot": ("ロボット", "アンドロイド"), "snowman": ("雪だるま",),
    "snake": ("ヘビ",), "elephant": ("ゾウ", "子ゾウ"), "snail": ("カタツムリ", "でんでんむし"),
    "ghost": ("おばけ", "幽霊", "ゴースト"),
}  # fmt: skip
COUNTERS = {
    "ball": ("個", "つ"), "tree": ("本",), "house": ("軒",), "car": ("台",), "flower": ("本",), "boat": ("艘", "隻"),
    "chair": ("脚",), "table": ("卓", "台"), "bottle": ("本",), "lamp": ("個", "台"), "book": ("冊",),
    "umbrella": ("本",), "balloon": ("個", "つ"), "apple": ("個", "つ"), "mushroom": ("本",), "key": ("本",),
    "kite": ("枚", "つ"), "candle": ("本",), "drum": ("台", "つ"), "tent": ("張り", "つ"), "star": ("つ",),
    "moon": ("つ",), "flag": ("本",), "crown": ("個", "つ"),
    "ladder": ("本", "台"), "train": ("台", "両", "本"), "plane": ("機",), "rocket": ("機",), "cake": ("個", "つ"),
    "pear": ("個", "つ"), "cactus": ("本",), "leaf": ("枚",), "guitar": ("本",), "windmill": ("基",), "ring": ("個", "つ"),
    "spoon": ("本",), "dog": ("匹",), "cat": ("匹",), "bird": ("羽",), "fish": ("匹",), "horse": ("頭",), "duck": ("羽",),
    "rabbit": ("匹", "羽"), "mouse": ("匹",), "turtle": ("匹",), "butterfly": ("匹",), "robot": ("体",),
    "snowman": ("体",), "snake": ("匹",), "elephant": ("頭",), "snail": ("匹",), "ghost": ("体", "人", "体"),
}  # fmt: skip
COLOURS = {
    "red": ("赤い", "真っ赤な", "紅色の"), "blue": ("青い", "真っ青な", "ブルーの"),
    "green": ("緑の", "緑色の", "グリーンの"), "yellow": ("黄色い", "黄色の", "山吹色の"),
    "white": ("白い", "真っ白な", "純白の"), "black": ("黒い", "真っ黒な", "漆黒の"),
    "orange": ("オレンジ色の", "橙色の"), "pink": ("ピンクの", "桃色の"), "purple": ("紫の", "紫色の", "すみれ色の"),
    "brown": ("茶色い", "褐色の", "ブラウンの"),
}  # fmt: skip
SIZES = {"small": ("小さな", "小さい", "ちっちゃな"), "large": ("大きな", "大きい", "巨大な")}
JOINED_SIZES = {"small": "小さくて", "large": "大きくて"}
PATTERNS = {
    "striped": ("縞模様の", "ストライプの", "しましまの"), "dotted": ("水玉模様の", "ドット柄の", "水玉柄の"),
    "checked": ("チェック柄の", "格子柄の", "市松模様の"),
}  # fmt: skip
ACTIONS = {
    "sleeping": ("眠ってい", "寝てい", "居眠りしてい"), "jumping": ("ジャンプしてい", "跳びはねてい", "跳ねてい"),
    "running": ("走ってい", "駆けてい", "疾走してい"), "flying": ("飛んでい", "宙を舞ってい"),
    "swimming": ("泳いでい", "泳ぎ回ってい"), "singing": ("歌ってい", "歌を口ずさんでい"),
    "crying": ("泣いてい", "涙を流してい", "泣きじゃくってい"), "falling": ("落下してい", "真っ逆さまに落ちてい"),
}  # fmt: skip
NUMBERS = {1: ("1", "一"), 2: ("2", "二"), 3: ("3", "三"), 4: ("4", "四")}
RELATIONS = {
    "left": ("左", "左側", "左隣"), "right": ("右", "右側", "右隣"), "above": ("上", "真上", "上の方"),
    "below": ("下", "真下", "下の方"), "behind": ("後ろ", "背後", "裏側"), "front": ("前", "手前", "正面"),
    "beside": ("隣", "横", "そば"),
}  # fmt: skip
BACKGROUNDS = {
    "meadow": ("草原", "芝生の上", "野原"), "beach": ("砂浜", "浜辺", "ビーチ"),
    "wall": ("レンガの壁の前", "レンガ塀の前"), "forest": ("森の中", "林の中", "木立の中"),
    "snow": ("雪の中", "雪の上", "雪原"), "room": ("部屋の中", "室内", "カーペットの上"),
    "city": ("街の中", "都会", "ビルの谷間"), "sea": ("海", "水面", "大海原"),
    "road": ("道路", "道", "アスファルトの上"), "garden": ("庭", "フェンスの前", "裏庭"),
    "mountains": ("山の中", "山々の前", "山岳地帯"), "sky": ("空", "雲の中", "空中"), "desert": ("砂漠", "砂丘"),
    "field": ("麦畑", "小麦畑", "農地"), "cave": ("洞窟の中", "洞穴の中", "地下"),
    "stage": ("舞台の上", "ステージの上", "幕の前"),
}  # fmt: skip
WEATHERS = {
    "night": ("夜", "月明かりの下", "暗闇の中"), "rain": ("雨の中", "雨の日", "雨降りの日"),
    "sunshine": ("晴れた日", "日差しの中", "快晴の日"), "sunset": ("夕暮れ時", "夕方", "日没時"), "rainbow": ("虹の下",),
    "storm": ("雷雨の中", "嵐の中", "稲妻の光る中"),
}  # fmt: skip

# How the demo's machine translator words Japanese: stiff, in the order of the English words, some nouns odd.
_MACHINE_NOUNS = {
    "cup": "コップ", "heart": "心臓", "umbrella": "パラソル", "hat": "ハット", "mushroom": "マッシュルーム",
    "boat": "ボート",
}  # fmt: skip
_MACHINE_NUMBERS = {1: "一つの", 2: "二つの", 3: "三つの", 4: "四つの"}


def _adjectives(group: ObjectGroup) -> tuple[str, str, str]:
    """Size, pattern and colour, empty where they are not mentioned."""
    size = pick(SIZES[group.size], group.manner) if group.size else ""
    pattern = pick(PATTERNS[group.pattern], group.manner) if group.pattern else ""
    return size, pattern, pick(COLOURS[group.colour], group.manner)


def _described(group: ObjectGroup, rng: random.Random) -> str:
    size, pattern, colour = _adjectives(group)
    noun, style = pick(NOUNS[group.kind], group.word), rng.random()
    if group.size and not pattern and not group.manner:
        if style < 0.2 and colour[-1] == "い":
            return JOINED_SIZES[group.size] + colour + noun
        if style > 0.8:
            return colour + size + noun
    return size + pattern + colour + noun


def _number(group: ObjectGroup) -> str:
    counter = pick(COUNTERS.get(group.kind, ("つ", "個")), group.word)
    return pick(NUMBERS[group.count], group.manner) + counter


def _lives(group: ObjectGroup) -> bool:
    """Whether one says いる of it; of a snowman only where it acts."""
    return group.kind in AGENTS and (group.kind != "snowman" or group.action is not None)


def _being(groups: Sequence[ObjectGroup]) -> tuple[str, ...]:
    """Verbs for being there, plain ones first; things and animals together are better just seen."""
    lives = {_lives(group) for group in groups}
    if len(lives) > 1:
        return ("見える", "描かれている", "見えます")
    return ("いる", "います", "見える") if lives.pop() else ("ある", "あります", "見える")


class Japanese(TopicFirstGrammar):
    """The parts of Japanese sentences."""

    nouns, actions, machine_nouns = NOUNS, ACTIONS, _MACHINE_NOUNS
    relations, backgrounds, weathers = RELATIONS, BACKGROUNDS, WEATHERS
    machine_relations = {
        "left": "左側", "right": "右側", "above": "上方", "below": "下方", "behind": "背後", "front": "前方",
        "beside": "次",
    }  # fmt: skip
    machine_places = {"meadow": "牧草地", "beach": "海岸"}
    at, at_work, about, side, tail = "{}に", "{}で", "は、", "{}の{}", "、背景は{}"
    glue, comma, machine_and = "", "、", "、そして"
    pictures = ("絵", "写真", "画像")
    inside = "の(中|上|前|谷間)$"

    def phrase(self, group: ObjectGroup, rng: random.Random, acting: bool) -> str:
        """The group as a noun phrase."""
        described, action = _described(group, rng), self.doing(group) + "る" if acting and group.action else ""
        if group.count == 1:
            return action + described
        number = _number(group)
        return rng.choice((f"{action}{number}の{described}", action + described + number))

    def subject(self, group: ObjectGroup, rng: random.Random, acting: bool) -> str:
        """The group with its particle, plural numbers often floating behind it."""
        if group.count > 1 and rng.random() < 0.6:
            action = self.doing(group) + "る" if acting and group.action else ""
            return f"{action}{_described(group, rng)}が{_number(group)}"
        return self.nominative(self.phrase(group, rng, acting))

    def joined(self, phrases: Sequence[str], rng: random.Random) -> str:
        """The phrases as a list."""
        return rng.choice(("と", "と", "、")).join(phrases)

    def nominative(self, phrase: str) -> str:
        """The phrase as a subject."""
        return phrase + "が"

    def verb(self, groups: Sequence[ObjectGroup], acts: bool, rng: random.Random) -> str:
        """The verb at the end."""
        return self.doing(groups[0]) + rng.choice(("る", "る", "ます")) if acts else rng.choice(_being(groups))

    def modifier(self, groups: Sequence[ObjectGroup], acts: bool) -> str:
        """The verb before a noun."""
        return self.doing(groups[0]) + "る" if acts else _being(groups)[0]

    def under(self, weather: str, acts: bool) -> str:
        """The weather alone."""
        return weather + "、"

    def under_at(self, weather: str, background: str) -> str:
        """The background in the weather."""
        return weather + ("、" if weather[-1] in "中下" else "の") + background

    def backdrop(self, place: str) -> str:
        """The place in front, as a backdrop."""
        return self.bare(place) + "を背景に、"

    def machine_group(self, group: ObjectGroup) -> str:
        """The group as the machine words it."""
        action = self.doing(group) + "る" if group.action else ""
        return "".join([_MACHINE_NUMBERS[group.count], action, *_adjectives(group), self.machine_noun(group)])

    def machine_side(self, first: str, second: str, side: str) -> str:
        """The relation as the machine words it."""
        return f"{first}は{second}の{side}に"


_GRAMMAR = Japanese()
say, say_as_machine = _GRAMMAR.say, _GRAMMAR.say_as_machine
