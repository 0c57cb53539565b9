"""Prepares what all measurements of one `xpet eval` share: test captions, image features, towers, the stack."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xpet.core.captions import Corpus, Split
from xpet.core.collector import importing
from xpet.core.config import DataConfig, EvalConfig, ModelConfig
from xpet.core.errors import DataError
from xpet.core.events import OnEvent
from xpet.jobs.shared import measure
from xpet.jobs.shared.run_records import (
    Runs,
    check_base,
    check_captions,
    method_of,
)
from xpet.jobs.shared.test_captions import measurement_settings, read_test_captions
from xpet.jobs.shared.towers import Towers, features_of, load_towers

if TYPE_CHECKING:
    from torch import Tensor

    from xpet.core.run_record import RunRecord
    from xpet.methods.stack import Stack


@dataclass(frozen=True)
class EvalSetup:
    """What all measurements of one `xpet eval` share.

    `languages` are those to show; `images` features of the test pictures [images of test, d]; `stack` holds the module
    of one run at a time (None without runs); `encode` runs the text tower in its present state.
    """

    model: ModelConfig
    data: DataConfig
    corpus: Corpus
    test: Split
    languages: tuple[str, ...]
    towers: Towers
    images: Tensor
    device: str
    stack: Stack | None
    encode: measure.Encode
    total: int = 0
    """Parameters of the text tower as it was loaded."""

    @property
    def kind_of_device(self) -> str:
        """`cpu` or `cuda`: a report does not say which of several."""
        return self.device.partition(":")[0]

    @property
    def most_shots(self) -> int:
        """Most pictures that `align` can train on: all of an official split, else half, so that as many validate."""
        train = self.corpus.splits.get("train")
        whole = sum(len(split.images) for split in self.corpus.splits.values())
        return max(2, len(train.images) if train is not None else (whole - 1) // 2)

    @contextmanager
    def bare(self) -> Iterator[measure.Encode]:
        """For the block, the encoder of the base."""
        if self.stack is None:
            yield self.encode
            return
        with self.stack.bare():
            yield self.encode

    @contextmanager
    def tuned(self, record: RunRecord) -> Iterator[measure.Encode]:
        """For the block, the encoder with the module of a run."""
        assert self.stack is not None
        self.stack.load(0, record.delta)
        with self.stack.one(0):
            yield self.encode


def prepare(config: EvalConfig, records: Runs, on_event: OnEvent) -> EvalSetup:
    """Read, check and load everything; without `records` no stack is built. Raises the XpetError family."""
    with importing():
        from xpet.methods.build import build_stack, total_parameters

    model, data, image_names, needed = measurement_settings(config, records)
    corpus, test, languages = read_test_captions(config, data, image_names, needed, on_event)
    check_captions(test, records)
    complete = {lang: captions.complete(config.texts or ()) for lang, captions in test.captions.items()}
    test = Split(test.images, complete)  # systems are compared on the same captions
    towers = load_towers(model, data.image_features)
    check_base(towers, records)
    device = _device(config)
    images = features_of(corpus, [test], towers, data, device, on_event)[0].to(device)
    _check_images(images, test)
    total = total_parameters(towers.text.tower)
    stack = build_stack(towers.text.tower, method_of(records[0][1], towers), [1]).to(device) if records else None
    tower = stack.tower if stack is not None else towers.text.tower.to(device)
    encode = measure.encoder(tower, towers.text.tokenizer)
    return EvalSetup(model, data, corpus, test, languages, towers, images, device, stack, encode, total)


def _check_images(images: Tensor, test: Split) -> None:
    """Raise DataError, naming pictures, where image features [images, d] are zero or not finite."""
    bad = (~(images.isfinite().all(dim=1) & (images != 0).any(dim=1))).nonzero().flatten().tolist()
    if bad:
        names = ", ".join(test.images[row] for row in bad[:5]) + (", ..." if len(bad) > 5 else "")
        raise DataError(f"expected finite, non-zero image features, found {len(bad)} that are not: {names}")


def _device(config: EvalConfig) -> str:
    from xpet.training.device import make_engine

    return str(make_engine(config.fit.device).device)
