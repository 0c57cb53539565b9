"""Scenes of the demo world and what a caption may say about them.

A *scene* is the full truth of a picture. A *message* is the part of a scene that one caption mentions, and which of
several words for it the speaker takes; grammars turn messages into sentences and know nothing about scenes.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TypeVar

THINGS = (
    "ball", "box", "tree", "house", "car", "flower", "star", "cup", "boat", "chair", "table", "hat", "bottle", "lamp",
    "book", "umbrella", "heart", "clock", "balloon", "apple", "moon", "mushroom", "bell", "key", "kite", "candle",
    "drum", "tent", "flag", "crown", "ladder", "shoe", "train", "plane", "rocket", "cake", "pear", "cactus", "leaf",
    "guitar", "windmill", "ring", "anchor", "spoon",
)  # fmt: skip
AGENTS = (
    "dog", "cat", "bird", "fish", "horse", "duck", "rabbit", "mouse", "turtle", "butterfly", "robot", "snowman",
    "snake", "elephant", "snail", "ghost",
)  # fmt: skip
KINDS = THINGS + AGENTS
COLOURS = ("red", "blue", "green", "yellow", "white", "black", "orange", "pink", "purple", "brown")
SIZES = ("small", "large")
PATTERNS = ("striped", "dotted", "checked")
ACTIONS = ("sleeping", "jumping", "running", "flying", "swimming", "singing", "crying", "falling")
"""What an agent does; things do nothing. A falling agent is drawn upside down."""
BACKGROUNDS = (
    "meadow", "beach", "wall", "forest", "snow", "room", "city", "sea", "road", "garden", "mountains", "sky", "desert",
    "field", "cave", "stage",
)  # fmt: skip
WEATHERS = ("night", "rain", "sunshine", "sunset", "rainbow", "storm")
INDOORS = frozenset(("room", "cave", "stage"))
"""Backgrounds without weather."""
RELATIONS = ("left", "right", "above", "below", "behind", "front", "beside")
OPPOSITE = {
    "left": "right", "right": "left", "above": "below", "below": "above", "behind": "front", "front": "behind",
    "beside": "beside",
}  # fmt: skip
LAYOUTS = ("single", "row", "column", "overlap", "triangle")
"""How groups stand: the first of a row is left, of a column above, of an overlap behind."""
MOST = 4
"""Equal things in a group, at most."""
RELATION_OF = {"row": "left", "column": "above", "overlap": "behind"}
STEEPNESS = 2.0
"""Frequencies fall as 1 / (rank + STEEPNESS), as those of words do: the larger, the more even."""
Item = TypeVar("Item")


@dataclass(frozen=True)
class ObjectGroup:
    """One to four equal objects of one kind, colour and size; `None` is not there, or not mentioned.

    In a message `word` is the rank, from 0 for the usual one, of the noun the speaker takes among those that name the
    kind, and `manner` that of the adjectives. A language with fewer words takes its last.
    """

    kind: str
    colour: str
    size: str | None
    count: int = 1
    pattern: str | None = None
    action: str | None = None
    word: int = 0
    manner: int = 0


@dataclass(frozen=True)
class Message:
    """What one caption says.

    `relation` is set only for two groups and reads "first is `relation` (of) second"; None means the groups are just
    listed. `background` and `weather` None are not mentioned. `word` is the rank of the words for these three.
    """

    groups: tuple[ObjectGroup, ...]
    relation: str | None = None
    background: str | None = None
    weather: str | None = None
    word: int = 0


@dataclass(frozen=True)
class Scene:
    """The truth of one picture; `jitter` seeds the small offsets of its drawing and is no content."""

    groups: tuple[ObjectGroup, ...]
    layout: str
    background: str
    weather: str | None
    jitter: int

    @property
    def content(self) -> tuple[object, ...]:
        """What makes two scenes the same picture up to jitter; groups in a triangle have no order."""
        groups = self.groups
        if self.layout == "triangle":
            groups = tuple(sorted(groups, key=repr))
        return (groups, self.layout, self.background, self.weather)


def pick(words: Sequence[Item], rank: int) -> Item:
    """The word of a rank, or the last one there is."""
    return words[min(rank, len(words) - 1)]


def by_frequency(items: Sequence[Item], rng: random.Random, steepness: float = STEEPNESS) -> Item:
    """One of the items, which stand from the most to the least frequent."""
    weights = list(accumulate(1 / (rank + steepness) for rank in range(len(items))))
    return rng.choices(items, cum_weights=weights)[0]


def draw_group(kind: str, rng: random.Random, steepness: float) -> ObjectGroup:
    """A random object of a kind."""
    pattern = by_frequency(PATTERNS, rng, steepness) if rng.random() < 0.2 else None
    action = by_frequency(ACTIONS, rng, steepness) if kind in AGENTS and rng.random() < 0.6 else None
    return ObjectGroup(kind, by_frequency(COLOURS, rng, steepness), rng.choice(SIZES), 1, pattern, action)


def draw_scene(rng: random.Random, steepness: float = STEEPNESS) -> Scene:
    """One random scene: 1 to 3 groups of different kinds, at most one of them plural."""
    layout = rng.choices(LAYOUTS, weights=(4, 8, 8, 4, 3))[0]
    size = {"single": 1, "triangle": 3}.get(layout, 2)
    kinds: list[str] = []
    while len(kinds) < size:
        kind = by_frequency(AGENTS if rng.random() < 0.35 else THINGS, rng, steepness)
        kinds += [] if kind in kinds else [kind]
    groups = [draw_group(kind, rng, steepness) for kind in kinds]
    if rng.random() < 0.3:
        plural = rng.randrange(size)
        groups[plural] = replace(groups[plural], count=rng.randint(2, MOST), size="small")
    background = by_frequency(BACKGROUNDS, rng, steepness)
    weather = by_frequency(WEATHERS, rng, steepness) if background not in INDOORS and rng.random() < 0.45 else None
    return Scene(tuple(groups), layout, background, weather, rng.randrange(1 << 30))


def distinct_scenes(
    seed: int, count: int, steepness: float = STEEPNESS, without: Iterable[Scene] = ()
) -> Iterator[Scene]:
    """`count` scenes of pairwise different content, so that any two slices of them are disjoint.

    None shows what a scene of `without` shows.
    """
    rng = random.Random(seed)
    contents: set[object] = {scene.content for scene in without}
    count += len(contents)
    while len(contents) < count:
        scene = draw_scene(rng, steepness)
        if scene.content not in contents:
            contents.add(scene.content)
            yield scene


def _rank(rng: random.Random) -> int:
    """The rank of a word among its synonyms."""
    return rng.choices((0, 1, 2), weights=(66, 24, 10))[0]


def _mention(group: ObjectGroup, rng: random.Random) -> ObjectGroup:
    """What a speaker says of a group: always kind, colour and count; usually the rest."""
    size = group.size if group.count == 1 and rng.random() < 0.7 else None
    pattern = group.pattern if rng.random() < 0.9 else None
    action = group.action if rng.random() < 0.9 else None
    return replace(group, size=size, pattern=pattern, action=action, word=_rank(rng), manner=_rank(rng))


def describe(scene: Scene, rng: random.Random) -> Message:
    """What one speaker says of a scene: always kinds, colours and counts; usually the rest, in words of their own."""
    groups = [_mention(group, rng) for group in scene.groups]
    relation = RELATION_OF.get(scene.layout)
    if relation and rng.random() < 0.12:
        relation = "beside" if scene.layout == "row" and rng.random() < 0.5 else None
    if scene.layout == "triangle":
        rng.shuffle(groups)
    elif relation and rng.random() < 0.4:
        groups.reverse()
        relation = OPPOSITE[relation]
    background = scene.background if rng.random() < 0.85 else None
    weather = scene.weather if rng.random() < 0.85 else None
    return Message(tuple(groups), relation, background, weather, _rank(rng))
