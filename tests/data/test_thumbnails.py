"""Thumbnails inside a report."""

from __future__ import annotations

import base64
import io
import random

import pytest
from PIL import Image

from xpet.core.errors import DataError
from xpet.data.thumbnails import thumbnail


def decoded(uri: str) -> tuple[str, Image.Image]:
    head, _, data = uri.partition(";base64,")
    return head, Image.open(io.BytesIO(base64.b64decode(data, validate=True)))


@pytest.mark.parametrize(("size", "expected"), [
    ((640, 480), (96, 72)), ((30, 200), (14, 96)), ((64, 50), (64, 50)), ((1, 1), (1, 1)), ((2000, 1), (96, 1)),
])  # fmt: skip
def test_no_side_is_longer_than_96_and_none_grows(size, expected):
    picture = Image.new("RGB", size, (9, 120, 40))
    head, small = decoded(thumbnail(picture))
    assert head in ("data:image/png", "data:image/jpeg")
    assert small.size == expected
    assert picture.size == size


def test_drawings_are_kept_exactly_and_photographs_are_small():
    drawing = Image.new("L", (40, 40), 200)
    head, small = decoded(thumbnail(drawing))
    assert (head, small.convert("RGB").getpixel((5, 5))) == ("data:image/png", (200, 200, 200))
    noise = Image.frombytes("RGB", (300, 300), random.Random(0).randbytes(300 * 300 * 3))
    uri = thumbnail(noise)
    assert uri.startswith("data:image/jpeg;base64,")
    assert len(uri) < 12_000


def test_a_thumbnail_shows_what_the_tower_sees():
    clear = Image.new("RGBA", (9, 9), (200, 0, 0, 0))
    _, small = decoded(thumbnail(clear))
    assert small.convert("RGB").getpixel((4, 4)) == (255, 255, 255)
    deep = Image.frombytes("I;16", (9, 9), (257 * 70).to_bytes(2, "little") * 81)
    _, small = decoded(thumbnail(deep))
    assert small.convert("RGB").getpixel((4, 4)) == (70, 70, 70)
    turned = Image.new("RGB", (20, 10), (1, 2, 3))
    turned.getexif()[0x0112] = 6
    _, small = decoded(thumbnail(turned))
    assert (small.size, turned.size) == ((10, 20), (20, 10))
    with pytest.raises(DataError, match="picture of a thumbnail: expected a readable picture, found pixels of mode F"):
        thumbnail(Image.new("F", (4, 4)))
