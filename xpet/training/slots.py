"""The slots of a stack: which run trains in each, and what these runs need on the device."""

from __future__ import annotations

import collections
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice, pairwise

import torch
from torch import Tensor

from xpet.core.config import RunConfig
from xpet.core.dropout_bits import signed
from xpet.core.errors import DataError
from xpet.core.losses import AlignmentLoss, find_loss
from xpet.core.transfer import send
from xpet.training.batches import BatchRows, batch_order
from xpet.training.checkpoint import Checkpoint
from xpet.training.parts import PartedCaptions
from xpet.training.queue import Run, RunData
from xpet.training.selection import TrainedRun, Validation
from xpet.training.setup import FitSetup

SlotRows = tuple[list[int], "list[int] | None"]
"""Rows of the students of a batch, and of its image captions where a run has these."""

VALIDATION_ROWS = {"cpu": 512, "cuda": 4096}
"""Texts encoded at a time in a validation, over all runs: on a CPU few enough for its caches (measured)."""


@dataclass(frozen=True)
class Slot:
    """One run in training.

    Attributes:
        run: its configuration and its data.
        began: the session's steps before the run's first.
        trained: its result, which training fills in.
        batches: rows of its student (and anchor) captions, one list per step.
        image_batches: rows of its image captions, one list per step; None where it has none.
    """

    run: Run
    began: int
    trained: TrainedRun
    batches: BatchRows
    image_batches: BatchRows | None

    @property
    def config(self) -> RunConfig:
        """The run's configuration."""
        return self.run[0]

    @property
    def data(self) -> RunData:
        """What the run learns from."""
        return self.run[1]

    def read(self) -> SlotRows:
        """Rows of the next batch; raises StopIteration after the run's last one."""
        return next(self.batches), None if self.image_batches is None else next(self.image_batches)

    def put_back(self, rows: SlotRows) -> None:
        """Let these rows come next; of several batches the last is put back first."""
        self.batches.put_back(rows[0])
        if self.image_batches is not None and rows[1] is not None:
            self.image_batches.put_back(rows[1])


@dataclass(frozen=True)
class Cohort:
    """Runs that began in the same step, in slots `start` to `stop` - 1, with their validation texts on the device.

    `began` is the session's steps before their first; `texts` are the validation texts of all of them, in parts.
    """

    began: int
    start: int
    stop: int
    texts: Sequence[PartedCaptions]
    validation: Validation

    @property
    def slots(self) -> range:
        """The slots of these runs."""
        return range(self.start, self.stop)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """No tensors, of any shapes: what a recorded validation reads stays where it is."""
        return ()

    @property
    def key(self) -> Hashable:
        """What tells cohorts of one stack apart."""
        return self.start, self.stop


class TrainingImages:
    """Image features of all runs' training rows on the device; runs that share their images share the memory."""

    def __init__(self, images: Sequence[Tensor], device: torch.device) -> None:
        numbers: dict[int, int] = {}
        indices = [numbers.setdefault(id(rows), len(numbers)) for rows in images]
        self.distinct_index = send(torch.tensor(indices), device)  # [runs], each run's index in `features`
        distinct = {id(rows): rows for rows in images}.values()
        self.features = send(torch.stack(list(distinct)), device) if images else None  # [distinct, rows, d]

    def rows(self, index: Tensor) -> Tensor | None:
        """Image features [runs, n, d] of rows `index` [runs, n]; None where the runs have no images."""
        return None if self.features is None else self.features[self.distinct_index.unsqueeze(1), index]


@dataclass(frozen=True)
class Occupancy:
    """The runs in the slots and what they need on the device; made anew whenever runs come or go.

    Attributes:
        slots: one per run.
        cohorts: the same runs in groups that began together, in the same order.
        weights: weights [2, runs] of the image-text and of the alignment loss.
        seeds: the runs' seeds [runs], int64.
        images: image features of the runs' training rows.
        losses: alignment loss -> the slots [n] whose runs use it.
    """

    slots: Sequence[Slot]
    cohorts: Sequence[Cohort]
    weights: Tensor
    seeds: Tensor
    images: TrainingImages
    losses: Mapping[AlignmentLoss, Tensor]


def admit(setup: FitSetup, count: int, step: int) -> list[Slot]:
    """Slots for the next runs of the queue, at most `count`, which begin after `step` steps of the session."""
    return [_slot(setup, run, step, TrainedRun(run[0], number)) for number, run in setup.queue.admit(count)]


def readmit(setup: FitSetup, checkpoint: Checkpoint) -> list[Slot]:
    """The slots of a checkpoint, whose runs go on where they were. Raises DataError where their data are others."""
    runs = {run[0].label: (number, run) for number, run in enumerate(setup.queue.runs)}
    slots = []
    for state in checkpoint.runs:
        number, run = runs[state.label]
        if state.data != run[1].digest:
            raise DataError(f"the checkpoint of run {state.label} was made with other captions or pictures")
        slot = _slot(setup, run, state.began, state.trained(run[0], number, {}))
        for batches in (slot.batches, slot.image_batches):
            if batches is not None:
                collections.deque(islice(batches, checkpoint.step - state.began), maxlen=0)
        slots.append(slot)
    return slots


def _slot(setup: FitSetup, run: Run, began: int, trained: TrainedRun) -> Slot:
    config, data = run
    size, steps = setup.queue.batch, setup.queue.steps
    batches = BatchRows(batch_order(len(data.student), size, steps, config.seed, data.only_full_batches))
    image_batches = None
    if data.image_captions is not None:
        rows = len(data.image_captions)
        image_batches = BatchRows(batch_order(rows, min(size, rows), steps, config.seed, only_full=True))
    return Slot(run, began, trained, batches, image_batches)


def occupied(setup: FitSetup, slots: Sequence[Slot]) -> Occupancy:
    """Put what the runs in these slots need on the device."""
    device = setup.device
    weights = [(slot.config.image_weight, slot.config.align_weight) for slot in slots]
    return Occupancy(
        slots,
        _cohorts(setup, slots),
        send(torch.tensor(weights, dtype=setup.dtype).T, device),
        send(torch.tensor([signed(slot.config.seed) for slot in slots]), device),
        TrainingImages([slot.data.image for slot in slots if slot.data.image is not None], device),
        _losses([slot.config.loss for slot in slots], device),
    )


def _losses(names: Sequence[str], device: torch.device) -> dict[AlignmentLoss, Tensor]:
    """Alignment loss -> the slots [n] of the runs that use it, given the name of every slot's loss."""
    slots: dict[str, list[int]] = {}
    for slot, name in enumerate(names):
        slots.setdefault(name, []).append(slot)
    return {find_loss(name): send(torch.tensor(indices), device) for name, indices in slots.items()}


def _cohorts(setup: FitSetup, slots: Sequence[Slot]) -> list[Cohort]:
    cohorts: list[Cohort] = []
    for began, members in groupby(slots, key=lambda slot: slot.began):
        start = cohorts[-1].stop if cohorts else 0
        cohorts.append(_cohort(setup, began, start, [slot.data for slot in members]))
    return cohorts


def _cohort(setup: FitSetup, began: int, start: int, data: Sequence[RunData]) -> Cohort:
    count = len(data[0].val_text)
    rows = VALIDATION_ROWS[setup.device.type] * setup.spread.world
    parts = min(count, math.ceil(count * len(data) / rows))
    bounds = [round(count * part / parts) for part in range(parts + 1)]
    texts = [setup.lay_out([d.val_text[i:j] for d in data]).to(setup.engine.send) for i, j in pairwise(bounds)]
    validation = Validation([d.val_image for d in data], [d.val_image_index for d in data], setup.device)
    return Cohort(began, start, start + len(data), texts, validation)
