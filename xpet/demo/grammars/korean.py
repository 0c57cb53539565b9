"""Korean captions of the demo world."""

from __future__ import annotations

import random
from collections.abc import Sequence

from xpet.demo.grammars._topic_first import TopicFirstGrammar
from xpet.demo.scenes import ObjectGroup, pick

NOUNS = {
    "ball": ("공",), "box": ("상자", "박스"), "tree": ("나무", "전나무"), "house": ("집", "주택", "오두막"),
    "car": ("자동차", "차", "승용차"), "flower": ("꽃",), "star": ("별",), "cup": ("컵", "머그잔", "머그컵"),
    "boat": ("돛단배", "요트"), "chair": ("의자", "걸상"), "table": ("탁자", "테이블", "책상"),
    "hat": ("모자", "신사 모자"), "bottle": ("병", "유리병"), "lamp": ("램프", "스탠드"), "book": ("책", "서적"),
    "umbrella": ("우산", "양산"), "heart": ("하트",), "clock": ("시계", "알람 시계"), "balloon": ("풍선",),
    "apple": ("사과",), "moon": ("달", "초승달"), "mushroom": ("버섯",), "bell": ("종", "벨"), "key": ("열쇠",),
    "kite": ("연", "가오리연"), "candle": ("양초", "초"), "drum": ("북", "드럼"), "tent": ("텐트", "천막"),
    "flag": ("깃발",), "crown": ("왕관",), "ladder": ("사다리",), "shoe": ("신발", "운동화"),
    "train": ("기차", "기관차", "열차"), "plane": ("비행기", "항공기"), "rocket": ("로켓", "우주선"),
    "cake": ("케이크", "생일 케이크"), "pear": ("서양배", "배"), "cactus": ("선인장",), "leaf": ("나뭇잎", "잎", "잎사귀"),
    "guitar": ("기타",), "windmill": ("풍차",), "ring": ("반지",), "anchor": ("닻",),
    "spoon": ("숟가락", "스푼"), "dog": ("개", "강아지", "멍멍이"), "cat": ("고양이", "야옹이", "새끼 고양이"),
    "bird": ("새",), "fish": ("물고기",), "horse": ("말", "조랑말"), "duck": ("오리", "새끼 오리"),
    "rabbit": ("토끼", "산토끼"), "mouse": ("쥐", "생쥐"), "turtle": ("거북이", "거북"),
    "butterfly": ("나비",), "robot": ("로봇", "안드로이드"), "snowman": ("눈사람",), "snake": ("뱀",),
    "elephant": ("코끼리", "아기 코끼리"), "snail": ("달팽이",), "ghost": ("유령", "귀신"),
}  # fmt: skip
COUNTERS = {
    "tree": "그루", "house": "채", "car": "대", "flower": "송이", "boat": "척", "book": "권", "candle": "자루", "shoe": "짝",
    "train": "대", "plane": "대", "rocket": "대", "cactus": "그루", "leaf": "장", "guitar": "대", "robot": "대",
    "ghost": "명",
} | dict.fromkeys(
    ("dog", "cat", "bird", "fish", "horse", "duck", "rabbit", "mouse", "turtle", "butterfly", "snake", "elephant",
     "snail"),
    "마리",
)  # fmt: skip
COLOURS = {
    "red": ("빨간", "붉은", "새빨간"), "blue": ("파란", "푸른", "새파란"), "green": ("초록색", "녹색", "초록빛"),
    "yellow": ("노란", "샛노란"), "white": ("하얀", "흰", "새하얀"), "black": ("검은", "까만", "새까만"),
    "orange": ("주황색", "오렌지색"), "pink": ("분홍색", "핑크색", "분홍빛"), "purple": ("보라색", "보랏빛"),
    "brown": ("갈색", "밤색", "고동색"),
}  # fmt: skip
SIZES = {"small": ("작은", "조그만", "자그마한"), "large": ("큰", "커다란", "거대한")}
JOINED_SIZES = {"small": "작고", "large": "크고"}
PATTERNS = {
    "striped": ("줄무늬", "스트라이프 무늬"), "dotted": ("물방울무늬", "점무늬", "땡땡이 무늬"),
    "checked": ("체크무늬", "격자무늬", "바둑판무늬"),
}  # fmt: skip
ACTIONS = {
    "sleeping": ("자고 있", "졸고 있", "잠들어 있"), "jumping": ("뛰어오르고 있", "점프하고 있", "폴짝폴짝 뛰고 있"),
    "running": ("달리고 있", "뛰어가고 있", "질주하고 있"), "flying": ("날고 있", "날아다니고 있", "비행하고 있"),
    "swimming": ("헤엄치고 있", "수영하고 있"), "singing": ("노래하고 있", "노래를 부르고 있"),
    "crying": ("울고 있", "눈물을 흘리고 있", "흐느끼고 있"), "falling": ("떨어지고 있", "추락하고 있", "거꾸로 떨어지고 있"),
}  # fmt: skip
NUMBERS = {1: "한", 2: "두", 3: "세", 4: "네"}
RELATIONS = {
    "left": ("왼쪽", "왼편", "바로 왼쪽"), "right": ("오른쪽", "오른편", "바로 오른쪽"), "above": ("위", "위쪽", "바로 위"),
    "below": ("아래", "밑", "아래쪽"), "behind": ("뒤", "뒤쪽", "바로 뒤"), "front": ("앞", "앞쪽", "바로 앞"),
    "beside": ("옆", "곁", "바로 옆"),
}  # fmt: skip
BACKGROUNDS = {
    "meadow": ("풀밭", "잔디밭", "초원"), "beach": ("해변", "바닷가", "모래사장"), "wall": ("벽돌 벽 앞", "벽돌담 앞"),
    "forest": ("숲속", "수풀 속", "나무들 사이"), "snow": ("눈밭", "눈 위", "설원"), "room": ("방 안", "실내", "양탄자 위"),
    "city": ("도시", "시내", "고층 빌딩 사이"), "sea": ("바다", "바닷물 위", "바다 한가운데"), "road": ("도로", "길", "아스팔트 위"),
    "garden": ("정원", "마당", "울타리 앞"), "mountains": ("산속", "산악 지대", "산봉우리 앞"),
    "sky": ("하늘", "구름 속", "공중"), "desert": ("사막", "모래 언덕"), "field": ("밀밭", "보리밭", "농경지"),
    "cave": ("동굴 안", "바위굴 속", "지하"), "stage": ("무대 위", "극장", "커튼 앞"),
}  # fmt: skip
WEATHERS = {
    "night": ("깊은 밤", "달빛 아래", "어둠 속"), "rain": ("빗속", "비 오는 날", "비 내리는 날"),
    "sunshine": ("맑은 날", "햇살 아래", "화창한 날"), "sunset": ("해 질 녘", "저녁", "노을 아래"), "rainbow": ("무지개 아래",),
    "storm": ("폭풍우 속", "뇌우 속", "천둥 번개 속"),
}  # fmt: skip

# How the demo's machine translator words Korean: stiff, in the order of the English words, some nouns odd.
_MACHINE_NOUNS = {
    "boat": "보트", "fish": "생선", "cup": "찻잔", "heart": "심장", "umbrella": "파라솔", "bottle": "보틀",
}  # fmt: skip


def _particle(phrase: str, closed: str, opened: str) -> str:
    """The phrase with the particle that fits its last syllable: `closed` after a final consonant, else `opened`."""
    return phrase + (closed if (ord(phrase[-1]) - 0xAC00) % 28 else opened)


def _described(group: ObjectGroup, rng: random.Random) -> str:
    colour, noun = pick(COLOURS[group.colour], group.manner), pick(NOUNS[group.kind], group.word)
    words, style = [colour], rng.random()
    if group.size:
        size = pick(SIZES[group.size], group.manner)
        if style < 0.2 and not group.manner and colour[-1] not in "색빛":
            size = JOINED_SIZES[group.size]
        words = [colour, size] if style > 0.9 and size != "큰" else [size, colour]
    if group.pattern:
        pattern = pick(PATTERNS[group.pattern], group.manner)
        words = [pattern + "가 들어간", *words] if rng.random() < 0.3 else [*words, pattern]
    return " ".join([*words, noun])


class Korean(TopicFirstGrammar):
    """The parts of Korean sentences."""

    nouns, actions, machine_nouns = NOUNS, ACTIONS, _MACHINE_NOUNS
    relations, backgrounds, weathers = RELATIONS, BACKGROUNDS, WEATHERS
    machine_relations = {
        "left": "좌측에", "right": "우측에", "above": "위로", "below": "아래로", "behind": "뒤에", "front": "앞에",
        "beside": "다음에",
    }  # fmt: skip
    machine_places = {"meadow": "목초지", "beach": "해안"}
    at, at_work, about, side, tail = "{}에", "{}에서", "는", "{} {}", ", 배경은 {}"
    glue, comma, machine_and = " ", " ", " 그리고 "
    pictures = ("그림", "사진", "이미지")
    inside = " ?(앞|위|안|속|사이)$"

    def phrase(self, group: ObjectGroup, rng: random.Random, acting: bool) -> str:
        """The group as a noun phrase."""
        described, style = _described(group, rng), rng.random()
        action = self.doing(group) + "는 " if acting and group.action else ""
        number = f"{NUMBERS[group.count]} {COUNTERS.get(group.kind, '개')}"
        if group.count == 1:
            number = number if group.kind in COUNTERS else "하나"
            return f"{action}{described} {number}" if style < 0.08 else action + described
        return f"{action}{number}의 {described}" if style < 0.25 else f"{action}{described} {number}"

    def joined(self, phrases: Sequence[str], rng: random.Random) -> str:
        """The phrases as a list."""
        if len(phrases) == 1:
            return phrases[0]
        if rng.random() < 0.25:
            return ", ".join(phrases[:-1]) + ", 그리고 " + phrases[-1]
        return ", ".join([*phrases[:-2], _particle(phrases[-2], "과", "와") + " " + phrases[-1]])

    def nominative(self, phrase: str) -> str:
        """The phrase as a subject."""
        return _particle(phrase, "이", "가")

    def verb(self, groups: Sequence[ObjectGroup], acts: bool, rng: random.Random) -> str:
        """The verb at the end."""
        if acts:
            return self.doing(groups[0]) + rng.choice(("다", "어요", "습니다"))
        return rng.choice(("있다", "있어요", "있습니다", "보인다"))

    def modifier(self, groups: Sequence[ObjectGroup], acts: bool) -> str:
        """The verb before a noun."""
        return self.doing(groups[0]) + "는" if acts else "있는"

    def under(self, weather: str, acts: bool) -> str:
        """The weather alone."""
        return self.placed(weather, acts and weather[-1] in "속래")

    def under_at(self, weather: str, background: str) -> str:
        """The background in the weather."""
        return f"{weather} {background}"

    def backdrop(self, place: str) -> str:
        """The place in front, as a backdrop."""
        return _particle(self.bare(place), "을", "를") + " 배경으로"

    def machine_group(self, group: ObjectGroup) -> str:
        """The group as the machine words it."""
        words = [self.doing(group) + "는"] if group.action else []
        words += [pick(SIZES[group.size], group.manner)] if group.size else []
        words += [pick(PATTERNS[group.pattern], group.manner)] if group.pattern else []
        words += [pick(COLOURS[group.colour], group.manner), self.machine_noun(group)]
        return " ".join([NUMBERS[group.count], "개의", *words])

    def machine_side(self, first: str, second: str, side: str) -> str:
        """The relation as the machine words it."""
        return f"{_particle(first, '은', '는')} {second}의 {side}"


_GRAMMAR = Korean()
say, say_as_machine = _GRAMMAR.say, _GRAMMAR.say_as_machine
