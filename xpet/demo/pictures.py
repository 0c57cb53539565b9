"""Draws a scene into a 64x64 picture with plain array arithmetic: the same bytes on every machine."""

from __future__ import annotations

import random
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from xpet.demo.backdrops import OVERSAMPLING, SIDE, backdrop, streaks
from xpet.demo.scenes import ObjectGroup, Scene
from xpet.demo.shapes import GRAIN, OUTLINE, REACH, Array, sprite

if TYPE_CHECKING:
    from PIL.Image import Image

RGB = {
    "red": (216, 32, 36), "blue": (36, 84, 216), "green": (34, 152, 54), "yellow": (250, 222, 44),
    "white": (252, 252, 252), "black": (26, 26, 30), "orange": (252, 134, 10), "pink": (255, 138, 196),
    "purple": (132, 44, 178), "brown": (146, 86, 40),
}  # fmt: skip
_SHADE = {
    "yellow": (212, 166, 16), "orange": (212, 92, 0), "pink": (226, 92, 156), "black": (84, 84, 94),
    "white": (200, 206, 216),
}  # fmt: skip
_DARK, _LIGHT = (44, 42, 50), (255, 250, 232)
_STREAK = (196, 216, 236)
_RADIUS = {"small": 9.0, "large": 14.6}
_CENTRES = {
    "single": ((32.0, 33.0),),
    "row": ((16.5, 33.0), (47.5, 33.0)),
    "column": ((32.0, 16.5), (32.0, 47.5)),
    "triangle": ((16.0, 16.5), (48.0, 16.5), (32.0, 47.0)),
}
_OFFSETS = {
    1: ((0.0, 0.0),),
    2: ((-7.4, 5.5), (7.4, -5.5)),
    3: ((0.0, -8.0), (-8.0, 7.0), (8.0, 7.0)),
    4: ((-8.0, -8.0), (8.0, -8.0), (-8.0, 8.0), (8.0, 8.0)),
}
_FARTHEST, _NEAREST = 44, 12
"""Bounds of how far right (or left) and down the second of two overlapping groups is, in oversampled pixels."""
_SHRUNK = {1: 1.0, 2: 0.94, 3: 0.86, 4: 0.84}


@lru_cache(maxsize=16)
def _palette(colour: str) -> Array:
    """The colours of the labels of a sprite."""
    body = RGB[colour]
    shade = _SHADE.get(colour) or tuple(int(channel * 0.68) for channel in body)
    dark, light, outline, pattern = _DARK, _LIGHT, _DARK, _LIGHT
    if colour == "black":
        dark, outline = (168, 168, 176), (206, 206, 212)
    if colour == "white":
        light = (176, 190, 212)
    if colour in ("white", "yellow"):
        pattern = (84, 82, 96)
    flame = (255, 196, 40) if colour not in ("yellow", "orange") else (236, 92, 20)
    tones = ((0, 0, 0), body, shade, dark, light, flame, (255, 255, 255), (84, 170, 240), (20, 20, 26))
    return np.array((*tones, pattern, outline), np.uint8)


def _window(group: ObjectGroup, centre: tuple[float, float], radius: float) -> tuple[tuple[slice, slice], Array]:
    """Where on the canvas an object is, and its labels there."""
    window, cells = [], []
    for middle in reversed(centre):
        start = max(0, int((middle - REACH * radius) * OVERSAMPLING) - 1)
        stop = min(SIDE * OVERSAMPLING, int((middle + REACH * radius) * OVERSAMPLING) + 2)
        at = ((np.arange(start, stop) + 0.5) / OVERSAMPLING - middle) / radius
        window.append(slice(start, stop))
        cells.append(np.clip(np.floor((at + REACH) * (GRAIN / (2 * REACH))).astype(int), 0, GRAIN - 1))
    labels = sprite(group.kind, group.pattern, group.action)
    return (window[0], window[1]), labels[cells[0][:, None], cells[1]]


def _thickened(there: Array) -> Array:
    """A mask and its neighbours."""
    rim = there.copy()
    rim[1:] |= there[:-1]
    rim[:-1] |= there[1:]
    rim[:, 1:] |= there[:, :-1]
    rim[:, :-1] |= there[:, 1:]
    return rim


def _stamp(canvas: Array, group: ObjectGroup, centre: tuple[float, float], radius: float, outline: int = 1) -> None:
    """Draw one object into its window of the canvas, outlined by some (oversampled) pixels."""
    window, seen = _window(group, centre, radius)
    there = rim = seen > 0
    for _ in range(outline):
        rim = _thickened(rim)
    seen[rim & ~there] = OUTLINE
    np.copyto(canvas[window], _palette(group.colour)[seen], where=rim[..., None])


def _members(group: ObjectGroup, centre: tuple[float, float], radius: float) -> list[tuple[float, float]]:
    """Where the objects of a group stand: inside the picture, with room for the marks of an action."""
    room, spread = (1.18 * radius, 1.08) if group.action else (1.04 * radius, 1.0)
    places = [(centre[0] + spread * dx, centre[1] + spread * dy) for dx, dy in _OFFSETS[group.count]]
    return [(min(max(x, room), SIDE - room), min(max(y, room), SIDE - room)) for x, y in places]


def _outspread(group: ObjectGroup, radius: float) -> Array:
    """Where a group in the middle of the canvas is, bool [canvas, canvas]."""
    there = np.zeros((SIDE * OVERSAMPLING, SIDE * OVERSAMPLING), bool)
    for centre in _members(group, (SIDE / 2, SIDE / 2), radius):
        window, seen = _window(group, centre, radius)
        there[window] |= seen > 0
    return there


def _overlapping(scene: Scene, radii: list[float], rng: random.Random) -> list[tuple[float, float]]:
    """Places of two groups, the second lower and to a side and just so near that it hides a part of the first."""
    behind, front = (_outspread(group, radius) for group, radius in zip(scene.groups, radii, strict=True))
    side, hidden = rng.choice((-1, 1)), rng.uniform(0.1, 0.22) * np.count_nonzero(behind)
    shift = _FARTHEST
    while shift > _NEAREST and np.count_nonzero(behind & np.roll(front, (shift, side * shift), (0, 1))) < hidden:
        shift -= 1
    half = shift / (2 * OVERSAMPLING)
    x, y = SIDE / 2 + rng.uniform(-3, 3), SIDE / 2 + rng.uniform(-3, 3)
    return [(x - side * half, y - half), (x + side * half, y + half)]


def draw(scene: Scene) -> Array:
    """The picture of a scene: uint8 array of shape [64, 64, 3] (row, column, RGB)."""
    rng = random.Random(scene.jitter)
    canvas = backdrop(scene.background, scene.weather).copy()
    radii = [_RADIUS[group.size or "small"] * rng.uniform(0.94, 1.06) * _SHRUNK[group.count] for group in scene.groups]
    if scene.layout == "overlap":
        centres = _overlapping(scene, radii, rng)
    else:
        centres = [(x + rng.uniform(-2, 2), y + rng.uniform(-2, 2)) for x, y in _CENTRES[scene.layout]]
    for group, centre, radius in zip(scene.groups, centres, radii, strict=True):
        outline = 2 if scene.layout == "overlap" and group is scene.groups[1] else 1
        for place in _members(group, centre, radius):
            _stamp(canvas, group, place, radius, outline)
    if scene.weather == "rain":
        canvas[streaks()] = _STREAK
    blocks = canvas.reshape(SIDE, OVERSAMPLING, SIDE, OVERSAMPLING, 3)
    total = blocks.sum(axis=(1, 3), dtype=np.uint16)
    area = OVERSAMPLING * OVERSAMPLING
    rounded: Array = ((total + area // 2) // area).astype(np.uint8)
    return rounded


def picture(scene: Scene) -> Image:
    """The picture of a scene as a PIL image."""
    from PIL import Image

    return Image.fromarray(draw(scene))
