"""Pictures in folders."""

from __future__ import annotations

import hashlib
import random

import pytest

from xpet.core.errors import DataError
from xpet.data.images import FolderPictures, find_pictures


def test_folder_pictures(tmp_path, picture):
    picture(tmp_path / "two/a.png", (7, 8, 9))
    from PIL import Image

    Image.new("L", (3, 2), 5).save(tmp_path / "grey.png")
    pictures = FolderPictures((tmp_path / "one", tmp_path / "two", tmp_path))
    assert pictures.digest("a.png") == hashlib.sha256((tmp_path / "two/a.png").read_bytes()).hexdigest()
    grey = pictures.open("grey.png")
    assert (grey.mode, grey.size, grey.getpixel((0, 0))) == ("RGB", (3, 2), (5, 5, 5))
    assert pictures.path(str(tmp_path / "grey.png")) == tmp_path / "grey.png"


def test_damaged_and_missing_pictures(tmp_path, write):
    from PIL import Image

    noise = Image.frombytes("RGB", (64, 64), random.Random(0).randbytes(64 * 64 * 3))
    for name in ("cut.png", "cut.jpg"):
        noise.save(tmp_path / name)
        write(name, (tmp_path / name).read_bytes()[:-100])
    write("text.png", "not a picture")
    pictures = FolderPictures((tmp_path,))
    for name in ("cut.png", "cut.jpg", "text.png"):
        with pytest.raises(DataError, match=f"picture {name}: expected a readable picture, found"):
            pictures.open(name)
    with pytest.raises(DataError, match=r"picture x\.png: expected it in .*, found no such file"):
        pictures.digest("x.png")


def test_finding_all_some_and_none(tmp_path, picture):
    names = [f"{n}.png" for n in range(5)]
    problems: list[str] = []
    assert find_pictures([tmp_path], names, problems, {}) is None
    assert problems == []
    picture(tmp_path / "0.png", (0, 0, 0))
    find_pictures([tmp_path], names, problems, {})
    assert len(problems) == 1
    assert "found 4 missing: 1.png, 2.png, 3.png, ...; add them" in problems[0]
    assert find_pictures([tmp_path, tmp_path / "absent"], names[:1], problems, {}).folders == (tmp_path,)
    assert len(problems) == 1
