"""What stays the same while a stack trains: the stack, its queue, the number of slots, the plan, the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from xpet.core.config import FitPlan
from xpet.core.losses import PAPER, ImageLoss
from xpet.training import parts
from xpet.training.device import Engine
from xpet.training.layouts import LAYOUTS, CaptionBatch, LayoutContext
from xpet.training.parts import PartedCaptions
from xpet.training.queue import Queue
from xpet.training.reading import ReadAhead
from xpet.training.resuming import Checkpoints
from xpet.training.spread import Spread
from xpet.training.stacklike import Collate, StackLike, Tokens

SAMPLE = 64
"""Captions of the first run by which it is decided how captions are laid out."""


@dataclass(frozen=True)
class FitSetup:
    """What stays the same while a stack trains, whichever runs are in it.

    Attributes:
        stack: a text tower with the trained parameters of several runs.
        queue: the runs that wait to be trained.
        slots: how many runs train side by side at most.
        fit: steps, batch size, validation, selection.
        collate: pads token rows to one length (for the padded layout).
        engine: device and precision.
        spread: the processes that train this stack together, all of which hold one; by default this one alone.
        ahead: reads batches ahead; None: each is read when it is needed.
        image_loss: the image-text loss, of all runs.
        checkpoints: where the training's state is kept, so that it can go on when it is stopped; None: nowhere.
    """

    stack: StackLike
    queue: Queue
    slots: int
    fit: FitPlan
    collate: Collate
    engine: Engine
    spread: Spread = Spread(0, 1)
    checkpoints: Checkpoints | None = None
    ahead: ReadAhead[Any] | None = None
    image_loss: ImageLoss = PAPER

    @property
    def device(self) -> torch.device:
        """The device everything is computed on."""
        return self.engine.device

    @property
    def dtype(self) -> torch.dtype:
        """The type losses are computed in, that of the image features."""
        return self.queue.runs[0][1].val_image.dtype

    @cached_property
    def interval(self) -> int:
        """Steps from one validation to the next."""
        return self.fit.interval(self.queue.steps)

    @cached_property
    def _context(self) -> LayoutContext:
        captions = self.queue.runs[0][1].student
        sample = [captions[number] for number in range(min(SAMPLE, len(captions)))]
        return LayoutContext.of(self.stack, self.engine, self.collate, self.fit, sample, self.spread.world)

    def lay_out(self, rows: Sequence[Tokens], most: int | None = None) -> PartedCaptions:
        """The captions of each run (equally many token rows per run), on the CPU, as the plan's layout says.

        Of these only this process's share, and at most `most` of a run are encoded at a time.
        """
        return parts.lay_out(rows, LAYOUTS[self.fit.layout], self._context, self.spread, most)

    def encode(self, captions: PartedCaptions, start: int, stop: int) -> Tensor:
        """Features [runs, captions, d] of captions that were laid out for the runs in slots `start` to `stop` - 1."""

        def encode(part: CaptionBatch) -> Tensor:
            with self.stack.some(start, stop), self.stack.casting(self.engine.dtype):
                return part.encode().to(self.dtype).unflatten(0, (stop - start, -1))

        return captions.encode(encode, self.spread)

    def gradients(self, losses: Tensor) -> list[Tensor]:
        """Gradients of the back-propagated `losses` [runs], each [runs, n]: of the captions of all processes."""
        gradients = self.stack.gradients()
        self.spread.sum_gradients(gradients, losses)
        return gradients
