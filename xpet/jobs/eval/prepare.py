"""What everything that one `xpet eval` measures shares: test captions, image features, towers, the method's stack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from xpet.core.captions import PIVOT, TRANSLATED, Corpus, Split
from xpet.core.config import DataConfig, EvalConfig, ModelConfig
from xpet.core.errors import ConfigError, DataError
from xpet.core.events import OnEvent
from xpet.core.languages import ALL, choose
from xpet.jobs.shared import measure, wiring
from xpet.jobs.shared import translated_captions as translations
from xpet.jobs.shared.run_records import (
    SAME_SPLIT,
    Runs,
    check_base,
    check_captions,
    method_of,
    named_images,
    read_runs,
    routine_of,
    trained_on,
)

if TYPE_CHECKING:
    from torch import Tensor

    from xpet.core.rundir import RunRecord
    from xpet.methods.stack import Stack


@dataclass(frozen=True)
class Bench:
    """`languages` are shown; `images` are features of the test pictures, [images of test, d]."""

    model: ModelConfig
    data: DataConfig
    corpus: Corpus
    test: Split
    languages: tuple[str, ...]
    towers: wiring.Towers
    images: Tensor
    device: str
    stack: Stack | None
    encode: measure.Encode
    total: int = 0
    """Parameters of the text tower as it was loaded."""

    @property
    def most_shots(self) -> int:
        """Pictures that `align` could train on, leaving as many for validation and one for the test."""
        train = self.corpus.splits.get("train")
        whole = sum(len(split.images) for split in self.corpus.splits.values())
        return max(2, len(train.images) if train is not None else (whole - 1) // 2)

    @contextmanager
    def bare(self) -> Iterator[measure.Encode]:
        """The encoder of the base."""
        if self.stack is None:
            yield self.encode
            return
        with self.stack.bare():
            yield self.encode

    @contextmanager
    def tuned(self, record: RunRecord) -> Iterator[measure.Encode]:
        """The encoder with a run's module."""
        assert self.stack is not None
        self.stack.load(0, record.delta)
        with self.stack.one(0):
            yield self.encode


def prepare(config: EvalConfig, records: Runs, on_event: OnEvent) -> Bench:
    """Read, check and load everything; without records for the base alone. Raises the XpetError family."""
    from xpet.methods.build import build_stack, total_parameters

    model, data, names, needed = asked(config, records)
    corpus, test, languages = captions_of(config, data, names, needed, on_event)
    check_captions(test, records)
    complete = {lang: captions.complete(config.texts or ()) for lang, captions in test.captions.items()}
    test = Split(test.images, complete)  # systems are compared on the same captions
    towers = wiring.load_towers(model, data.image_features)
    check_base(towers, records)
    device = _device(config)
    images = wiring.features_of(corpus, [test], towers, data, device, on_event)[0].to(device)
    _check_images(images, test)
    total = total_parameters(towers.text.tower)
    stack = build_stack(towers.text.tower, method_of(records[0][1], towers), [1]).to(device) if records else None
    tower = stack.tower if stack is not None else towers.text.tower.to(device)
    encode = measure.encoder(tower, towers.text.tokenizer)
    return Bench(model, data, corpus, test, languages, towers, images, device, stack, encode, total)


def asked(config: EvalConfig, records: Runs) -> tuple[ModelConfig, DataConfig, Sequence[str] | None, list[str]]:
    """Towers, data, names of the test images (None: the data's own), and translated slots that must be there."""
    needed = {*(config.texts or ()), *(routine_of(record).evaluation for _, record in records)}
    slots = sorted(needed & set(TRANSLATED))
    first = records[0][1] if records else _split_of(config)
    if first is None:
        model = replace(config.model, text=config.model.text or wiring.DEMO)
        return model, replace(config.data, name=config.data.name or wiring.DEMO), None, slots
    model, data = trained_on(config, first)
    if records and first.split["test"] is not None and (config.data.is_cut or config.split_of is not None):
        raise ConfigError(
            "--shots, --val-shots, --split-file, --split-of: expected none beside runs, which are measured on their "
            "own test images"
        )
    return model, data, first.split["test"], slots


def _split_of(config: EvalConfig) -> RunRecord | None:
    """The run whose data and test images are measured on, where one is named; raises DataError for one without."""
    if config.split_of is None:
        return None
    record = read_runs([config.split_of], alike=SAME_SPLIT, remedy="name one of them")[0][1]
    if record.split["test"] is None:
        raise DataError(
            f"--split-of {config.split_of}: expected a run of xpet align, found a module made elsewhere, whose test "
            "images are not known"
        )
    return record


def captions_of(
    config: EvalConfig, data: DataConfig, names: Sequence[str] | None, needed: Sequence[str], on_event: OnEvent
) -> tuple[Corpus, Split, tuple[str, ...]]:
    """Corpus, test split (or the named images of it) and languages to show; linted, translated where that is wanted."""
    from xpet.data.splits import WHOLE, source

    whole = wiring.read_corpus(data)
    languages = choose(config.languages or (ALL,), whole.languages, whole.name, with_pivot=True)
    wiring.tell_notes(whole, languages, on_event)
    whole = translations.stored(whole, languages, data.translations)
    slots = tuple(dict.fromkeys(("target", "pivot", "to_pivot", *(config.texts or ()))))
    corpus = wiring.restrict(whole, list(dict.fromkeys((*languages, PIVOT))), slots)
    where = WHOLE if WHOLE in corpus.splits else "test"
    beside, used = (wiring.as_corpus(one, **{where: source(one, "test")}) for one in (whole, corpus))
    checked = wiring.check_lint(beside, used, slots, ("target", *needed), on_event)
    corpus = wiring.as_corpus(corpus, **{**corpus.splits, **checked.splits})
    part = wiring.as_corpus(corpus, test=_images_of(corpus, data, names))
    wanted = () if config.texts is not None else ("to_pivot",)
    filled = translations.fill(part, languages, needed, wanted, translations.data_options(data), on_event)
    return corpus, filled.splits["test"], languages


def _images_of(corpus: Corpus, data: DataConfig, names: Sequence[str] | None) -> Split:
    """Of the images with test captions those that are measured on: named ones, those a cut leaves, or all."""
    from xpet.data.splits import source

    test = source(corpus, "test")
    if names is not None:
        return named_images(test, names)
    return wiring.cut(corpus, data).test if data.is_cut else test


def _check_images(images: Tensor, test: Split) -> None:
    """Every picture needs a direction to be ranked; raises DataError naming those without."""
    bad = (~(images.isfinite().all(dim=1) & (images != 0).any(dim=1))).nonzero().flatten().tolist()
    if bad:
        names = ", ".join(test.images[row] for row in bad[:5]) + (", ..." if len(bad) > 5 else "")
        raise DataError(f"expected finite, non-zero image features, found {len(bad)} that are not: {names}")


def _device(config: EvalConfig) -> str:
    from xpet.training.device import make_engine

    return str(make_engine(config.fit.device).device)
