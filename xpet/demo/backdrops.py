"""The places of the demo world and their weather, in the drawing language of the shapes with colours as tones."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from xpet.demo.shapes import Array, mask, strokes

SIDE = 64
OVERSAMPLING = 2
_CANVAS = SIDE * OVERSAMPLING


def _many(stroke: str, *places: tuple[float, ...]) -> str:
    """A stroke with "{0}", "{1}" ... filled in for each place."""
    return ";".join(stroke.format(*place) for place in places)


def _points(text: str) -> list[tuple[float, ...]]:
    """Places from "x y, x y, ..."."""
    return [tuple(float(number) for number in place.split()) for place in text.split(",")]


def _moved(stroke: str, places: str) -> str:
    """A drawing of lines and polygons with one tone, moved to each place."""
    tone, shape, *numbers = stroke.split()
    width, points = ([numbers[0]], numbers[1:]) if shape == "l" else ([], numbers)
    drawings = []
    for place in _points(places):
        moved = [str(float(number) + place[index % 2]) for index, number in enumerate(points)]
        drawings.append(" ".join([tone, shape, *width, *moved]))
    return ";".join(drawings)


_TUFTS = "4 40, 15 46, 27 39, 38 47, 50 41, 60 48, 8 55, 21 60, 33 54, 45 61, 57 56, 30 62, 2 62"
_WAVE = "l .5 0 0 2 -1.2 4 0 6 1.2 8 0"
_CLOUDS = "{0} o 12 12 7 3.6; {0} o 17 9 5 4; {0} o 48 20 8 4; {0} o 43 17 5 4"

PLACES = {
    "meadow": "b9dcf0 r 0 0 64 64; 8fc57c o 14 40 30 9; 9dce88 r 0 37 64 64; a6d592 o 52 42 24 7;"
    + _moved("74ae60 l .45 -2 -2.5 0 1.5 0 -3.5 0 1.5 2 -2.5", _TUFTS),
    "beach": "c3e5f3 r 0 0 64 64; 78bfd8 r 0 20 64 40; a3d7e6 r 0 20 64 22;"
    " f0dfb4 p 0 41 16 38 36 42 64 37 64 64 0 64;"
    "fafcfa l .8 0 40 16 37.5 36 41.5 64 36.5;" + _many("d9c48f o {0} {1} .8",
        *_points("6 50, 18 58, 30 48, 42 56, 54 47, 60 60, 12 62, 36 62")),
    "wall": "cf9f8e r 0 0 64 64;"
    + _many("e9d9cd r 0 {0} 64 {1}", *((y, y + 1) for y in range(0, 64, 8)))
    + ";" + _many("e9d9cd r {0} {1} {2} {3}", *((x + 8 * (y // 8 % 2), y, x + 1 + 8 * (y // 8 % 2),
        y + 8) for y in range(0, 64, 8) for x in range(0, 64, 16))),
    "forest": "b4cdbd r 0 0 64 64; 7d9a6c r 0 46 64 64;"
    + _moved("7a604c r 0 0 3.2 30", "10 22, 28 24, 44 20, 60 24")
    + ";" + _moved("6c9a78 p 0 0 8 18 -8 18", "3 8, 20 4, 36 8, 53 3") + ";" + _moved("5f8d6c p 0 0 10 22 -10 22",
        "3 18, 20 15, 36 19, 53 14")
    + ";" + _moved("7a604c p -1.5 0 1.5 0 1.5 12 -1.5 12", "3 39, 20 36, 36 40, 53 35"),
    "snow": "cbd8e8 r 0 0 64 64; e2e9f2 o 16 40 30 10; f4f7fb r 0 38 64 64; ffffff o 50 42 26 8;"
    " dfe7f1 l .5 4 52 14 50 24 52; dfe7f1 l .5 36 58 46 56 58 58;"
    + _many("ffffff o {0} {1} 1.1", *_points("5 6, 18 12, 30 5, 42 14, 55 7, 10 22, 24 26, 37 21, 50 27, 61 20")),
    "room": "ecdcc6 r 0 0 64 64;" + _many("e2cdb2 r {0} 0 {1} 47", *((x, x + 3) for x in range(1, 64, 8)))
    + "; b98f68 r 0 47 64 64; a27a56 r 0 47 64 48.2; a98059 r 0 53 64 53.7; a98059 r 0 59 64 59.7;"
    " 8c6a4c r 40 4 60 26; c4e2f0 r 42 6 58 24; 8c6a4c r 49.2 4 50.8 26; 8c6a4c r 40 14.3 60 15.7",
    "city": "cdd4e0 r 0 0 64 64; 9aa3b5 r 2 18 14 52; 868fa4 r 14 8 25 52; 9ea7b8 r 25 24 37 52;"
    " 8a93a8 r 37 12 48 52; 9aa3b5 r 48 20 62 52; 808080 r 0 52 64 64; b4b4b4 r 0 50 64 52;"
    + _many("f2e4a4 r {0} {1} {2} {3}", *((x, y, x + 2, y + 2.4) for x, top in ((4, 21), (9, 21), (16, 11), (20.5,
        11), (27.5, 27), (32.5, 27), (39, 15), (43.5, 15), (51, 23), (56.5, 23)) for y in range(top, 47, 6))),
    "sea": "cfe6f2 r 0 0 64 64; 6aaed0 r 0 14 64 64; 7fbcd9 r 0 14 64 26;" + _moved("b5dcec " + _WAVE,
        "4 20, 30 22, 50 19, 14 29, 40 31, 1 38, 26 40, 52 38, 12 48, 38 50, 3 57, 28 59, 54 57"),
    "road": "c9dfee r 0 0 64 64; a9c79b r 0 24 64 64; 98989e p 26 24 38 24 60 64 4 64;"
    " e8e8e4 p 31.5 27 32.5 27 32.8 32 31.2 32; e8e8e4 p 31 36 33 36 33.4 44 30.6 44;"
    " e8e8e4 p 30.4 49 33.6 49 34.2 60 29.8 60;"
    "e8e8e4 l .5 25 24 2 64; e8e8e4 l .5 39 24 62 64",
    "garden": "c3e3f2 r 0 0 64 64; 9fd089 r 0 40 64 64; 7fb26e o 10 24 12 9; 7fb26e o 34 25 14 8;"
    " 7fb26e o 58 23 12 10; f3f0ea r 0 27 64 29.5; f3f0ea r 0 38 64 40.5;"
    + _moved("f8f6f0 p -2 46 -2 22 0 19 2 22 2 46", "4 0, 12 0, 20 0, 28 0, 36 0, 44 0, 52 0, 60 0") + ";"
    "" + _many("e58aa0 o {0} {1} 1.4", *_points("6 54, 18 60, 30 53, 42 60, 54 54"))
    + ";" + _many("f0d870 o {0} {1} 1.4", *_points("12 58, 24 55, 36 58, 48 55, 60 61")),
    "mountains": "cbe0ee r 0 0 64 64; a4b2c4 p -6 44 12 12 32 44; 94a4b8 p 14 44 38 5 62 44;"
    " a4b2c4 p 42 44 58 16 74 44; f4f7fa p 38 5 43.5 14 40 13 38 16 35.5 13 32.5 14;"
    " f4f7fa p 12 12 16 19 12.5 18 10 21 8 19;"
    "f4f7fa p 58 16 61.5 22 58 21 54.5 22; a8bf96 r 0 44 64 64; 9bb48a o 20 48 20 4",
    "sky": "9fcdee r 0 0 64 64; b4d8f2 r 0 34 64 64;" + _CLOUDS.format("f6fafd") + "; f6fafd o 16 42 8 3.6;"
    " f6fafd o 21 39 5 4; f6fafd o 50 55 8 4; f6fafd o 44 53 5 4; f6fafd o 33 30 5 2",
    "desert": "f6e8c8 r 0 0 64 64; e6c890 o 12 44 34 16; ecd29c o 54 46 32 14; deba7c r 0 50 64 64;"
    " e8ca90 o 26 60 40 12; d0aa6c l .6 4 40 14 36 26 38; d0aa6c l .6 38 44 50 41 60 44;"
    " d0aa6c l .6 10 56 26 53 42 56",
    "field": "d2e5ee r 0 0 64 64; e6cd7c r 0 26 64 64;" + _many("c9a94e l {2} {0} 26 {1} 64", *((32 + k * 5,
        32 + k * 13, 0.7) for k in range(-6, 7)))
    + ";" + _moved("b8963c l .4 0 3 0 0 -1.2 -1.5 0 0 1.2 -1.5", "4 26, 10 26, 16 26, 22 26, 28 26, 34 26, 40 26, 46 "
    "26, 52 26, 58 26"),
    "cave": "8d857e r 0 0 64 64; 7c746e p 0 0 14 0 8 20 12 40 4 64 0 64; 7c746e p 64 0 50 0 56 22 52 44 60 64 64 64;"
    " 585258 o 32 38 24 30; 4c464e o 32 42 19 24;"
    "8d857e p 18 6 24 6 21 22; 8d857e p 29 4 35 4 32 16; 8d857e p 40 6 46 6 43 20; 9c948c p 0 56 64 56 64 64 0 64;"
    " 8d857e p 14 56 20 56 17 48; 8d857e p 44 56 50 56 47 46",
    "stage": "e4d3c0 r 0 0 64 64; c89c6c r 0 46 64 64; b4885a r 0 46 64 47; b88c5e r 0 52 64 52.6;"
    " b88c5e r 0 58 64 58.6; c25a5a p 0 0 12 0 10 24 7 40 9 52 0 52; c25a5a p 64 0 52 0 54 24 57 40 55 52 64 52;"
    "a84848 l .6 4 8 3 52; a84848 l .6 8 8 6 40; a84848 l .6 60 8 61 52; a84848 l .6 56 8 58 40; c25a5a r 0 0 64 6;"
    "" + _many("c25a5a o {0} 6 5.3 3.5", *((x,) for x in (5, 16, 27, 37, 48, 59))),
}  # fmt: skip
_SKY_MARKS = {
    "night": _many("fff4c8 o {0} {1} .9", *_points("6 5, 21 12, 35 4, 50 9, 59 22, 3 27, 44 26, 28 21, 13 18, 61 "
    "4")) + ";"
    + _moved("fff4c8 p 0 -2 .5 -.5 2 0 .5 .5 0 2 -.5 .5 -2 0 -.5 -.5", "12 8, 42 14, 57 13, 31 13"),
    "rain": "aab2bc o 10 4 12 5; aab2bc o 34 3 14 5; aab2bc o 56 4 12 5",
    "sunshine": "; ".join(f"ffd83c l .8 {55 + 8.5 * x} {9 + 8.5 * y} {55 + 13 * x} {9 + 13 * y}" for x, y in
        ((1, 0), (.87, .5), (.5, .87), (0, 1), (-.5, .87), (-.87, .5), (-1, 0), (-.87, -.5), (-.5, -.87)))
    + "; f0b020 o 55 9 7; ffe04a o 55 9 6.2",
    "rainbow": "; ".join(f"{colour} c 32 46 {radius} .95 -5 0 70 44" for colour, radius in
        (("e2605c", 40), ("f0a04c", 38.2), ("f2de6a", 36.4), ("74c47a", 34.6), ("64a0e0", 32.8), ("a078cc", 31))),
    "storm": "4c505e o 8 3 14 8; 555a68 o 30 3 15 8; 4c505e o 54 3 15 8;"
    " ffe23a p 31 9 36 9 33 15 37 15 28 27 31 18 27 18; ffe23a p 57 9 62 9 59 15 63 15 55 27 57 18 53 18;"
    " ffe23a p 5 9 10 9 7 15 11 15 2 27 5 18 1 18",
    "sunset": "",
}  # fmt: skip
_STREAKS = ";".join(f"l .4 {x + 2.2} {y} {x} {y + 5}" for x, y in (
    (4, 3), (18, 7), (31, 2), (45, 8), (58, 3), (10, 16), (25, 19), (38, 15), (52, 20), (3, 28), (17, 31), (31, 28),
    (46, 32), (60, 28),
    (9, 42), (24, 44), (38, 41), (53, 45), (3, 55), (16, 57), (31, 54), (45, 57), (59, 55)))  # fmt: skip


def _grid() -> tuple[Array, Array]:
    axis = (np.arange(_CANVAS) + 0.5) / OVERSAMPLING
    return axis, axis[:, None]


def _paint(canvas: Array, drawing: str) -> None:
    x, y = _grid()
    for colour, shape, numbers in strokes(drawing):
        canvas[mask(x, y, shape, numbers)] = tuple(bytes.fromhex(colour))


def _tinted(canvas: Array, keep: float | Array, tint: tuple[int, int, int]) -> Array:
    """The canvas mixed with a colour."""
    return np.floor(canvas * keep + np.array(tint) * (1 - keep) + 0.5).astype(np.uint8)


@lru_cache(maxsize=128)
def backdrop(background: str, weather: str | None) -> Array:
    """The place with its weather, uint8 [canvas, canvas, 3]; do not write into it."""
    canvas = np.zeros((_CANVAS, _CANVAS, 3), np.uint8)
    _paint(canvas, PLACES[background])
    if weather == "sunset":
        keep = np.clip(np.arange(_CANVAS) / _CANVAS * 0.8 + 0.3, 0, 1)[:, None, None]
        canvas = _tinted(_tinted(canvas, np.maximum(keep, 0.75), (255, 190, 70)), keep, (236, 92, 50))
    elif weather in ("night", "rain", "storm"):
        tints = {"night": (0.4, (12, 14, 62)), "rain": (0.55, (126, 136, 150)), "storm": (0.45, (62, 66, 84))}
        canvas = _tinted(canvas, *tints[weather])
    _paint(canvas, _SKY_MARKS[weather] if weather else "")
    return canvas


@lru_cache(maxsize=1)
def streaks() -> Array:
    """Where rain falls before everything, bool [canvas, canvas]."""
    x, y = _grid()
    wet = np.zeros((_CANVAS, _CANVAS), bool)
    for stroke in _STREAKS.split(";"):
        shape, *numbers = stroke.split()
        wet |= mask(x, y, shape, [float(number) for number in numbers])
    return wet
