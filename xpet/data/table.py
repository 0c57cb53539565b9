"""A user's own table: CSV, TSV, JSON lines or Parquet with columns image, lang, caption.

Optional columns: `to_pivot`, `from_pivot` (translations) and `split` (train, validation, test; without it there is one
split, `all`). An image may have several captions in a language. Images are paths, relative to the table's folder.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from xpet.core.captions import PIVOT, Corpus, ReadRequest, Split
from xpet.core.errors import ConfigError, DataError
from xpet.core.languages import normalise
from xpet.data.images import find_pictures
from xpet.data.reading import aligned, choose_languages, data_root
from xpet.data.records import Records, delimited, json_objects, parquet_rows
from xpet.data.text_files import CaptionFiles, decode_lines, raise_problems

REQUIRED = ("image", "lang", "caption")
TRANSLATIONS = ("from_pivot", "to_pivot")
SPLITS = {"train": "train", "validation": "validation", "val": "validation", "dev": "validation", "test": "test"}

WHOLE = "all"


@dataclass(frozen=True)
class Row:
    """One checked caption; translations are None where absent."""

    image: str
    language: str
    caption: str
    split: str
    translations: Mapping[str, str | None]


def read(request: ReadRequest) -> Corpus:
    """The corpus of a table file (`request.root`).

    The pivot of the k-th caption of an image in a language is the image's k-th English caption (counted round).
    Slots exist for a language only when every row of it has them.

    Raises:
        ConfigError: no file given, a variant is asked for, or an ending that is not known.
        DataError: wrong columns, bad UTF-8, incomplete rows, absent languages, missing pictures, all at once.
    """
    if request.variant is not None:
        raise ConfigError(f"data set table: expected no variant, found '{request.variant}'")
    path = data_root(request, "table", "the file of the table")
    files = CaptionFiles(path.parent)
    rows = _checked(path, files)
    problems: list[str] = []
    languages = choose_languages(request, {row.language for row in rows}, str(path), problems)
    names = list(dict.fromkeys(row.split for row in rows))
    splits = {name: _split([row for row in rows if row.split == name], languages) for name in names}
    problems += [
        f"{path.name}: expected captions of {language} in split {name}, found none"
        for name, split in splits.items()
        for language in languages
        if language not in split.captions
    ]
    images = [image for split in splits.values() for image in split.images]
    pictures = find_pictures([path.parent], images, problems)
    raise_problems(problems)
    return Corpus(path.stem, splits, pictures, fingerprints=files.fingerprints)


def _checked(path: Path, files: CaptionFiles) -> list[Row]:
    """The rows of the file; raises DataError of everything wrong in it."""
    ending = Path(path.name.removesuffix(".gz")).suffix.lower()
    if ending not in FORMATS:
        raise ConfigError(f"table {path}: expected one of {', '.join(FORMATS)}, found '{ending}'")
    data = files.contents(path)
    files.check()
    rows: list[Row] = []
    home: dict[str, str] = {}
    where = "row" if ending == ".parquet" else "line"
    for number, fields in FORMATS[ending](path.name, data):
        place = f"{path.name} {where} {number}"
        wrong = _wrong(fields)
        files.problems += [f"{place}: {text}" for text in wrong]
        if wrong:
            continue
        row = _row(fields)
        if home.setdefault(row.image, row.split) != row.split:
            files.problems.append(f"{place}: image {row.image} is in split {home[row.image]} and in {row.split}")
        rows.append(row)
    if WHOLE in home.values() and len(set(home.values())) > 1:
        files.problems.append(f"{path.name}: expected a split in every row or in none, found both")
    files.check()
    return rows


def _wrong(fields: Mapping[str, Any]) -> list[str]:
    wrong = [f"expected text in column {c}, found {fields.get(c)!r}" for c in REQUIRED if not _is_text(fields.get(c))]
    wrong += [f"expected an {c}, found nothing" for c in ("image", "lang") if str(fields.get(c)).strip() == ""]
    for column in TRANSLATIONS:
        if fields.get(column) is not None and not _is_text(fields[column]):
            wrong.append(f"expected text in column {column}, found {fields[column]!r}")
    if "split" in fields and not (_is_text(fields["split"]) and fields["split"] in SPLITS):
        wrong.append(f"expected split train, validation or test, found {fields['split']!r}")
    if None in fields:
        wrong.append("expected as many fields as the header has, found more")
    return wrong


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _row(fields: Mapping[str, Any]) -> Row:
    split = SPLITS[fields["split"]] if "split" in fields else WHOLE
    translations = {column: fields.get(column) or None for column in TRANSLATIONS}
    return Row(fields["image"], normalise(fields["lang"]), fields["caption"], split, translations)


def _split(rows: list[Row], languages: tuple[str, ...]) -> Split:
    images = tuple(dict.fromkeys(row.image for row in rows))
    place = {image: index for index, image in enumerate(images)}
    english: dict[str, list[str]] = {}
    for row in rows:
        if row.language == PIVOT:
            english.setdefault(row.image, []).append(row.caption)
    captions = {}
    for language in languages:
        mine = [row for row in rows if row.language == language]
        if mine:
            texts: dict[str, Any] = {column: _complete(mine, column) for column in TRANSLATIONS}
            texts |= {"target": [row.caption for row in mine], "pivot": _pivots(mine, english)}
            captions[language] = aligned(language, [place[row.image] for row in mine], texts)
    return Split(images, captions)


def _complete(rows: list[Row], column: str) -> list[str] | None:
    texts = [text for row in rows if (text := row.translations[column]) is not None]
    return texts if len(texts) == len(rows) else None


def _pivots(rows: list[Row], english: Mapping[str, list[str]]) -> list[str] | None:
    if any(row.image not in english for row in rows):
        return None
    seen: dict[str, int] = {}
    pivots = []
    for row in rows:
        turn = seen.get(row.image, 0)
        seen[row.image] = turn + 1
        pivots.append(english[row.image][turn % len(english[row.image])])
    return pivots


def _lines(name: str, data: bytes) -> tuple[str, ...]:
    lines, bad = decode_lines(data)
    raise_problems([f"{name} {text}" for text in bad])
    return lines


def _delimited(delimiter: str) -> Callable[[str, bytes], Records]:
    return lambda name, data: delimited(name, _lines(name, data), delimiter, partial(_check_columns, name))


def _parquet(name: str, data: bytes) -> Records:
    wanted = (*REQUIRED, *TRANSLATIONS, "split")
    return parquet_rows(name, io.BytesIO(data), wanted, partial(_check_columns, name))


def _check_columns(name: str, columns: list[str]) -> None:
    missing = [column for column in REQUIRED if column not in columns]
    if missing:
        raise DataError(
            f"{name}: expected columns {', '.join(REQUIRED)}, found {', '.join(columns) or 'none'}; "
            f"{', '.join(missing)} missing"
        )


FORMATS: dict[str, Callable[[str, bytes], Records]] = {
    ".csv": _delimited(","),
    ".tsv": _delimited("\t"),
    ".jsonl": lambda name, data: json_objects(name, _lines(name, data)),
    ".parquet": _parquet,
}
