"""`xpet translate --data`: translates the captions of a data set into files that `align` and `eval` find."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from xpet.core.captions import PIVOT, Corpus
from xpet.core.config import DEMO, DIRECTIONS, TranslateDataConfig
from xpet.core.errors import DataError
from xpet.core.events import OnEvent, ignore
from xpet.core.languages import choose
from xpet.core.processes import connected, here
from xpet.jobs.results.translate import ColumnResult, TranslateDataResult
from xpet.jobs.shared.corpus import read_corpus
from xpet.jobs.shared.package_folder import package_folder
from xpet.jobs.shared.translated_captions import translate_columns
from xpet.jobs.shared.translation_files import (
    CaptionColumn,
    Translation,
    argos_codes,
    caption_columns,
    default_folder,
    write_translation,
)
from xpet.jobs.translate.postprocess import noise_seed
from xpet.translation.packages import need_chain


def run(config: TranslateDataConfig, on_event: OnEvent = ignore) -> TranslateDataResult:
    """Translate every split of a data set into one file for each slot, language and split, written when it is done.

    Several processes all translate; the first one writes.

    Raises the XpetError family; unknown data or languages, missing sources or packages before any work. What was
    translated before an error or a crash is in the cache and not done again.
    """
    config = config.check()
    with connected(60 * config.timeout) as processes:
        return _run(config, processes.listener(on_event))


def _run(config: TranslateDataConfig, on_event: OnEvent) -> TranslateDataResult:
    started = time.monotonic()
    corpus = read_corpus(config.data)
    languages = choose(config.languages, corpus.languages, corpus.name, with_pivot=False)
    slots = DIRECTIONS[config.direction]
    columns = list(caption_columns(corpus, languages, slots))
    _check_sources(corpus, languages, slots, columns)
    package_path = package_folder(config.packages or (DEMO if corpus.synthetic else None))
    for column in columns:
        need_chain(package_path, *argos_codes(column))
    folder = Path(config.out) if config.out else default_folder()
    results, degraded = [], 0
    for column, clean in translate_columns(columns, package_path, config.fast, config.device, on_event=on_event):
        translation, changed = _degraded(clean, config)
        degraded += changed
        path = here().first("the file of translations", partial(_write, folder, column, translation))
        results.append(_result(column, translation, path))
    noise = {"rate": config.noise, "seed": noise_seed(config), "degraded_lines": degraded} if config.noise else None
    return TranslateDataResult(
        data=corpus.name, synthetic=corpus.synthetic, columns=tuple(results), folder=str(folder),
        found=config.out is None, own=_slots_of_data(corpus, columns), seconds=time.monotonic() - started, noise=noise,
    )  # fmt: skip


def _check_sources(
    corpus: Corpus, languages: tuple[str, ...], slots: tuple[str, ...], columns: list[CaptionColumn]
) -> None:
    """Raise DataError where captions to translate from are missing."""
    present = {(column.language, column.slot) for column in columns}
    missing = [f"{lang} {slot}" for lang in languages if lang != PIVOT for slot in slots if (lang, slot) not in present]
    if missing:
        raise DataError(f"{corpus.name}: expected captions to translate for {', '.join(missing)}, found none")
    if not columns:
        raise DataError(f"{corpus.name}: expected a language other than English to translate, found none")


def _slots_of_data(corpus: Corpus, columns: list[CaptionColumn]) -> tuple[str, ...]:
    """The slots that the data itself has, which `align` and `eval` prefer to files that are not named to them."""
    slots = [c.slot for c in columns if c.slot in corpus.splits[c.split].captions[c.language].texts]
    return tuple(dict.fromkeys(slots))


def _degraded(clean: Translation, config: TranslateDataConfig) -> tuple[Translation, int]:
    """The translation degraded by `--noise`, and how many of its lines changed."""
    if not config.noise:
        return clean, 0
    from xpet.translation.degrade import degrade

    texts = tuple(degrade(text, config.noise, noise_seed(config)) for text in clean.texts)
    made_by: dict[str, Any] = {**clean.made_by, "noise": {"rate": config.noise, "seed": noise_seed(config)}}
    return replace(clean, texts=texts, made_by=made_by), sum(a != b for a, b in zip(texts, clean.texts, strict=True))


def _write(folder: Path, column: CaptionColumn, translation: Translation) -> str:
    """Write a column's file; returns its path."""
    return str(write_translation(folder, column, translation))


def _result(column: CaptionColumn, translation: Translation, path: str) -> ColumnResult:
    made_by = translation.made_by
    flags = Counter(name for names in translation.flags.values() for name in names)
    return ColumnResult(
        language=column.language, slot=column.slot, split=column.split, chain=tuple(made_by["chain"]),
        rows=len(column.sources), cached=made_by["cached"], translated=made_by["translated"],
        retried=made_by["retried"], flagged=len(translation.flags), flags=dict(flags), file=path,
    )  # fmt: skip
