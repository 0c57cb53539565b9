"""A data set is one file and one name: one is added here and used by commands, and nothing else is told."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.faults import child
from tests.jobs.conftest import World, rows_of, world  # noqa: F401

READER = '''
"""Captions in one file a language, a line an image; the images' names in images.txt."""

from xpet.core.captions import PIVOT, Corpus, ReadRequest, Split
from xpet.data.reading import aligned, choose_languages, data_root
from xpet.data.text_files import CaptionFiles


def read(request: ReadRequest) -> Corpus:
    root = data_root(request, "lines", "a folder of LANGUAGE.txt and images.txt")
    files = CaptionFiles(root)
    images = files.image_names(root / "images.txt")
    present = {path.stem for path in root.glob("*.txt")} - {"images"}
    languages = choose_languages(request, present, f"lines in {root}", files.problems)
    texts = {language: files.lines(root / f"{language}.txt", len(images)) for language in languages}
    files.check()
    captions = {
        language: aligned(language, range(len(images)), {"target": lines, "pivot": texts.get(PIVOT)})
        for language, lines in texts.items()
    }
    return Corpus("lines", {"all": Split(images, captions)}, fingerprints=files.fingerprints)
'''


def xpet(folder: Path, *commands: Sequence[object]) -> list[tuple[int, str, str]]:
    """The exit codes of commands, and what they say, where the data set is in a folder of code.

    They run in a fork of this process that imports xpet anew.
    """

    def answer() -> None:
        child.forget_xpet()
        importlib.import_module("xpet.data").__path__.append(str(folder))  # the file
        choices: Any = importlib.import_module("xpet.core.choices")
        choices.SOURCE_NAMES += ("lines",)  # the name
        run_here = importlib.import_module("tests.command").run_here
        for words in commands:
            done = run_here(*map(str, words))
            print(json.dumps([done.returncode, done.stdout.decode(), done.stderr.decode()]))  # noqa: T201

    ended = child.apart(answer, folder, folder / "notes")
    assert (ended.code, ended.told) == (0, "")
    return [tuple(json.loads(line)) for line in ended.out.splitlines()]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a fork of this process")
def test_a_data_set_is_a_file(world: World, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "lines.py").write_text(READER, encoding="utf-8")
    root, other = tmp_path / "data", tmp_path / "without de"
    for folder in (root, other):
        folder.mkdir()
    for name, column in (("images", "image"), ("en", "caption"), ("de", "caption")):
        lines = [row[column] for row in rows_of() if row["lang"] == ("de" if name == "de" else "en")]
        for folder in (root, other):
            (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    (other / "de.txt").unlink()
    data = ("--data", "lines", "--data-root", root)
    features = ("--image-features", world.features, "--device", "cpu")
    run = (*features, "--model", world.text, "--shots", 12, "--steps", 2, "--validate-every", 2, "--lang", "de")
    listed, trained, measured, gone = xpet(
        tmp_path / "code",
        ("eval", "--lint", *data, "--json"),
        ("align", "--routine", 1, *run, *data, "-o", tmp_path / "run", "--json"),
        ("eval", tmp_path / "run", "--json"),
        ("align", *run, "--data", "lines", "--data-root", other),
    )
    assert json.loads(listed[1])["errors"] == 0, listed[2]
    assert trained[0] == 0, trained[2]
    assert measured[0] == 0, measured[2]
    assert set(json.loads(measured[1])["systems"][0]["languages"]) == {"en", "de"}
    assert "unknown language of lines 'de'" in gone[2]
