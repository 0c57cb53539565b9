"""A data set is one file and one name: one is added here and used by commands, and nothing else is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

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
COMMAND = """
import sys
import xpet.data
from xpet.core import choices
xpet.data.__path__.append(sys.argv[1])  # the file
choices.SOURCE_NAMES += ("lines",)  # the name
from xpet.cli.app import main
main(sys.argv[2:])
"""


def xpet(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", COMMAND, str(folder), *map(str, arguments)]
    environment = {**os.environ, "XPET_CACHE": str(folder / "cache")}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_a_data_set_is_a_file(world: World, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "lines.py").write_text(READER, encoding="utf-8")
    root = tmp_path / "data"
    root.mkdir()
    for name, column in (("images", "image"), ("en", "caption"), ("de", "caption")):
        lines = [row[column] for row in rows_of() if row["lang"] == ("de" if name == "de" else "en")]
        (root / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    data = ("--data", "lines", "--data-root", root)
    listed = xpet(tmp_path / "code", "eval", "--lint", *data, "--json")
    assert json.loads(listed.stdout)["errors"] == 0, listed.stderr
    features = ("--image-features", world.features, "--device", "cpu")
    run = (*data, *features, "--model", world.text, "--shots", 12, "--steps", 2, "--validate-every", 2)
    trained = xpet(tmp_path / "code", "align", "--lang", "de", "--routine", 1, *run, "-o", tmp_path / "run", "--json")
    assert trained.returncode == 0, trained.stderr
    measured = xpet(tmp_path / "code", "eval", tmp_path / "run", "--json")
    assert measured.returncode == 0, measured.stderr
    assert set(json.loads(measured.stdout)["systems"][0]["languages"]) == {"en", "de"}
    (root / "de.txt").unlink()
    gone = xpet(tmp_path / "code", "align", "--lang", "de", *run)
    assert "unknown language of lines 'de'" in gone.stderr
