"""A user's own table: CSV, TSV, JSON lines or Parquet with columns image, lang, caption.

Optional columns: `to_pivot`, `from_pivot` (translations) and `split` (train, validation, test; without it there is one
split, `all`). An image may have several captions in a language. Images are paths, relative to the table's folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from xpet.core.captions import PIVOT, Corpus, ReadRequest, Split
from xpet.core.errors import ConfigError, DataError, listing, quoted, short
from xpet.core.languages import is_language, normalise
from xpet.data.images import FolderPictures, ImageNames, find_pictures, unusable
from xpet.data.parquet import parquet_rows
from xpet.data.reading import aligned, choose_languages, data_root
from xpet.data.records import Records, delimited, json_objects, no_text
from xpet.data.text_files import CaptionFiles, ReadableFile, raise_problems

REQUIRED = ("image", "lang", "caption")
TRANSLATIONS = ("from_pivot", "to_pivot")
COLUMNS = (*REQUIRED, *TRANSLATIONS, "split")
"""All columns that are read."""
SPLITS = {"train": "train", "validation": "validation", "val": "validation", "dev": "validation", "test": "test"}
NO_PICTURES = (
    "pictures inside Parquet are not read: write them to files, or give --image-features; in column image their names"
)
WHOLE = "all"
_MADE_AGAIN = "the others' are not used, `xpet translate --data` makes them all"
SLOT_WORDS = {
    "pivot": ("English caption", "what needs it leaves them out"),
    "from_pivot": ("translation from English", _MADE_AGAIN), "to_pivot": ("translation to English", _MADE_AGAIN),
}  # fmt: skip
"""By slot, what its text is called in a note, and what follows where some rows have none."""
LISTED = 3
"""Images that a note names."""


@dataclass
class CaptionRows:
    """Checked captions of one language in one split, row by row; a translation is None where it is absent."""

    images: list[str] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    translations: dict[str, list[str | None]] = field(default_factory=lambda: {column: [] for column in TRANSLATIONS})


@dataclass
class CaptionTable:
    """The contents of a table file."""

    split_of: dict[str, str] = field(default_factory=dict)
    """The split of every image, in the order of the file."""
    languages: set[str] = field(default_factory=set)
    """All languages that have a row."""
    columns: dict[tuple[str, str], CaptionRows] = field(default_factory=dict)
    """Captions by split and language, of the languages that are used."""


def read(request: ReadRequest) -> Corpus:
    """The corpus of a table file (`request.root`).

    The English text beside an image's k-th caption in a language is its k-th English caption; after the last of these
    comes the first again. A row without one has no text there. A column of translations is used for a language only if
    every row of it has one. Both are noted.

    Raises:
        ConfigError: no file is given, a variant is given, or the ending is not known.
        DataError: wrong columns, bad UTF-8, incomplete rows, absent languages, missing pictures, all at once.
    """
    if request.variant is not None:
        raise ConfigError(f"data set table: expected no variant, found '{request.variant}'")
    path = data_root(request, "table", "the file of the table")
    files = CaptionFiles(path.parent)
    table = _read_rows(path, files, request.languages)
    problems: list[str] = []
    missing: list[str] = []  # problems of pictures, which come last
    aliases: dict[str, str] = {}
    pictures = find_pictures([path.parent], list(table.split_of), missing, aliases)
    _merge_aliases(table, aliases, path.name)
    languages = choose_languages(request, table.languages, str(path), problems)
    notes: dict[str, list[str]] = {}
    splits = {name: _split(table, name, languages, notes) for name in dict.fromkeys(table.split_of.values())}
    problems += [
        f"{path.name}: expected captions of {short(language)} in split {name}, found none"
        for name, split in splits.items()
        for language in languages
        if language not in split.captions
    ]
    raise_problems(problems + missing)
    named = {language: tuple(f"{path.name}: {note}" for note in texts) for language, texts in notes.items()}
    return Corpus(path.stem, splits, pictures, fingerprints=files.fingerprints, notes=named)


def _read_rows(path: Path, files: CaptionFiles, languages: Sequence[str] | None) -> CaptionTable:
    """The file's captions in the given languages (None: all) and English; raises DataError of everything wrong."""
    ending = Path(path.name.removesuffix(".gz")).suffix.lower()
    if ending not in FORMATS:
        raise ConfigError(f"table {path}: expected one of {', '.join(FORMATS)}, found '{ending}'")
    used = None if languages is None else {PIVOT, *map(normalise, languages)}
    file = files.readable(path, text=ending != ".parquet")
    files.check()
    assert file is not None  # else `check` has raised
    table = CaptionTable()
    names = ImageNames(FolderPictures((path.parent,)))  # one name per image, whatever its spellings
    unit = "row" if ending == ".parquet" else "line"
    for number, fields in FORMATS[ending](file):
        problems = _field_problems(fields) or unusable(fields["image"]) or _add_row(table, names, fields, used)
        files.problems += [f"{path.name} {unit} {number}: {problem}" for problem in problems]
    if WHOLE in table.split_of.values() and len(set(table.split_of.values())) > 1:
        files.problems.append(f"{path.name}: expected a split in every row or in none, found both")
    files.check()
    return table


def _add_row(
    table: CaptionTable, names: ImageNames, fields: Mapping[str, Any], used: Collection[str] | None
) -> list[str]:
    """Add a row of sound fields, if its language is used (None: all are); returns the problem with its split."""
    image, language = names.first_spelling(fields["image"]), normalise(fields["lang"])
    split = SPLITS[fields["split"]] if "split" in fields else WHOLE
    earlier = table.split_of.setdefault(image, split)
    table.languages.add(language)
    if used is None or language in used:
        rows = table.columns.setdefault((split, language), CaptionRows())
        rows.images.append(image)
        rows.captions.append(fields["caption"])
        for column, texts in rows.translations.items():
            texts.append(fields.get(column) or None)
    return [] if earlier == split else [f"{_spelled(image, fields)} is in split {earlier} and in {split}"]


def _spelled(image: str, fields: Mapping[str, Any]) -> str:
    """An image for a message, with the row's spelling where that is another."""
    spelling = fields["image"]
    return f"image {short(image)}" if spelling == image else f"image {short(image)}, here written {short(spelling)},"


def _merge_aliases(table: CaptionTable, aliases: Mapping[str, str], name: str) -> None:
    """Make all names of a file one image; raises DataError for images that are in several splits."""
    parts = table.split_of
    raise_problems([
        f"{name}: images {short(first)} and {short(image)} are one file, in split {parts[first]} and in {parts[image]}"
        for image, first in aliases.items()
        if parts[first] != parts[image]
    ])  # fmt: skip
    for image in aliases:
        del parts[image]
    for rows in table.columns.values() if aliases else ():
        rows.images = [aliases.get(image, image) for image in rows.images]


def _field_problems(fields: Mapping[Any, Any]) -> list[str]:
    """The problems of a row's fields."""
    if None in fields:  # which field belongs to which column is not known
        return [fields[None]]
    texts = {column: fields.get(column) for column in REQUIRED}
    texts |= {column: fields[column] for column in TRANSLATIONS if fields.get(column) is not None}
    problems = [f"expected text in column {c}, found {found}" for c, text in texts.items() if (found := no_text(text))]
    problems += [f"expected an {c}, found nothing" for c in ("image", "lang") if str(fields.get(c)).strip() == ""]
    name = str(fields.get("lang"))
    if not no_text(fields.get("lang")) and name.strip() and not is_language(name):
        problems.append(f"expected a language code in column lang, found {quoted(name)}")
    if "split" in fields and (no_text(fields["split"]) or fields["split"] not in SPLITS):
        problems.append(f"expected split train, validation or test, found {quoted(fields['split'])}")
    return problems


def _split(table: CaptionTable, name: str, languages: tuple[str, ...], notes: dict[str, list[str]]) -> Split:
    """One split of the table; notes on absent texts are added to `notes`, by language."""
    images = tuple(image for image, split in table.split_of.items() if split == name)
    index_of = {image: index for index, image in enumerate(images)}
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
                texts[slot] = _usable(texts[slot], slot, language, column.images, notes.setdefault(language, []))
            captions[language] = aligned(language, [index_of[image] for image in column.images], texts)
    return Split(images, captions)


def _usable(
    texts: Sequence[str | None], slot: str, language: str, images: Sequence[str], notes: list[str]
) -> Sequence[str | None] | None:
    """The texts of a slot, or None if the slot is not used; a note is added where only some rows have a text.

    A slot with such gaps is used if it is `pivot` (captions are left out where English is needed), but not if it holds
    translations, which are made for all rows or for none.
    """
    lacking = [image for image, text in zip(images, texts, strict=True) if text is None]
    if not lacking or len(lacking) == len(texts):
        return None if lacking else texts
    if language != PIVOT:
        few = ", ".join(lacking[:LISTED]) + (", ..." if len(lacking) > LISTED else "")
        what, consequence = SLOT_WORDS[slot]
        notes.append(f"{len(lacking):,} of {len(texts):,} captions of {language} have no {what} ({few}); {consequence}")
    return texts if slot == "pivot" else None


def _pivots(images: Sequence[str], english: Mapping[str, list[str]]) -> list[str | None]:
    """The English caption of each row: an image's k-th row gets its k-th English one, and after the last the first."""
    rows_of = Counter[str]()
    pivots: list[str | None] = []
    for image in images:
        captions = english.get(image)
        pivots.append(captions[rows_of[image] % len(captions)] if captions else None)
        rows_of[image] += 1
    return pivots


def _delimited(delimiter: str) -> Callable[[ReadableFile], Records]:
    """A reader of rows whose fields are separated by `delimiter`."""
    return lambda file: delimited(file.name, file.lines(), delimiter, partial(_check_columns, file.name))


def _parquet(file: ReadableFile) -> Records:
    """The rows of a Parquet file, of the columns that are read."""
    check = partial(_check_columns, file.name)
    with file.open() as contents:
        yield from parquet_rows(file.name, contents, COLUMNS, check, hints={"image": NO_PICTURES})


def _check_columns(name: str, columns: list[str]) -> None:
    """Raise DataError unless all required columns are there, and none that is read twice."""
    missing = [column for column in REQUIRED if column not in columns]
    if missing:
        raise DataError(
            f"{name}: expected columns {', '.join(REQUIRED)}, found {listing(columns) or 'none'}; "
            f"{', '.join(missing)} missing"
        )
    often = [column for column in COLUMNS if columns.count(column) > 1]
    if often:
        raise DataError(*(f"{name}: expected one column {c}, found {columns.count(c)} of that name" for c in often))


FORMATS: dict[str, Callable[[ReadableFile], Records]] = {
    ".csv": _delimited(","),
    ".tsv": _delimited("\t"),
    ".jsonl": lambda file: json_objects(file.name, file.lines()),
    ".parquet": _parquet,
}
