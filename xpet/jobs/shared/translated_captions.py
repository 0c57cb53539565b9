"""Adds machine translations to a corpus: read from files where they are stored, made where they are missing."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from xpet.core.captions import PIVOT, TRANSLATED, Corpus, LanguageCaptions, Split
from xpet.core.config import DataConfig
from xpet.core.errors import DataError, ModelError
from xpet.core.events import Notice, OnEvent, Progress
from xpet.core.processes import here
from xpet.jobs.shared.translation_files import (
    CaptionColumn,
    Translation,
    argos_codes,
    caption_columns,
    default_folder,
    read_translation,
)


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


def with_stored(corpus: Corpus, languages: Sequence[str], folder: str | None) -> Corpus:
    """The corpus with stored translations: those in `folder` replace the data's own, those in the cache do not.

    Raises DataError where `folder` is given and holds none for these languages.
    """
    translations: dict[CaptionColumn, Translation] = {}
    named = 0
    for column in caption_columns(corpus, languages, tuple(TRANSLATED)):
        is_in_data = column.slot in corpus.splits[column.split].captions[column.language].texts
        translation = read_translation(Path(folder), column) if folder is not None else None
        named += translation is not None
        if translation is None and not is_in_data:
            translation = read_translation(default_folder(), column)
        if translation is not None:
            translations[column] = translation
    if folder is not None and not named:
        raise DataError(
            f"--translations {folder}: expected files of `xpet translate --data` for {corpus.name}, found none for "
            f"{', '.join(languages)}"
        )
    return with_translations(corpus, translations)


def with_missing(
    corpus: Corpus, languages: Sequence[str], needed: Sequence[str], optional: Sequence[str], command: str,
    on_event: OnEvent, device: str = "auto",
) -> Corpus:  # fmt: skip
    """The corpus with missing translations made now, by the installed packages and through the cache.

    `needed` slots are made in every split, `optional` ones in the split `test` alone. Where no package can make them,
    `needed` ones raise DataError with the commands that help (`command` has the options that name the data), and
    `optional` ones are left out with a notice. `device` is auto, cpu or cuda.
    """
    from xpet.translation.packages import need_chain, packages_folder

    slots = [slot for slot in TRANSLATED if slot in (*needed, *optional)]
    missing = [
        column
        for column in caption_columns(corpus, languages, slots)
        if column.slot not in corpus.splits[column.split].captions[column.language].texts
        and (column.slot in needed or column.split == "test")
    ]
    makeable, lacking = [], []
    for column in missing:
        try:
            need_chain(packages_folder(), *argos_codes(column))
        except ModelError:
            lacking.append(column)
        else:
            makeable.append(column)
    _report(lacking, needed, command, on_event)
    return with_translations(
        corpus, dict(translate_columns(makeable, packages_folder(), device=device, on_event=on_event))
    )


def drop_flagged(split: Split, languages: Sequence[str], slots: Sequence[str]) -> tuple[Split, dict[str, int]]:
    """The split without captions whose translation in any of `slots` is flagged, and how many that were, by language.

    Translations that came with the data have no flags yet: they are checked here, as `xpet translate` checks its own.
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
    """Rows whose text in a slot is flagged."""
    if slot in captions.flagged or slot not in TRANSLATED or TRANSLATED[slot] not in captions.texts:
        return captions.flagged.get(slot, frozenset())
    from xpet.translation.engine import Hypothesis
    from xpet.translation.quality import flags

    pair = (captions.language, PIVOT) if slot == "to_pivot" else (PIVOT, captions.language)
    rows = zip(captions.slot(TRANSLATED[slot]), captions.slot(slot), strict=True)
    return frozenset(row for row, (source, text) in enumerate(rows) if flags(source, Hypothesis(text), pair))


def translate_columns(
    missing: Sequence[CaptionColumn], packages: Path, fast: bool = False, device: str = "auto", *, on_event: OnEvent
) -> Iterator[tuple[CaptionColumn, Translation]]:
    """Translate columns one after another, as `xpet translate` translates a file; raises ModelError, OutputError.

    The processes of the command share the work, and all get every translation.
    """
    from xpet.translation.bulk import Bulk
    from xpet.translation.cache import Cache
    from xpet.translation.chain import make_chain

    if not missing:
        return
    total = sum(len(column.sources) for column in missing)
    done = 0
    with Cache() as cache:
        for column in missing:
            chain = make_chain(packages, *argos_codes(column), cache, fast, device, on_event)
            bulk = Bulk(chain, cache, here())

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
    """Raise DataError where needed translations are lacking, else notify; both name the commands that help."""
    stops = [column for column in lacking if column.slot in needed]
    reported = stops or lacking
    if not reported:
        return
    languages = ",".join(dict.fromkeys(column.language for column in reported))
    slots = list(dict.fromkeys(column.slot for column in reported))
    direction = "both" if len(slots) > 1 else slots[0].replace("_", "-")
    pairs = " ".join(dict.fromkeys("-".join(argos_codes(column)) for column in reported))
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
