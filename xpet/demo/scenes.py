"""Scenes of the demo world and what a caption may say about them.

A *scene* is the full truth of a picture. A *message* is the part of a scene that one caption mentions; grammars
turn messages into sentences and know nothing about scenes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

KINDS = (
    "ball", "box", "star", "tree", "house", "car", "boat", "fish",
    "flower", "cup", "heart", "moon", "mushroom", "umbrella", "bottle", "hat",
)  # fmt: skip
COLOURS = ("red", "green", "blue", "yellow", "black", "white", "orange", "purple")
SIZES = ("small", "large")
BACKGROUNDS = ("meadow", "beach", "snow", "night", "wall")
RELATIONS = ("left", "right", "above", "below", "beside")
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above", "beside": "beside"}
LAYOUTS = ("single", "row", "column", "triangle")


@dataclass(frozen=True)
class ObjectGroup:
    """One to three equal objects: `count` of one kind in one colour and size (`size` None: not mentioned)."""

    kind: str
    colour: str
    size: str | None
    count: int = 1


@dataclass(frozen=True)
class Message:
    """What one caption says.

    `relation` is set only for two groups and reads "first is `relation` (of) second"; None means the groups
    are just listed. `background` None means it is not mentioned.
    """

    groups: tuple[ObjectGroup, ...]
    relation: str | None = None
    background: str | None = None


@dataclass(frozen=True)
class Scene:
    """The truth of one picture; `jitter` seeds the small offsets of its drawing and is no content."""

    groups: tuple[ObjectGroup, ...]
    layout: str
    background: str
    jitter: int

    @property
    def content(self) -> tuple[object, ...]:
        """What makes two scenes the same picture up to jitter: groups (unordered in a triangle), layout, background."""
        groups = self.groups
        if self.layout == "triangle":
            groups = tuple(sorted(groups, key=lambda g: (g.kind, g.colour, g.size or "", g.count)))
        return (groups, self.layout, self.background)


def draw_scene(rng: random.Random) -> Scene:
    """One random scene: 1 to 3 groups of different kinds, at most one of them plural."""
    layout = rng.choices(LAYOUTS, weights=(2, 8, 8, 4))[0]
    size = {"single": 1, "row": 2, "column": 2, "triangle": 3}[layout]
    kinds = rng.sample(KINDS, size)
    groups = [ObjectGroup(kind, rng.choice(COLOURS), rng.choice(SIZES)) for kind in kinds]
    if rng.random() < 0.3:
        plural = rng.randrange(size)
        groups[plural] = replace(groups[plural], count=rng.choice((2, 3)), size="small")
    return Scene(tuple(groups), layout, rng.choice(BACKGROUNDS), rng.randrange(1 << 30))


def distinct_scenes(seed: int, count: int) -> Iterator[Scene]:
    """`count` scenes of pairwise different content, so that any two slices of them are disjoint."""
    rng = random.Random(seed)
    contents: set[object] = set()
    while len(contents) < count:
        scene = draw_scene(rng)
        if scene.content not in contents:
            contents.add(scene.content)
            yield scene


def describe(scene: Scene, rng: random.Random) -> Message:
    """What one speaker says of a scene: always kinds, colours and counts; usually sizes, places and background."""
    groups = [g if rng.random() < 0.85 else replace(g, size=None) for g in scene.groups]
    groups = [replace(g, size=None) if g.count > 1 else g for g in groups]
    relation: str | None = None
    if scene.layout in ("row", "column"):
        relation = {"row": "left", "column": "above"}[scene.layout]
        if rng.random() < 0.12:
            relation = None if rng.random() < 0.5 else ("beside" if scene.layout == "row" else None)
        if rng.random() < 0.4:
            groups.reverse()
            relation = OPPOSITE[relation] if relation else None
    elif scene.layout == "triangle":
        rng.shuffle(groups)
    background = scene.background if rng.random() < 0.85 else None
    return Message(tuple(groups), relation, background)
