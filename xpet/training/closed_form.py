"""Runs of a method that has a closed form: every caption is encoded once by the bare tower, and nothing is trained.

A run's candidates (`FittedCandidate`) are scored by its validation texts, as checkpoints are. The best is chosen as
settings of a sweep are, by retrieval; of equal ones the first, which is the simplest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from xpet.core.events import OnEvent, Progress, ignore
from xpet.core.fitted_candidate import FittedCandidate
from xpet.core.selection import RULES
from xpet.training.progress import StepCounter
from xpet.training.queue import Run, RunData
from xpet.training.selection import TrainedRun, Validation
from xpet.training.session import Assign
from xpet.training.setup import FitSetup
from xpet.training.slots import VALIDATION_ROWS
from xpet.training.stacklike import Tokens

MOST_PAIRS = 50_000
"""Pairs of captions that a run is fitted on at most, evenly spread over all it has."""
MOST_KNOWN = 20_000
"""Captions whose features are kept for the next runs."""


Candidates = Callable[[Tensor, Tensor], Iterable[FittedCandidate]]
"""(features of captions [n, d], those they are to come near [n, d]) -> candidates, the simplest first."""


class Fitting:
    """Fits runs; the features of captions are kept, for runs share them."""

    def __init__(self, candidates: Candidates) -> None:
        self.candidates = candidates
        self._known: dict[tuple[int, ...], Tensor] = {}

    def stream(
        self, setup: FitSetup, assign: Assign, on_event: OnEvent = ignore, counter: StepCounter | None = None
    ) -> Iterator[list[TrainedRun]]:
        """Fit the runs that wait in a queue, one after another, and yield each; in place of `xpet.training.fit.stream`.

        Processes that share the stack (`setup.spread`) encode the captions together.
        """
        counter = counter or StepCounter([setup.queue])
        checkpoints = setup.checkpoints
        while setup.queue.waiting:
            for number, run in setup.queue.admit(1):
                if checkpoints is not None:
                    checkpoints.stop()
                assign(setup.stack, [], [run])
                with setup.stack.lowered(setup.engine.dtype):
                    fitted = self.fitted(setup, run, number)
                on_event(Progress("fitting", counter.add(setup.queue.steps), counter.total, run[0].language))
                if checkpoints is not None:
                    checkpoints.note_ended([fitted])
                yield [fitted]

    @torch.no_grad()
    def fitted(self, setup: FitSetup, given: Run, number: int = 0) -> TrainedRun:
        """A run (with its `number` in the queue), fitted to its data; the stack holds it as the base is."""
        started, data, run = time.monotonic(), given[1], TrainedRun(given[0], number)
        source, target = self._pairs(setup, data)
        found = list(self.candidates(source, target))
        texts = self._features(setup, data.val_text)
        mapped = torch.stack([candidate.features(texts) for candidate in found])  # [candidates, texts, d]
        index, images = [data.val_image_index] * len(found), [data.val_image] * len(found)
        scores = Validation(images, index, setup.device).scores(mapped.to(setup.device))
        figure = RULES[setup.fit.select].setting
        for step, (candidate, values) in enumerate(zip(found, scores, strict=True)):
            if values is None:  # features that are zero or not finite
                continue
            run.history.append({"step": step, "candidate": candidate.name, **values})
            if not run.validated or values[figure] > run.score:
                run.chosen_step, run.score, run.validated = step, values[figure], True
        run.state = found[run.chosen_step].parameters(setup.stack.state(0))
        run.seconds = time.monotonic() - started
        return run

    def _pairs(self, setup: FitSetup, data: RunData) -> tuple[Tensor, Tensor]:
        """Features of the captions of a run, and of what they are to come near, [n, d] each."""
        count = min(len(data.student), MOST_PAIRS)
        rows = [row * len(data.student) // count for row in range(count)]
        source = self._features(setup, [data.student[row] for row in rows])
        if data.anchor_features is not None:
            return source, data.anchor_features[rows].to(source)
        assert data.anchor is not None, "a run is fitted to its anchors"
        return source, self._features(setup, [data.anchor[row] for row in rows])

    def _features(self, setup: FitSetup, captions: Tokens) -> Tensor:
        """Features [captions, d] by the bare tower, on the CPU; every different caption is encoded once."""
        rows = [tuple(captions[number]) for number in range(len(captions))]
        new = sorted({row for row in rows if row not in self._known}, key=lambda row: (len(row), row))
        size = VALIDATION_ROWS[setup.device.type] * setup.spread.world
        for start in range(0, len(new), size):
            part: Sequence[Sequence[int]] = new[start : start + size]
            encoded = setup.encode(setup.lay_out([part]).to(setup.engine.send), 0, 1)[0].cpu()
            self._known.update(zip(new[start : start + size], encoded, strict=True))
        features = torch.stack([self._known[row] for row in rows])
        if len(self._known) > MOST_KNOWN:
            self._known.clear()
        return features
