"""The demo world as a data set, behind the same reader protocol as real ones."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xpet.core.captions import PIVOT, Corpus, LanguageCaptions, ReadRequest, Split
from xpet.core.errors import ConfigError, DataError, unknown
from xpet.demo import assets, world
from xpet.demo.scenes import Scene

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURES_VERSION = "2"
"""Raise when `pictures.draw` changes, so that stored features of older drawings are not used."""


def read(request: ReadRequest) -> Corpus:
    """The demo corpus with its official splits.

    Raises ConfigError where a root or a variant is given, DataError for a language the world does not speak.
    """
    for flag, value in (("--data-root", request.root), ("--variant", request.variant)):
        if value is not None:
            raise ConfigError(f"{flag}: expected none with the demo data, found '{value}'; name a data set by --data")
    languages = request.languages or world.LANGUAGES
    wrong = [unknown("demo language", lang, world.LANGUAGES) for lang in languages if lang not in world.LANGUAGES]
    if wrong:
        raise DataError(*wrong)
    scenes = assets.scenes()
    needed = list(dict.fromkeys((PIVOT, *languages)))
    with ThreadPoolExecutor() as pool:  # unpacking does not hold the interpreter's lock
        contents = dict(
            zip(
                needed, pool.map(lambda lang: assets.installed_content(assets.captions_path(lang)), needed), strict=True
            )
        )
    columns = {lang: assets.columns_of(content) for lang, content in contents.items()}
    splits = {}
    for name, rows in assets.split_ranges().items():
        image_index = tuple(range(len(rows)))
        captions = {
            lang: LanguageCaptions(lang, image_index, _slots(lang, columns, rows))
            for lang in columns
            if lang in languages or lang == PIVOT
        }
        splits[name] = Split(tuple(_name(i) for i in rows), captions)
    digests = {f"captions.{lang}": hashlib.sha256(content).hexdigest() for lang, content in contents.items()}
    return Corpus("demo", splits, Pictures(dict(enumerate(scenes))), synthetic=True, fingerprints=digests)


def _slots(language: str, columns: Mapping[str, tuple[list[str], ...]], rows: range) -> dict[str, tuple[str, ...]]:
    part = slice(rows.start, rows.stop)
    english = tuple(columns[PIVOT][0][part])
    return {
        "pivot": english,
        **{name: tuple(c[part]) for name, c in zip(assets.COLUMNS, columns[language], strict=True)},
    }


def _name(number: int) -> str:
    return f"demo_{number:05d}"


@dataclass(frozen=True)
class Pictures:
    """Draws the demo's pictures on demand."""

    scenes: Mapping[int, Scene]

    def _scene(self, name: str) -> Scene:
        scene = self.scenes.get(int(name.removeprefix("demo_")))
        if scene is None:
            raise DataError(
                f"expected a picture of the demo world, demo_00000 ... demo_{len(self.scenes) - 1:05d}, found {name}"
            )
        return scene

    def digest(self, name: str) -> str:
        """Digest of what the picture shows and how it is drawn."""
        line = PICTURES_VERSION + assets.scene_line(self._scene(name))
        return hashlib.sha256(line.encode()).hexdigest()

    def open(self, name: str) -> Image:
        """The picture, 64 x 64 RGB."""
        from xpet.demo.pictures import picture

        return picture(self._scene(name))
