"""Korean captions of the demo world."""

from __future__ import annotations

import random

from xpet.demo.grammars._topic_first import TopicFirstGrammar
from xpet.demo.scenes import Message, ObjectGroup

NOUNS = {
    "ball": ("공",), "box": ("상자", "박스"), "star": ("별",), "tree": ("나무", "전나무"), "house": ("집", "주택"),
    "car": ("자동차", "승용차", "차"), "boat": ("돛단배", "요트"), "fish": ("물고기",), "flower": ("꽃",),
    "cup": ("머그잔", "머그컵", "컵"), "heart": ("하트",), "moon": ("초승달", "달"), "mushroom": ("버섯",),
    "umbrella": ("우산",), "bottle": ("병", "유리병"), "hat": ("모자", "신사 모자"),
}  # fmt: skip
COUNTERS = {"tree": "그루", "house": "채", "car": "대", "boat": "척", "fish": "마리", "flower": "송이"}
COLOURS = {
    "red": ("빨간", "붉은", "빨간색"), "green": ("초록색", "녹색", "초록"), "blue": ("파란", "파란색"),
    "yellow": ("노란", "노란색"), "black": ("검은", "까만", "검은색"), "white": ("하얀", "흰", "하얀색"),
    "orange": ("주황색", "오렌지색"), "purple": ("보라색", "보랏빛"),
}  # fmt: skip
SIZES = {"small": ("작은", "작은", "조그만", "자그마한"), "large": ("큰", "커다란", "커다란", "큼직한")}
JOINED_SIZES = {"small": "작고", "large": "크고"}
NUMBERS = {1: "한", 2: "두", 3: "세"}
RELATIONS = {
    "left": ("왼쪽", "왼편", "바로 왼쪽"), "right": ("오른쪽", "오른편", "바로 오른쪽"),
    "above": ("위", "위쪽", "바로 위"), "below": ("아래", "아래쪽", "밑"), "beside": ("옆", "바로 옆", "곁"),
}  # fmt: skip
BACKGROUNDS = {
    "meadow": ("풀밭", "잔디밭", "초원"),
    "beach": ("해변", "바닷가", "모래사장"),
    "snow": ("눈밭", "눈 위", "눈 덮인 땅 위"),
    "night": ("밤하늘 아래", "별이 빛나는 밤하늘 아래", "어두운 밤하늘 아래"),
    "wall": ("벽돌담 앞", "벽돌 벽 앞", "붉은 벽돌담 앞"),
}
BACKDROPS = {"meadow": "풀밭", "beach": "해변", "snow": "눈밭", "night": "밤하늘", "wall": "벽돌 벽"}
VERBS = ("있다", "있어요", "있습니다", "보인다")
PICTURES = ("그림", "사진", "이미지")

# How the demo's machine translator words Korean: one fixed, stiff choice each, in the order of the English words.
_MACHINE_NOUNS = {
    "boat": "보트", "fish": "생선", "cup": "찻잔", "heart": "심장", "umbrella": "파라솔", "bottle": "보틀",
}  # fmt: skip
_MACHINE_COLOURS = {
    "red": "빨간색의", "green": "녹색의", "blue": "파란색의", "yellow": "노란색의",
    "black": "검은색의", "white": "흰색의", "orange": "오렌지색의", "purple": "보라색의",
}  # fmt: skip
_MACHINE_SIZES = {"small": "작은", "large": "큰"}
_MACHINE_RELATIONS = {"left": "좌측에", "right": "우측에", "above": "위로", "below": "아래로", "beside": "다음에"}
_MACHINE_BACKGROUNDS = {
    "meadow": "목초지에서", "beach": "해안에서", "snow": "눈 안에서", "night": "밤에", "wall": "벽돌의 벽 앞에서",
}  # fmt: skip


def _particle(phrase: str, closed: str, opened: str) -> str:
    """The phrase with the particle that fits its last syllable: `closed` after a final consonant, else `opened`."""
    return phrase + (closed if (ord(phrase[-1]) - 0xAC00) % 28 else opened)


def _group(group: ObjectGroup, rng: random.Random) -> str:
    colour, noun = rng.choice(COLOURS[group.colour]), rng.choice(NOUNS[group.kind])
    phrase = f"{colour} {noun}"
    if group.size:
        order = rng.random()
        adjective = colour[-1] not in "색빛록"
        size = JOINED_SIZES[group.size] if order < 0.2 and adjective else rng.choice(SIZES[group.size])
        phrase = f"{colour} {size} {noun}" if order > 0.9 else f"{size} {phrase}"
    number = f"{NUMBERS[group.count]} {COUNTERS.get(group.kind, '개')}"
    if group.count == 1:
        number = number if group.kind in COUNTERS else "하나"
        return f"{phrase} {number}" if rng.random() < 0.15 else phrase
    return f"{number}의 {phrase}" if rng.random() < 0.25 else f"{phrase} {number}"


def _listed(groups: tuple[ObjectGroup, ...], rng: random.Random) -> str:
    phrases = [_group(g, rng) for g in groups]
    if len(phrases) == 1:
        return phrases[0]
    if rng.random() < 0.25:
        return ", ".join(phrases[:-1]) + ", 그리고 " + phrases[-1]
    return ", ".join([*phrases[:-2], _particle(phrases[-2], "과", "와") + " " + phrases[-1]])


def _predicate(groups: tuple[ObjectGroup, ...], rng: random.Random, plain: bool) -> str:
    """The listed groups as a noun phrase, a sentence, or a picture of them; `plain`: no full sentence."""
    text, style = _listed(groups, rng), rng.random()
    if style < 0.35:
        return text
    subject = _particle(text, "이", "가")
    if style < 0.75 and not plain:
        return f"{subject} {rng.choice(VERBS)}"
    return f"{subject} 있는 {rng.choice(PICTURES)}"


def _backed(text: str, background: str | None) -> str:
    return f"{text}, 배경은 {BACKDROPS[background]}" if background else text


def _related(message: Message, rng: random.Random) -> str:
    first, second = message.groups
    side = f"{_group(second, rng)} {rng.choice(RELATIONS[message.relation or 'beside'])}에"
    style = rng.random()
    backdrop = bool(message.background) and style < 0.25
    if message.background and not backdrop:
        background = rng.choice(BACKGROUNDS[message.background])
        if style > 0.8:
            return f"{background}에 있는 {side} {_predicate((first,), rng, False)}"
        return f"{background}, {side} {_predicate((first,), rng, False)}"
    if style < 0.1 or style > 0.8:
        text = f"{_particle(_group(first, rng), '이', '가')} {side} 있는 {rng.choice(PICTURES)}"
        return _backed(text, message.background)
    return _backed(f"{side} {_predicate((first,), rng, backdrop)}", message.background)


def _in_setting(message: Message, background: str, style: float, rng: random.Random) -> str:
    if style < 0.35:
        return f"{background}에 있는 {_listed(message.groups, rng)}"
    if style < 0.5:
        return f"{_particle(_listed(message.groups, rng), '이', '가')} {background}에 {rng.choice(VERBS[:3])}"
    return f"{background}에 {_predicate(message.groups, rng, False)}"


say = TopicFirstGrammar(_related, _predicate, _backed, _in_setting, BACKGROUNDS).say


def _machine_group(group: ObjectGroup) -> str:
    noun = _MACHINE_NOUNS.get(group.kind, NOUNS[group.kind][0])
    size = [_MACHINE_SIZES[group.size]] if group.size else []
    return " ".join([NUMBERS[group.count], "개의", *size, _MACHINE_COLOURS[group.colour], noun])


def say_as_machine(message: Message) -> str:
    """The same message as a mediocre machine translator words it in Korean; deterministic."""
    groups = [_machine_group(g) for g in message.groups]
    if message.relation:
        text = f"{_particle(groups[0], '은', '는')} {groups[1]}의 {_MACHINE_RELATIONS[message.relation]}"
    else:
        text = " 그리고 ".join(groups)
    return f"{text} {_MACHINE_BACKGROUNDS[message.background]}" if message.background else text
