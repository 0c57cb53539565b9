"""What a run learns from, and the queue of runs that wait to be trained."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from xpet.core.config import FitPlan, RunConfig
from xpet.core.errors import ConfigError
from xpet.core.processes import here
from xpet.training.batches import batches_per_epoch
from xpet.training.stacklike import Tokens


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
        self._waiting = deque(enumerate(runs))
        self._lock = threading.Lock()
        self._name = here().new_name("runs") if shared and here().world > 1 else None

    def admit(self, count: int) -> list[tuple[int, Run]]:
        """Remove the next runs, at most `count`, from those that wait; returns each with its number in `runs`."""
        with self._lock:
            if self._name is not None:
                numbers = here().draw(self._name, count, len(self.runs))
                return [(number, self.runs[number]) for number in numbers]
            return [self._waiting.popleft() for _ in range(min(count, len(self._waiting)))]

    @property
    def waiting(self) -> int:
        """How many runs wait."""
        if self._name is not None:
            return max(0, len(self.runs) - here().drawn(self._name))
        return len(self._waiting)
