"""Finds the captions that runs, or the base, are measured on: corpus, test split and languages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from xpet.core.captions import PIVOT, TRANSLATED, Corpus, Split
from xpet.core.config import DEMO, DataConfig, EvalConfig, ModelConfig
from xpet.core.errors import ConfigError, DataError
from xpet.core.events import OnEvent
from xpet.core.languages import ALL, choose
from xpet.jobs.shared.corpus import as_corpus, check_lint, cut, read_corpus, report_notes, restrict
from xpet.jobs.shared.run_records import (
    SAME_SPLIT,
    Runs,
    named_images,
    read_runs,
    trained_on,
)
from xpet.jobs.shared.translated_captions import data_options, with_missing, with_stored

if TYPE_CHECKING:
    from xpet.core.run_record import RunRecord


def measurement_settings(
    config: EvalConfig, records: Runs
) -> tuple[ModelConfig, DataConfig, Sequence[str] | None, list[str]]:
    """Towers, data, names of the test images (None: as the data says), and translated slots that must be there.

    They are those of the runs, or of the run in `--split-of`, where there are some. Raises ConfigError and DataError.
    """
    needed = {*(config.texts or ()), *(record.routine.evaluation for _, record in records)}
    slots = sorted(needed & set(TRANSLATED))
    first = records[0][1] if records else _split_of(config)
    if first is None:
        model = replace(config.model, text=config.model.text or DEMO)
        return model, replace(config.data, name=config.data.name or DEMO), None, slots
    model, data = trained_on(config, first)
    if records and first.split.test is not None and (config.data.is_cut or config.split_of is not None):
        raise ConfigError(
            "--shots, --val-shots, --split-file, --split-of: expected none beside runs, which are measured on their "
            "own test images"
        )
    return model, data, first.split.test, slots


def _split_of(config: EvalConfig) -> RunRecord | None:
    """The run that `--split-of` names, None where it is not given; raises DataError for one without test images."""
    if config.split_of is None:
        return None
    record = read_runs([config.split_of], alike=SAME_SPLIT, remedy="name one of them")[0][1]
    if record.split.test is None:
        raise DataError(
            f"--split-of {config.split_of}: expected a run of xpet align, found a module made elsewhere, whose test "
            "images are not known"
        )
    return record


def read_test_captions(
    config: EvalConfig, data: DataConfig, image_names: Sequence[str] | None, needed: Sequence[str], on_event: OnEvent
) -> tuple[Corpus, Split, tuple[str, ...]]:
    """Corpus, test split (of `image_names`, if given) and languages to show; linted, translated where needed.

    `needed` are translated slots that must be there. Raises ConfigError and DataError.
    """
    from xpet.data.splits import WHOLE, split_for

    whole = read_corpus(data)
    languages = choose(config.languages or (ALL,), whole.languages, whole.name, with_pivot=True)
    report_notes(whole, languages, on_event)
    whole = with_stored(whole, languages, data.translations)
    slots = tuple(dict.fromkeys(("target", "pivot", "to_pivot", *(config.texts or ()))))
    corpus = restrict(whole, list(dict.fromkeys((*languages, PIVOT))), slots)
    split = WHOLE if WHOLE in corpus.splits else "test"
    all_slots, used_slots = (as_corpus(each, **{split: split_for(each, "test")}) for each in (whole, corpus))
    checked = check_lint(all_slots, used_slots, slots, ("target", *needed), on_event)
    corpus = as_corpus(corpus, **{**corpus.splits, **checked.splits})
    measured = as_corpus(corpus, test=_test_split(corpus, data, image_names))
    optional = () if config.texts is not None else ("to_pivot",)
    filled = with_missing(measured, languages, needed, optional, data_options(data), on_event, config.fit.device)
    return corpus, filled.splits["test"], languages


def _test_split(corpus: Corpus, data: DataConfig, image_names: Sequence[str] | None) -> Split:
    """The split to measure on: of the images with test captions the named ones, those a cut leaves, or all."""
    from xpet.data.splits import split_for

    test = split_for(corpus, "test")
    if image_names is not None:
        return named_images(test, image_names)
    return cut(corpus, data).test if data.is_cut else test
