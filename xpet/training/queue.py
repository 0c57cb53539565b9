"""What a run learns from, and the queue of runs that wait to be trained."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from torch import Tensor

from xpet.core.config import FitPlan, RunConfig
from xpet.core.errors import ConfigError
from xpet.core.processes import here
from xpet.core.tensors import crc32_of
from xpet.training.batches import batches_per_epoch
from xpet.training.stacklike import Tokens

SAMPLE = 1000
"""Rows of a run's data that its digest looks at."""


class FeatureRows(Protocol):
    """Features of many rows, which are read only when they are indexed."""

    def __getitem__(self, rows: Sequence[int], /) -> Tensor:
        """Features [len(rows), d] of these rows."""
        ...


@dataclass(frozen=True)
class RunData:
    """What one run learns from and is validated on; d is the size of the shared image-text space.

    Attributes:
        student: token ids of training captions the run learns to encode.
        anchor: token ids of their parallel captions, row by row; None: none are encoded.
        image: features [rows, d] of the training images; None: no image-text loss. Row i belongs to student i, or to
            image caption i where these are given.
        val_text: token ids of the validation texts.
        val_image: features [images, d] of what these texts are to retrieve.
        val_image_index: the row of `val_image` each validation text belongs to, int64 [texts].
        anchor_features: features of anchors that are not trained, row by row, in place of `anchor`; read when needed.
        only_full_batches: leave out the rest of an epoch that fills no batch, so that runs with different numbers of
            rows can share a stack.
        image_captions: token ids of captions that belong to `image` in place of the students; read in batches of
            their own.
    """

    student: Tokens
    anchor: Tokens | None
    image: Tensor | None
    val_text: Tokens
    val_image: Tensor
    val_image_index: Tensor
    anchor_features: FeatureRows | None = None
    only_full_batches: bool = False
    image_captions: Tokens | None = None

    @property
    def shape(self) -> tuple[int, int, int, bool, bool, bool]:
        """Numbers of training rows, validation texts and image captions, and what is absent: equal within a stack."""
        rows = 0 if self.only_full_batches else len(self.student)
        absent = self.anchor is None, self.anchor_features is None, self.image is None
        return rows, len(self.val_text), len(self.image_captions or ()), *absent

    @cached_property
    def digest(self) -> str:
        """CRC-32 (hex) of the data's beginning: other data will hardly have the same."""
        code = 0
        for tokens in (self.student, self.anchor, self.image_captions, self.val_text):
            rows = [[*tokens[i]] for i in range(min(len(tokens), SAMPLE))] if tokens is not None else None
            code = zlib.crc32(repr(rows).encode(), code)
        for values in (self.image, self.val_image, self.val_image_index):
            if values is not None:
                code = crc32_of(values[:SAMPLE], code)
        return f"{code:08x}"


Run = tuple[RunConfig, RunData]
"""A run's configuration and data."""


class Queue:
    """Runs of one shape that wait to be trained; stacks on several threads may admit runs from it.

    Where it is `shared`, all processes of the command admit from it; they make it of the same runs at the same time.

    Every run takes `steps` steps of at most `batch` rows, as many as the run with the fewest rows takes. Batch sizes
    repeat every `cycle` steps (the last batch of an epoch may be smaller). Raises ConfigError when the runs cannot
    share a stack, or when a batch would hold fewer than 2 rows.
    """

    def __init__(self, runs: Sequence[Run], config: FitPlan, shared: bool = False) -> None:
        shapes = {data.shape for _, data in runs}
        if len(shapes) != 1:
            raise ConfigError(f"expected runs of one shape, found {len(runs)} of shapes {sorted(shapes)}")
        rows = min(len(data.student) for _, data in runs)
        per_epoch = batches_per_epoch(rows, config.batch_size)
        if per_epoch == 0:
            raise ConfigError(f"expected at least 2 training examples per batch, found {rows} in all")
        self.batch = min(config.batch_size, rows) if runs[0][1].only_full_batches else config.batch_size
        self.steps = config.steps_for(per_epoch)
        same_size = runs[0][1].only_full_batches or per_epoch == 1 or rows % config.batch_size in (0, 1)
        self.cycle = 1 if same_size else per_epoch
        self.runs = list(runs)
        self._waiting = list(enumerate(runs))
        self._back: list[tuple[int, Run]] = []
        self._drawn = 0
        self._lock = threading.Lock()
        self._name = here().new_name("runs") if shared and here().world > 1 else None

    @cached_property
    def labels(self) -> frozenset[str]:
        """The labels of all runs."""
        return frozenset(config.label for config, _ in self.runs)

    def leave_out(self, labels: Collection[str]) -> None:
        """Take runs from those that wait, before any is admitted: they are finished, or go on from a checkpoint."""
        self._waiting = [each for each in self._waiting if each[1][0].label not in labels]

    def give_back(self, labels: Collection[str]) -> None:
        """Let runs wait again, before all others."""
        with self._lock:
            self._back += [each for each in enumerate(self.runs) if each[1][0].label in labels]

    def admit(self, count: int) -> list[tuple[int, Run]]:
        """Remove the next runs, at most `count`, from those that wait; returns each with its number in `runs`."""
        with self._lock:
            back, self._back = self._back[:count], self._back[count:]
            return back + [self._waiting[number] for number in self._draw(count - len(back))]

    def _draw(self, count: int) -> range:
        """The places of the next runs, at most `count`, among those that wait."""
        if self._name is not None:
            return here().draw(self._name, count, len(self._waiting))
        start = self._drawn
        self._drawn = min(start + count, len(self._waiting))
        return range(start, self._drawn)

    @property
    def waiting(self) -> int:
        """How many runs wait."""
        drawn = self._drawn if self._name is None else here().drawn(self._name)
        return len(self._back) + max(0, len(self._waiting) - drawn)
