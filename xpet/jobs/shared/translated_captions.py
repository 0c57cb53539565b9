"""Machine translations of whole data sets: made once, kept in a folder of files, found again by `align` and `eval`.

A file holds one slot of one language in one split, a JSON object a line: a header, then each caption's source,
translation and flags, in the order of the captions. Its name carries a digest of the sources: a data set that changed
does not find translations of what it was.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from xpet.core.captions import PIVOT, TRANSLATED, Corpus, LanguageCaptions, Split
from xpet.core.config import DataConfig
from xpet.core.errors import DataError, ModelError, one_line
from xpet.core.events import Notice, OnEvent, Progress
from xpet.core.files import replacing_file, writing
from xpet.core.paths import cache_folder

SCHEMA = 1


def default_folder() -> Path:
    """Where translations go and are looked for when nothing else is said."""
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
        """Languages translated from and to."""
        return (self.language, PIVOT) if self.slot == "to_pivot" else (PIVOT, self.language)

    @property
    def name(self) -> str:
        """File name."""
        content = json.dumps([*self.pair, self.sources]).encode()
        return f"{self.data}-{self.split}.{self.language}.{self.slot}.{hashlib.sha256(content).hexdigest()[:12]}.jsonl"


@dataclass(frozen=True)
class Translation:
    """The texts of a column, which rows are flagged, and where they come from."""

    texts: tuple[str, ...]
    flags: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    made_by: Mapping[str, Any] = field(default_factory=dict)


def columns(corpus: Corpus, languages: Sequence[str], slots: Sequence[str]) -> Iterator[CaptionColumn]:
    """The columns of a corpus that could be translated: those whose sources are there."""
    for language in languages:
        for name, split in corpus.splits.items():
            captions = split.captions.get(language)
            if captions is None or language == PIVOT or not captions.image_index:
                continue
            for slot in slots:
                if TRANSLATED[slot] in captions.texts:
                    yield CaptionColumn(corpus.name, name, language, slot, captions.slot(TRANSLATED[slot]))


def write(folder: Path, column: CaptionColumn, translation: Translation) -> Path:
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


def read(folder: Path, column: CaptionColumn) -> Translation | None:
    """A column's translation; None where there is no file. Raises DataError for a damaged one."""
    path = folder / column.name
    if not path.is_file():
        return None
    try:
        header, *lines = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
        if header["xpet"] != "translations" or header["schema"] != SCHEMA:
            raise ValueError(f"schema {one_line(repr(header.get('schema')))}")
        if tuple(line["source"] for line in lines) != column.sources:
            raise ValueError(f"{len(lines)} other sources than the {len(column.sources)} captions of the data")
        texts = tuple(line["translation"] for line in lines)
        "".join(text for text in texts if isinstance(text, str)).encode()  # no half of a surrogate pair
        flags = {row: tuple(line["flags"]) for row, line in enumerate(lines) if line.get("flags")}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path}: expected translations as `xpet translate --data` writes them, found a damaged file ({error}); "
            "remove it and translate again"
        ) from error
    if not all(isinstance(text, str) for text in texts):
        raise DataError(f"{path}: expected texts as translations, found something else; remove it and translate again")
    return Translation(texts, flags, {k: v for k, v in header.items() if k not in ("xpet", "schema")})


def with_translations(corpus: Corpus, translations: Mapping[CaptionColumn, Translation]) -> Corpus:
    """The corpus with translations in their slots."""
    splits = {name: dict(split.captions) for name, split in corpus.splits.items()}
    prints = dict(corpus.fingerprints)
    for column, translation in translations.items():
        captions: LanguageCaptions = splits[column.split][column.language]
        splits[column.split][column.language] = captions.with_texts(
            column.slot, translation.texts, frozenset(translation.flags)
        )
        content = json.dumps(translation.texts).encode()
        prints[f"{column.split}.{column.language}.{column.slot}"] = hashlib.sha256(content).hexdigest()
    new = {name: Split(split.images, splits[name]) for name, split in corpus.splits.items()}
    return replace(corpus, splits=new, fingerprints=prints)


def stored(corpus: Corpus, languages: Sequence[str], folder: str | None) -> Corpus:
    """The corpus with the translations kept for it: those of a named folder before the data's own, others after."""
    translations: dict[CaptionColumn, Translation] = {}
    named = 0
    for column in columns(corpus, languages, tuple(TRANSLATED)):
        is_in_data = column.slot in corpus.splits[column.split].captions[column.language].texts
        translation = read(Path(folder), column) if folder is not None else None
        named += translation is not None
        if translation is None and not is_in_data:
            translation = read(default_folder(), column)
        if translation is not None:
            translations[column] = translation
    if folder is not None and not named:
        raise DataError(
            f"--translations {folder}: expected files of `xpet translate --data` for {corpus.name}, found none for "
            f"{', '.join(languages)}"
        )
    return with_translations(corpus, translations)


def fill(
    corpus: Corpus, languages: Sequence[str], needed: Sequence[str], optional: Sequence[str], command: str,
    on_event: OnEvent,
) -> Corpus:  # fmt: skip
    """The corpus with missing translations made now, by the installed packages and through the cache.

    Of what no package can make, `needed` slots stop (DataError with the commands that mend it; `command` names the
    data), `optional` ones are left out with a notice. `optional` slots are made for the split `test` alone.
    """
    slots = [slot for slot in TRANSLATED if slot in (*needed, *optional)]
    missing = [
        column
        for column in columns(corpus, languages, slots)
        if column.slot not in corpus.splits[column.split].captions[column.language].texts
        and (column.slot in needed or column.split == "test")
    ]
    from xpet.translation.packages import need_chain, packages_folder

    makeable, lacking = [], []
    for column in missing:
        try:
            need_chain(packages_folder(), *codes(column))
        except ModelError:
            lacking.append(column)
        else:
            makeable.append(column)
    _report(lacking, needed, command, on_event)
    return with_translations(corpus, dict(make(makeable, packages_folder(), on_event=on_event)))


def drop_flagged(split: Split, languages: Sequence[str], slots: Sequence[str]) -> tuple[Split, dict[str, int]]:
    """The split without captions whose translations in any of `slots` look wrong, and how many went per language.

    Translations that came with the data are judged here, by the checks that `xpet translate` makes.
    """
    captions = dict(split.captions)
    dropped = {}
    for language in languages:
        before = captions[language]
        wrong = frozenset().union(*(_flagged(before, slot) for slot in slots if slot in before.texts))
        captions[language] = before.take([row for row in range(len(before.image_index)) if row not in wrong])
        dropped[language] = len(wrong)
    return Split(split.images, captions), dropped


def _flagged(captions: LanguageCaptions, slot: str) -> frozenset[int]:
    if slot in captions.flagged or slot not in TRANSLATED or TRANSLATED[slot] not in captions.texts:
        return captions.flagged.get(slot, frozenset())
    from xpet.translation.engine import Hypothesis
    from xpet.translation.quality import flags

    pair = (captions.language, PIVOT) if slot == "to_pivot" else (PIVOT, captions.language)
    rows = zip(captions.slot(TRANSLATED[slot]), captions.slot(slot), strict=True)
    return frozenset(row for row, (source, text) in enumerate(rows) if flags(source, Hypothesis(text), pair))


def codes(column: CaptionColumn) -> tuple[str, str]:
    """Argos' codes of a column's languages."""
    from xpet.core.argos_codes import argos_code

    source, target = column.pair
    return argos_code(source), argos_code(target)


def make(
    missing: Sequence[CaptionColumn], packages: Path, fast: bool = False, device: str = "auto", *, on_event: OnEvent
) -> Iterator[tuple[CaptionColumn, Translation]]:
    """Translate columns one after another, as `xpet translate` translates a file; raises ModelError, OutputError."""
    from xpet.translation.bulk import Bulk
    from xpet.translation.cache import Cache
    from xpet.translation.chain import make_chain

    if not missing:
        return
    total = sum(len(column.sources) for column in missing)
    done = 0
    with Cache() as cache:
        for column in missing:
            chain = make_chain(packages, *codes(column), cache, fast, device)
            bulk = Bulk(chain, cache)

            def on_done(count: int, done: int = done, note: str = "-".join(column.pair)) -> None:
                on_event(Progress("translating", done + count, total, note))

            entries = bulk.translate(column.sources, on_done)
            done += len(column.sources)
            on_event(Progress("translating", done, total, "-".join(column.pair)))
            made_by = {
                "chain": [hop.source + "-" + hop.target for hop in chain], "identity": [hop.identity for hop in chain],
                "cached": bulk.counts.cached, "translated": bulk.counts.translated, "retried": bulk.counts.retried,
            }  # fmt: skip
            flags = {row: entry.flags for row, entry in enumerate(entries) if entry.flags}
            yield column, Translation(tuple(entry.text for entry in entries), flags, made_by)


def _report(lacking: Sequence[CaptionColumn], needed: Sequence[str], command: str, on_event: OnEvent) -> None:
    """Stop for needed translations, tell of others; both with the commands that mend it."""
    stops = [column for column in lacking if column.slot in needed]
    reported = stops or lacking
    if not reported:
        return
    languages = ",".join(dict.fromkeys(column.language for column in reported))
    slots = list(dict.fromkeys(column.slot for column in reported))
    direction = "both" if len(slots) > 1 else slots[0].replace("_", "-")
    pairs = " ".join(dict.fromkeys("-".join(codes(column)) for column in reported))
    remedy = f"xpet translate --install {pairs} && xpet translate {command} --lang {languages} --direction {direction}"
    if stops:
        raise DataError(
            f"expected {' and '.join(slots)} texts of {languages}, found neither them nor Argos packages for "
            f"{pairs}; run: {remedy}"
        )
    on_event(Notice(f"no {' or '.join(slots)} texts of {languages}, left out; to have them: {remedy}"))


def data_options(data: DataConfig) -> str:
    """The options by which a command names a data set."""
    given = (("--data", data.name), ("--data-root", data.root), ("--variant", data.variant))
    return " ".join(f"{option} {shlex.quote(value)}" for option, value in given if value)
