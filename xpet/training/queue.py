"""What the runs of a stack learn from, and the runs that wait for a place in one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from xpet.core.config import FitPlan, RunConfig
from xpet.core.errors import ConfigError
from xpet.training.batches import batches_per_epoch
from xpet.training.stacklike import Tokens


class Rows(Protocol):
    """Feature rows that are read as they are asked for."""

    def __getitem__(self, rows: Sequence[int], /) -> Tensor:
        """Those rows, [len(rows), d]."""
        ...


@dataclass(frozen=True)
class RunData:
    """What one run learns from and is validated on.

    Row i of `student`, `anchor` (None: no alignment loss) and `image` [rows, d] belong together. Without images there
    is no image-text loss. `frozen` [rows, d] holds features of anchors that are not trained, in place of `anchor`;
    only the rows of a step are read. With `pictured` captions row i of `image` belongs to row i of these, which
    are read in batches beside the others, and not to a student. Validation texts belong to
    `val_image[val_image_index[row]]` [images, d], which are features of images or of whatever else is to be found.
    `whole`: batches are always full, so that runs of different length can share a stack.
    """

    student: Tokens
    anchor: Tokens | None
    image: Tensor | None
    val_text: Tokens
    val_image: Tensor
    val_image_index: Tensor
    frozen: Rows | None = None
    whole: bool = False
    pictured: Tokens | None = None

    @property
    def shape(self) -> tuple[int, int, int, bool, bool, bool]:
        """Runs can share a stack when this is equal: training rows, validation rows, which losses there are."""
        rows = 0 if self.whole else len(self.student)
        pictured = len(self.pictured or ())
        return rows, len(self.val_text), pictured, self.anchor is None, self.frozen is None, self.image is None


Run = tuple[RunConfig, RunData]


class Queue:
    """Runs of one shape that wait for a place; stacks on several threads may take from it.

    `batch` rows and `steps` are those of every run, where runs differ in length of the shortest; batches are alike
    every `cycle` steps (the last of an epoch may be smaller). Raises ConfigError when the runs cannot share a stack or
    leave the loss nothing to tell apart.
    """

    def __init__(self, runs: Sequence[Run], config: FitPlan) -> None:
        shapes = {data.shape for _, data in runs}
        if len(shapes) != 1:
            raise ConfigError(f"expected runs of one shape, found {len(runs)} of shapes {sorted(shapes)}")
        rows = min(len(data.student) for _, data in runs)
        per_epoch = batches_per_epoch(rows, config.batch_size)
        if per_epoch == 0:
            raise ConfigError(f"expected at least 2 training examples per batch, found {rows} in all")
        self.batch = min(config.batch_size, rows) if runs[0][1].whole else config.batch_size
        self.steps = config.steps_for(per_epoch)
        even = runs[0][1].whole or per_epoch == 1 or rows % config.batch_size in (0, 1)
        self.cycle = 1 if even else per_epoch
        self.runs = list(runs)
        self._waiting = deque(enumerate(runs))
        self._lock = threading.Lock()

    def take(self, most: int) -> list[tuple[int, Run]]:
        """The next runs, at most so many, each with its number in `runs`; they wait no longer."""
        with self._lock:
            return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]

    @property
    def waiting(self) -> int:
        """How many runs wait."""
        return len(self._waiting)


class Tally:
    """Steps of runs that are done, of all there are to do, over every stack."""

    def __init__(self, queues: Sequence[Queue]) -> None:
        self.total = sum(len(queue.runs) * queue.steps for queue in queues)
        self._done = 0
        self._lock = threading.Lock()

    def add(self, steps: int) -> int:
        """Count more of them; returns how many are done."""
        with self._lock:
            self._done += steps
            return self._done
