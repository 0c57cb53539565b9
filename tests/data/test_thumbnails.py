"""Thumbnails inside a report."""

from __future__ import annotations

import base64
import io
import random

import pytest
from PIL import Image

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
