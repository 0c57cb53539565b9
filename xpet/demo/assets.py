"""Paths and formats of the shipped assets; `xpet.demo.build` writes them, everything else reads them here."""

from __future__ import annotations

import bz2
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from xpet.core.errors import DataError, one_line
from xpet.demo import world
from xpet.demo.scenes import ObjectGroup, Scene

FOLDER = Path(__file__).parent / "assets"
TEXT_TOWER = FOLDER / "text"
IMAGE_TOWER = FOLDER / "image"
ENGLISH_TOWER = FOLDER / "english"
"""The mono-lingual English tower the others were distilled from."""
PACKAGES = FOLDER / "packages"
"""Argos packages that know this world's words only: every language to English and back."""
MANIFEST = FOLDER / "manifest.json"
COLUMNS = ("target", "to_pivot", "from_pivot")
"""Of the shipped files: natural caption, its translation to English, the English caption's translation from it."""


def captions_path(language: str, folder: Path = FOLDER) -> Path:
    """The compressed captions of one language: columns below each other, which packs better, an empty line between."""
    return folder / f"captions.{language}.txt.bz2"


def scenes_path(folder: Path = FOLDER) -> Path:
    """The compressed scenes, one JSON document a line: train, then validation, then test."""
    return folder / "scenes.jsonl.bz2"


def scene_line(scene: Scene) -> str:
    """A scene as one JSON line."""
    return json.dumps(asdict(scene), separators=(",", ":"))


@lru_cache(maxsize=1)
def scenes() -> tuple[Scene, ...]:
    """All shipped scenes; raises DataError where their file is not as it was installed."""
    lines = lines_of(installed_content(scenes_path()))
    return tuple(_scene(json.loads(line)) for line in lines)


def _scene(fields: dict[str, Any]) -> Scene:
    groups = tuple(ObjectGroup(**group) for group in fields["groups"])
    return Scene(groups, fields["layout"], fields["background"], fields["weather"], fields["jitter"])


def read_lines(path: Path) -> list[str]:
    """The lines of a compressed text file."""
    return lines_of(read_content(path))


def lines_of(content: bytes) -> list[str]:
    """The lines of a text."""
    return content.decode("utf-8").split("\n")[:-1]


def read_content(path: Path) -> bytes:
    """A file's content: of the text inside for compressed ones."""
    data = path.read_bytes()
    return bz2.decompress(data) if path.suffix == ".bz2" else data


def installed_content(path: Path) -> bytes:
    """Content of a shipped file; raises DataError for one that is missing, damaged, or not what the manifest says."""
    try:
        content = read_content(path)
        wanted = json.loads(MANIFEST.read_bytes())["content_sha256"][path.relative_to(FOLDER).as_posix()]
        if hashlib.sha256(content).hexdigest() != wanted:
            raise ValueError("other contents")
    except (OSError, EOFError, ValueError, KeyError) as error:
        problem = f"expected {path.name} as xpet came with it, found {one_line(error)}"
        raise DataError(f"demo file {path}: {problem}; install xpet again") from error
    return content


def columns_of(content: bytes) -> tuple[list[str], ...]:
    """The columns of a language's captions, COLUMNS; English has one text for all of them."""
    columns = [column.split("\n") for column in content.decode("utf-8").removesuffix("\n").split("\n\n")]
    return tuple(columns * 3 if len(columns) == 1 else columns)


def write_columns(path: Path, columns: Sequence[Sequence[str]]) -> None:
    """Write columns of captions compressed."""
    lines = [line for column in columns for line in ("", *column)]
    write_lines(path, lines[1:])


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines compressed, without a time stamp, so that equal lines give equal bytes."""
    data = "".join(line + "\n" for line in lines).encode("utf-8")
    path.write_bytes(bz2.compress(data))


def content_digest(path: Path) -> str:
    """SHA-256 of a file's content; of the text inside for compressed ones, whose bytes depend on the packer."""
    return hashlib.sha256(read_content(path)).hexdigest()


def split_ranges() -> dict[str, range]:
    """Which shipped scenes each split holds."""
    ranges, start = {}, 0
    for name, size in world.SPLITS.items():
        ranges[name] = range(start, start + size)
        start += size
    return ranges
