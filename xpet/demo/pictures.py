"""Draws a scene into a 64x64 picture with plain array arithmetic: the same bytes on every machine."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from xpet.demo.scenes import ObjectGroup, Scene

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 64
_OVERSAMPLING = 2
_CANVAS = SIDE * _OVERSAMPLING
Array = np.ndarray

RGB = {
    "red": (214, 40, 40), "green": (44, 160, 60), "blue": (40, 84, 214), "yellow": (246, 214, 50),
    "black": (30, 30, 34), "white": (250, 250, 250), "orange": (250, 140, 20), "purple": (140, 50, 170),
}  # fmt: skip
_SKY_AND_GROUND = {
    "meadow": ((176, 216, 240), (120, 190, 100)),
    "beach": ((120, 200, 226), (236, 218, 160)),
    "snow": ((206, 216, 230), (240, 244, 250)),
    "night": ((24, 26, 66), (54, 56, 84)),
    "wall": ((196, 120, 100), (176, 102, 84)),
}
_OUTLINE = (70, 70, 76)
_RADIUS = {"small": 8.5, "large": 15.0}
_CENTRES = {
    "single": ((32.0, 34.0),),
    "row": ((16.5, 33.0), (47.5, 33.0)),
    "column": ((32.0, 16.5), (32.0, 47.5)),
    "triangle": ((15.5, 16.5), (48.5, 16.5), (32.0, 47.0)),
}
_OFFSETS = {1: ((0.0, 0.0),), 2: ((-7.0, 2.0), (7.0, -2.0)), 3: ((-7.5, 5.0), (7.5, 5.0), (0.0, -7.0))}


@dataclass(frozen=True)
class Shape:
    """Masks over unit coordinates (x to the right, y down, both about -1..1): the coloured body and dark details."""

    body: Callable[[Array, Array], Array]
    detail: Callable[[Array, Array], Array] | None = None


def _disc(x: Array, y: Array, cx: float, cy: float, r: float) -> Array:
    return (x - cx) ** 2 + (y - cy) ** 2 <= r * r


def _rect(x: Array, y: Array, x0: float, y0: float, x1: float, y1: float) -> Array:
    return (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)


def _triangle(x: Array, y: Array, top: float, base: float, half: float) -> Array:
    """Isosceles, tip up at y=top, base of half width `half` at y=base."""
    return (y >= top) & (y <= base) & (np.abs(x) <= half * (y - top) / (base - top))


def _star(x: Array, y: Array) -> Array:
    angle, radius = np.arctan2(x, -y), np.hypot(x, y)
    sector = np.abs((angle / (2 * np.pi / 5)) % 1.0 - 0.5) * 2  # 1 at a tip, 0 between tips
    return radius <= 0.42 + 0.58 * sector**1.6


def _heart(x: Array, y: Array) -> Array:
    u, v = 1.2 * x, -1.2 * y + 0.15
    return (u * u + v * v - 0.75) ** 3 - u * u * v**3 <= 0


SHAPES: dict[str, Shape] = {
    "ball": Shape(lambda x, y: _disc(x, y, 0, 0, 0.9), lambda x, y: _disc(x, y, 0, 0, 0.9) & (np.abs(np.hypot(x + 1.1, y) - 1.1) < 0.09)),
    "box": Shape(
        lambda x, y: _rect(x, y, -0.85, -0.85, 0.85, 0.85),
        lambda x, y: _rect(x, y, -0.85, -0.85, 0.85, 0.85) & ((np.abs(x) < 0.09) | (np.abs(y + 0.2) < 0.09)),
    ),
    "star": Shape(_star),
    "tree": Shape(
        lambda x, y: _triangle(x, y, -1, 0.1, 0.65) | _triangle(x, y, -0.5, 0.65, 0.85),
        lambda x, y: _rect(x, y, -0.16, 0.65, 0.16, 1),
    ),
    "house": Shape(
        lambda x, y: _triangle(x, y, -1, -0.1, 1) | _rect(x, y, -0.75, -0.1, 0.75, 0.95),
        lambda x, y: _rect(x, y, -0.2, 0.3, 0.2, 0.95),
    ),
    "car": Shape(
        lambda x, y: _rect(x, y, -1, -0.05, 1, 0.5) | _rect(x, y, -0.55, -0.5, 0.5, 0),
        lambda x, y: _disc(x, y, -0.55, 0.5, 0.27) | _disc(x, y, 0.55, 0.5, 0.27),
    ),
    "boat": Shape(
        lambda x, y: ((y >= 0.35) & (y <= 0.85) & (np.abs(x) <= 1.35 - y)) | ((x >= 0.05) & _triangle(x, y, -1, 0.2, 0.8)),
        lambda x, y: _rect(x, y, -0.1, -1, 0.04, 0.35),
    ),
    "fish": Shape(
        lambda x, y: ((x + 0.2) ** 2 / 0.6 + y**2 / 0.25 <= 1) | ((x >= 0.4) & (x <= 1) & (np.abs(y) <= x - 0.35)),
        lambda x, y: _disc(x, y, -0.6, -0.12, 0.12),
    ),
    "flower": Shape(
        lambda x, y: (np.hypot(x, y + 0.35) <= 0.42 + 0.2 * np.cos(5 * np.arctan2(x, -(y + 0.35)))),
        lambda x, y: _rect(x, y, -0.07, 0.15, 0.07, 1) | _disc(x, y, 0, -0.35, 0.17),
    ),
    "cup": Shape(
        lambda x, y: _rect(x, y, -0.75, -0.6, 0.45, 0.75) | (np.abs(np.hypot(x - 0.5, y - 0.05) - 0.38) < 0.11),
        lambda x, y: _rect(x, y, -0.75, -0.6, 0.45, -0.42),
    ),
    "heart": Shape(_heart),
    "moon": Shape(lambda x, y: _disc(x, y, 0, 0, 0.95) & ~_disc(x, y, 0.5, -0.15, 0.8)),
    "mushroom": Shape(
        lambda x, y: (y <= 0.05) & (x**2 / 0.9 + (y - 0.05) ** 2 / 0.85 <= 1),
        lambda x, y: _rect(x, y, -0.24, 0.05, 0.24, 0.95),
    ),
    "umbrella": Shape(
        lambda x, y: (y <= -0.1) & (x**2 + (y + 0.1) ** 2 / 0.7 <= 1) & ~_disc(x, y, -0.5, 0.1, 0.35) & ~_disc(x, y, 0.5, 0.1, 0.35),
        lambda x, y: _rect(x, y, -0.06, -0.2, 0.06, 0.85) | _rect(x, y, -0.3, 0.8, 0.06, 0.95),
    ),
    "bottle": Shape(
        lambda x, y: _rect(x, y, -0.4, -0.2, 0.4, 1) | _triangle(x, y, -0.75, -0.2, 0.4) | _rect(x, y, -0.15, -0.8, 0.15, -0.2),
        lambda x, y: _rect(x, y, -0.17, -1, 0.17, -0.8) | _rect(x, y, -0.4, 0.25, 0.4, 0.5),
    ),
    "hat": Shape(
        lambda x, y: _rect(x, y, -0.55, -0.75, 0.55, 0.4) | _rect(x, y, -1, 0.4, 1, 0.65),
        lambda x, y: _rect(x, y, -0.55, 0.15, 0.55, 0.4),
    ),
}  # fmt: skip


@lru_cache(maxsize=1)
def _grid() -> tuple[Array, Array]:
    axis = (np.arange(_CANVAS) + 0.5) / _OVERSAMPLING
    x, y = np.meshgrid(axis, axis)
    return x, y


@lru_cache(maxsize=8)
def _backdrop(background: str) -> Array:
    sky, ground = _SKY_AND_GROUND[background]
    x, y = _grid()
    canvas = np.where((y < 36)[..., None], np.array(sky, float), np.array(ground, float))
    if background == "wall":
        joints = (y % 8 < 0.9) | (((x + 8 * (np.floor(y / 8) % 2)) % 16) < 0.9)
        canvas[joints] = (214, 190, 176)
    if background == "night":
        for cx, cy in ((6, 5), (21, 13), (35, 4), (50, 10), (59, 22), (12, 26), (44, 29), (28, 23)):
            canvas[_disc(x, y, cx, cy, 0.9)] = (250, 240, 200)
    return canvas


def _stamp(canvas: Array, group: ObjectGroup, centre: tuple[float, float], radius: float) -> None:
    """Draw one thing into its window of the canvas, outlined by one (oversampled) pixel."""
    window = tuple(
        slice(max(0, int((c - 1.4 * radius) * _OVERSAMPLING)), max(0, int((c + 1.4 * radius) * _OVERSAMPLING)))
        for c in reversed(centre)
    )
    x, y = (axis[window] for axis in _grid())
    u, v = (x - centre[0]) / radius, (y - centre[1]) / radius
    shape = SHAPES[group.kind]
    body = shape.body(u, v)
    detail = shape.detail(u, v) if shape.detail else np.zeros_like(body)
    whole = np.pad(body | detail, 1)
    rim = whole[:-2, 1:-1] | whole[2:, 1:-1] | whole[1:-1, :-2] | whole[1:-1, 2:]
    patch = canvas[window]
    patch[rim] = _OUTLINE
    patch[body] = RGB[group.colour]
    patch[detail] = _OUTLINE if group.colour != "black" else (150, 150, 156)


def draw(scene: Scene) -> Array:
    """The picture of a scene: uint8 array of shape [64, 64, 3] (row, column, RGB)."""
    rng = random.Random(scene.jitter)
    canvas = _backdrop(scene.background).copy()
    for group, (cx, cy) in zip(scene.groups, _CENTRES[scene.layout], strict=True):
        centre = (cx + rng.uniform(-2.5, 2.5), cy + rng.uniform(-2.5, 2.5))
        radius = _RADIUS[group.size or "small"] * rng.uniform(0.93, 1.07)
        for dx, dy in _OFFSETS[group.count]:
            scale = 1.0 if group.count == 1 else 0.8
            _stamp(canvas, group, (centre[0] + dx, centre[1] + dy), radius * scale)
    blocks = canvas.reshape(SIDE, _OVERSAMPLING, SIDE, _OVERSAMPLING, 3)
    return np.floor(blocks.mean(axis=(1, 3)) + 0.5).astype(np.uint8)


def picture(scene: Scene) -> Image:
    """The picture of a scene as a PIL image."""
    from PIL import Image

    return Image.fromarray(draw(scene))
