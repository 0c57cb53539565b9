"""Files of machine-translated captions, which `xpet translate --data` writes and `align` and `eval` find.

A file holds one slot of one language in one split, a JSON object a line: a header, then each caption's source,
translation and flags, in the order of the captions. Its name holds a digest of the sources, so that a data set that
changed does not find translations of its old captions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xpet.core.captions import PIVOT, TRANSLATED, Corpus
from xpet.core.errors import DataError, one_line
from xpet.core.files import replacing_file, writing
from xpet.core.json_files import parsed
from xpet.core.paths import cache_folder
from xpet.core.regular_files import read_text

SCHEMA = 1


def default_folder() -> Path:
    """The folder where translations are written and looked for unless another is named."""
    return cache_folder() / "translations"


@dataclass(frozen=True)
class CaptionColumn:
    """One slot of one language in one split, with the texts it is translated from."""

    data: str
    split: str
    language: str
    slot: str
    sources: tuple[str, ...]

    @property
    def pair(self) -> tuple[str, str]:
        """The languages translated from and to, as (from, to)."""
        return (self.language, PIVOT) if self.slot == "to_pivot" else (PIVOT, self.language)

    @property
    def name(self) -> str:
        """Name of the column's file."""
        content = json.dumps([*self.pair, self.sources]).encode()
        return f"{self.data}-{self.split}.{self.language}.{self.slot}.{hashlib.sha256(content).hexdigest()[:12]}.jsonl"


@dataclass(frozen=True)
class Translation:
    """The translations of a column: texts row by row, flags by row, and facts about how they were made."""

    texts: tuple[str, ...]
    flags: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    made_by: Mapping[str, Any] = field(default_factory=dict)


def caption_columns(corpus: Corpus, languages: Sequence[str], slots: Sequence[str]) -> Iterator[CaptionColumn]:
    """The columns of a corpus that could be translated: those whose sources are there."""
    for language in languages:
        for name, split in corpus.splits.items():
            captions = split.captions.get(language)
            if captions is None or language == PIVOT or not captions.image_index:
                continue
            for slot in slots:
                if TRANSLATED[slot] in captions.texts:
                    yield CaptionColumn(corpus.name, name, language, slot, captions.slot(TRANSLATED[slot]))


def write_translation(folder: Path, column: CaptionColumn, translation: Translation) -> Path:
    """Write a column's file, in place of an earlier one; raises OutputError."""
    header = {
        "xpet": "translations", "schema": SCHEMA, "data": column.data, "split": column.split, "slot": column.slot,
        "from": column.pair[0], "to": column.pair[1], "rows": len(column.sources), **translation.made_by,
    }  # fmt: skip
    path = folder / column.name
    with writing(f"the translations folder {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    with replacing_file(path, "what is translated is kept in the cache: free space and run the same again") as file:
        file.write((json.dumps(header, ensure_ascii=False) + "\n").encode("utf-8"))
        for row, (source, text) in enumerate(zip(column.sources, translation.texts, strict=True)):
            line: dict[str, Any] = {"source": source, "translation": text}
            if row in translation.flags:
                line["flags"] = translation.flags[row]
            file.write((json.dumps(line, ensure_ascii=False) + "\n").encode("utf-8"))
    return path


def read_translation(folder: Path, column: CaptionColumn) -> Translation | None:
    """A column's translation; None where there is no file. Raises DataError for a damaged one."""
    path = folder / column.name
    if not path.is_file():
        return None
    try:
        header, *lines = [parsed(line) for line in read_text(path).split("\n")[:-1]]
        if header["xpet"] != "translations" or header["schema"] != SCHEMA:
            raise ValueError(f"schema {one_line(repr(header.get('schema')))}")
        if tuple(line["source"] for line in lines) != column.sources:
            raise ValueError(f"{len(lines)} other sources than the {len(column.sources)} captions of the data")
        texts = tuple(line["translation"] for line in lines)
        "".join(text for text in texts if isinstance(text, str)).encode()  # raises ValueError for half a surrogate pair
        flags = {row: tuple(line["flags"]) for row, line in enumerate(lines) if line.get("flags")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: expected translations as `xpet translate --data` writes them, found a damaged file ({error}); "
            "remove it and translate again"
        ) from error
    if not all(isinstance(text, str) for text in texts):
        raise DataError(f"{path}: expected texts as translations, found something else; remove it and translate again")
    return Translation(texts, flags, {k: v for k, v in header.items() if k not in ("xpet", "schema")})


def argos_codes(column: CaptionColumn) -> tuple[str, str]:
    """Argos' codes of a column's languages."""
    from xpet.core.argos_codes import argos_code

    source, target = column.pair
    return argos_code(source), argos_code(target)
