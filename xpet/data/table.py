"""A user's own table: CSV, TSV, JSON lines or Parquet with columns image, lang, caption.

Optional columns: `to_pivot`, `from_pivot` (translations) and `split` (train, validation, test; without it there is one
split, `all`). An image may have several captions in a language. Images are paths, relative to the table's folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from xpet.core.captions import PIVOT, Corpus, ReadRequest, Split
from xpet.core.errors import ConfigError, DataError, listing, quoted, short
from xpet.core.languages import is_language, normalise
from xpet.data.images import FolderPictures, Names, find_pictures, unusable
from xpet.data.parquet import parquet_rows
from xpet.data.reading import aligned, choose_languages, data_root
from xpet.data.records import Records, delimited, json_objects, no_text
from xpet.data.text_files import CaptionFiles, ReadableFile, raise_problems

REQUIRED = ("image", "lang", "caption")
TRANSLATIONS = ("from_pivot", "to_pivot")
SPLITS = {"train": "train", "validation": "validation", "val": "validation", "dev": "validation", "test": "test"}
NO_PICTURES = (
    "pictures inside Parquet are not read: write them to files, or give --image-features; in column image their names"
)
WHOLE = "all"
_ANEW = "the others' are not used, `xpet translate --data` makes them all"
WHAT = {
    "pivot": ("English caption", "what needs it leaves them out"),
    "from_pivot": ("translation from English", _ANEW), "to_pivot": ("translation to English", _ANEW),
}  # fmt: skip
"""What rows of a slot are called, and what becomes of captions where some lack one."""
LISTED = 3
"""Images a note names."""


@dataclass
class CaptionRows:
    """Checked captions of one language in one split, row by row; translations are None where absent."""

    images: list[str] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    translations: dict[str, list[str | None]] = field(default_factory=lambda: {column: [] for column in TRANSLATIONS})


@dataclass
class CaptionTable:
    """What a file holds; `columns` by split and language, only of the languages that are used."""

    home: dict[str, str] = field(default_factory=dict)
    """The split of every image, in the order of the file."""
    languages: set[str] = field(default_factory=set)
    columns: dict[tuple[str, str], CaptionRows] = field(default_factory=dict)


def read(request: ReadRequest) -> Corpus:
    """The corpus of a table file (`request.root`).

    The pivot of the k-th caption of an image in a language is the image's k-th English caption (counted round). Rows
    without an English caption lack it; translations exist for a language only when every row of it has them. Both are
    noted.

    Raises:
        ConfigError: no file given, a variant is asked for, or an ending that is not known.
        DataError: wrong columns, bad UTF-8, incomplete rows, absent languages, missing pictures, all at once.
    """
    if request.variant is not None:
        raise ConfigError(f"data set table: expected no variant, found '{request.variant}'")
    path = data_root(request, "table", "the file of the table")
    files = CaptionFiles(path.parent)
    table = _checked(path, files, request.languages)
    problems: list[str] = []
    absent: list[str] = []  # told last
    same: dict[str, str] = {}
    pictures = find_pictures([path.parent], list(table.home), absent, same)
    _merge(table, same, path.name)
    languages = choose_languages(request, table.languages, str(path), problems)
    notes: dict[str, list[str]] = {}
    splits = {name: _split(table, name, languages, notes) for name in dict.fromkeys(table.home.values())}
    problems += [
        f"{path.name}: expected captions of {short(language)} in split {name}, found none"
        for name, split in splits.items()
        for language in languages
        if language not in split.captions
    ]
    raise_problems(problems + absent)
    told = {language: tuple(f"{path.name}: {note}" for note in own) for language, own in notes.items()}
    return Corpus(path.stem, splits, pictures, fingerprints=files.fingerprints, notes=told)


def _checked(path: Path, files: CaptionFiles, languages: Sequence[str] | None) -> CaptionTable:
    """The file's captions in the given languages (None: all) and English; raises DataError of everything wrong."""
    ending = Path(path.name.removesuffix(".gz")).suffix.lower()
    if ending not in FORMATS:
        raise ConfigError(f"table {path}: expected one of {', '.join(FORMATS)}, found '{ending}'")
    used = None if languages is None else {PIVOT, *map(normalise, languages)}
    source = files.source(path, text=ending != ".parquet")
    files.check()
    assert source is not None  # else there is a problem
    table = CaptionTable()
    names = Names(FolderPictures((path.parent,)))  # one string per image, however many captions and spellings it has
    where = "row" if ending == ".parquet" else "line"
    for number, fields in FORMATS[ending](source):
        place = f"{path.name} {where} {number}"
        wrong = _wrong(fields) or unusable(fields["image"])
        files.problems += [f"{place}: {text}" for text in wrong]
        if wrong:
            continue
        image, language = names.one(fields["image"]), normalise(fields["lang"])
        split = SPLITS[fields["split"]] if "split" in fields else WHOLE
        if table.home.setdefault(image, split) != split:
            files.problems.append(f"{place}: {_spelt(image, fields)} is in split {table.home[image]} and in {split}")
        table.languages.add(language)
        if used is None or language in used:
            _keep(table.columns.setdefault((split, language), CaptionRows()), image, fields)
    if WHOLE in table.home.values() and len(set(table.home.values())) > 1:
        files.problems.append(f"{path.name}: expected a split in every row or in none, found both")
    files.check()
    return table


def _spelt(image: str, fields: Mapping[str, Any]) -> str:
    written = fields["image"]
    return f"image {short(image)}" if written == image else f"image {short(image)}, here written {short(written)},"


def _merge(table: CaptionTable, same: Mapping[str, str], name: str) -> None:
    """Make names of one file one image; raises DataError of those that stand in several splits."""
    home = table.home
    raise_problems([
        f"{name}: images {short(first)} and {short(image)} are one file, in split {home[first]} and in {home[image]}"
        for image, first in same.items()
        if home[first] != home[image]
    ])  # fmt: skip
    for image in same:
        del home[image]
    for column in table.columns.values() if same else ():
        column.images = [same.get(image, image) for image in column.images]


def _keep(column: CaptionRows, image: str, fields: Mapping[str, Any]) -> None:
    column.images.append(image)
    column.captions.append(fields["caption"])
    for name, texts in column.translations.items():
        texts.append(fields.get(name) or None)


def _wrong(fields: Mapping[Any, Any]) -> list[str]:
    if None in fields:  # what stands in which column is not known
        return [fields[None]]
    texts = {column: fields.get(column) for column in REQUIRED}
    texts |= {column: fields[column] for column in TRANSLATIONS if fields.get(column) is not None}
    wrong = [f"expected text in column {c}, found {found}" for c, text in texts.items() if (found := no_text(text))]
    wrong += [f"expected an {c}, found nothing" for c in ("image", "lang") if str(fields.get(c)).strip() == ""]
    name = str(fields.get("lang"))
    if not no_text(fields.get("lang")) and name.strip() and not is_language(name):
        wrong.append(f"expected a language code in column lang, found {quoted(name)}")
    if "split" in fields and (no_text(fields["split"]) or fields["split"] not in SPLITS):
        wrong.append(f"expected split train, validation or test, found {quoted(fields['split'])}")
    return wrong


def _split(table: CaptionTable, name: str, languages: tuple[str, ...], notes: dict[str, list[str]]) -> Split:
    images = tuple(image for image, split in table.home.items() if split == name)
    place = {image: index for index, image in enumerate(images)}
    english: dict[str, list[str]] = {}
    pivot = table.columns.get((name, PIVOT), CaptionRows())
    for image, caption in zip(pivot.images, pivot.captions, strict=True):
        english.setdefault(image, []).append(caption)
    captions = {}
    for language in languages:
        column = table.columns.get((name, language))
        if column is not None:
            texts: dict[str, Any] = {**column.translations, "target": column.captions}
            texts["pivot"] = _pivots(column.images, english)
            for slot in ("pivot", *TRANSLATIONS):
                texts[slot] = _noted(texts[slot], slot, language, column.images, notes.setdefault(language, []))
            captions[language] = aligned(language, [place[image] for image in column.images], texts)
    return Split(images, captions)


def _noted(
    texts: Sequence[str | None], slot: str, language: str, images: Sequence[str], notes: list[str]
) -> Sequence[str | None] | None:
    """The texts of a slot, None where it is of no use; notes rows without one among others that have it.

    Captions without an English one are left out where it is needed; translations are made for all or for none.
    """
    lacking = [image for image, text in zip(images, texts, strict=True) if text is None]
    if not lacking or len(lacking) == len(texts):
        return None if lacking else texts
    if language != PIVOT:
        few = ", ".join(lacking[:LISTED]) + (", ..." if len(lacking) > LISTED else "")
        what, then = WHAT[slot]
        notes.append(f"{len(lacking):,} of {len(texts):,} captions of {language} have no {what} ({few}); {then}")
    return texts if slot == "pivot" else None


def _pivots(images: Sequence[str], english: Mapping[str, list[str]]) -> list[str | None]:
    """Each caption's English one: the k-th of an image's for its k-th in the language, counted round."""
    seen: dict[str, int] = {}
    pivots: list[str | None] = []
    for image in images:
        turn = seen.get(image, 0)
        seen[image] = turn + 1
        own = english.get(image)
        pivots.append(own[turn % len(own)] if own else None)
    return pivots


def _delimited(delimiter: str) -> Callable[[ReadableFile], Records]:
    return lambda source: delimited(source.name, source.lines(), delimiter, partial(_check_columns, source.name))


def _parquet(source: ReadableFile) -> Records:
    wanted = (*REQUIRED, *TRANSLATIONS, "split")
    with source.open() as file:
        check = partial(_check_columns, source.name)
        yield from parquet_rows(source.name, file, wanted, check, hints={"image": NO_PICTURES})


def _check_columns(name: str, columns: list[str]) -> None:
    missing = [column for column in REQUIRED if column not in columns]
    if missing:
        raise DataError(
            f"{name}: expected columns {', '.join(REQUIRED)}, found {listing(columns) or 'none'}; "
            f"{', '.join(missing)} missing"
        )
    often = [column for column in (*REQUIRED, *TRANSLATIONS, "split") if columns.count(column) > 1]
    if often:
        raise DataError(*(f"{name}: expected one column {c}, found {columns.count(c)} of that name" for c in often))


FORMATS: dict[str, Callable[[ReadableFile], Records]] = {
    ".csv": _delimited(","),
    ".tsv": _delimited("\t"),
    ".jsonl": lambda source: json_objects(source.name, source.lines()),
    ".parquet": _parquet,
}
