"""xpet's side of the training benchmarks: the only place here that calls its training, to follow its changes."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from tests.bench.meter import now, wait
from tests.bench.setting import Setting, image_tower, text_tower
from xpet.core.config import FitPlan, MethodConfig, RunConfig
from xpet.core.events import Event, OnEvent, Progress, ignore
from xpet.core.routines import ROUTINES
from xpet.methods.build import build_stack
from xpet.methods.stack import Stack
from xpet.models.tokenizer import TextTokenizer
from xpet.training.device import make_engine
from xpet.training.fit import fit, stream
from xpet.training.memory import runs_per_stack, workers_for
from xpet.training.queue import Queue, Run, RunData
from xpet.training.selection import TrainedRun
from xpet.training.setup import FitSetup
from xpet.training.stacklike import Reindex, StackLike
from xpet.training.workers import side_by_side

NEVER = 10**9
TAIL = 20
"""Steps from which on a fit is timed without its beginning (compiling, first allocations)."""
INTERVALS = 5
"""Intervals between progress reports from which on their median counts: recording a step falls into single ones."""


class Ours:
    """One tower with a stack, as `xpet align` has it; `seconds` are what loading and attaching took.

    `beginning` are the seconds that the last fit took beyond its steps at their usual rate: recordings, allocations.
    """

    def __init__(self, setting: Setting, method: MethodConfig, precision: str) -> None:
        self.setting = setting
        self.engine = make_engine(setting.device, precision)
        tower = text_tower(setting.size)
        self.beginning = 0.0
        started = now()
        self.stack = build_stack(tower, method, [1]).to(self.engine.device)
        wait(setting.device)
        self.seconds = now() - started
        self._another = lambda: build_stack(text_tower(setting.size), method, [1]).to(self.engine.device)
        self._others: list[Stack] = []
        self.tokenizer = TextTokenizer(setting.tokenizer.backend_tokenizer.from_str(_text(setting)), _limit(setting), 1)
        self._images: Tensor | None = None
        self._tokens: dict[tuple[str, str], list[list[int]]] = {}

    def images(self) -> Tensor:
        """Features of all images, encoded once."""
        if self._images is None:
            tower = image_tower(self.setting.size, self.setting.device)
            with torch.inference_mode():
                parts = [
                    tower(pixel_values=part.to(self.setting.device)).image_embeds.float().cpu()
                    for part in self.setting.pixels.split(64)
                ]
            self._images = torch.cat(parts).clone()
        return self._images

    def tokens(self, language: str, slot: str) -> list[list[int]]:
        if (language, slot) not in self._tokens:
            self._tokens[language, slot] = self.tokenizer.encode(self.setting.texts(language, slot))
        return self._tokens[language, slot]

    def data(self, run: RunConfig, validation: int | None = None) -> RunData:
        """What a run learns from; `validation` images of all."""
        routine, rows = ROUTINES[run.routine], self.setting.rows
        count = self.setting.validation if validation is None else validation
        images = self.images()
        return RunData(
            student=self.tokens(run.language, routine.student)[:rows],
            anchor=self.tokens(run.language, routine.anchor)[:rows] if routine.anchor else None,
            image=images[:rows],
            val_text=self.tokens(run.language, routine.evaluation)[rows : rows + count],
            val_image=images[rows : rows + count],
            val_image_index=torch.arange(count),
        )

    def workers(self, runs: Sequence[RunConfig], config: FitPlan | None = None) -> int:
        """Stacks that `xpet align` would train at a time."""
        return workers_for(len(runs), config or FitPlan(), self.engine, alone=False)

    def stack_size(self, runs: Sequence[RunConfig], batch_size: int) -> int:
        """As many runs as `xpet align` would train side by side."""
        config = FitPlan(batch_size=batch_size)
        pairs = [(run, self.data(run)) for run in runs]
        return runs_per_stack(self.stack, pairs, config, self.tokenizer.pad, self.engine, self.workers(runs))

    def fit_queue(self, runs: Sequence[RunConfig], places: int, workers: int, config: FitPlan) -> float:
        """Seconds of all runs, `places` side by side in each of several stacks at a time."""
        while len(self._others) < workers:
            self._others.append(self._another())
        queue = Queue([(run, self.data(run)) for run in runs], config)

        def assign(stack: StackLike, kept: Sequence[int], runs: Sequence[Run]) -> Reindex:
            return stack.reindex(kept, [run.seed for run, _ in runs])

        def work(stack: StackLike, on_event: OnEvent) -> Iterator[list[TrainedRun]]:
            setup = FitSetup(stack, queue, places, config, self.tokenizer.pad, self.engine)
            yield from stream(setup, assign, on_event)

        started = now()
        for outcomes in side_by_side(self._others[:workers], work, ignore):
            assert all(outcome.diverged_at is None for outcome in outcomes)
        wait(self.setting.device)
        return now() - started

    def fit(self, runs: Sequence[RunConfig], config: FitPlan, validation: int | None = None) -> float:
        """Seconds per step of a fit of all the runs side by side, validations included.

        From the tenth step on where there are enough (a fit tells of every tenth), else of the whole; the median of the
        intervals where there are INTERVALS or more.
        """
        self.stack.reset([run.seed for run in runs])
        pairs = [(run, self.data(run, validation)) for run in runs]
        marks: list[tuple[int, float]] = []

        def on_event(event: Event) -> None:
            if isinstance(event, Progress) and event.stage == "training":
                wait(self.setting.device)
                marks.append((event.done, now()))

        wait(self.setting.device)
        started = now()
        outcomes = fit(self.stack, pairs, config, self.tokenizer.pad, self.engine, on_event)
        wait(self.setting.device)
        whole = now() - started
        assert all(outcome.diverged_at is None for outcome in outcomes)
        steps = config.steps or 0
        each = whole / steps if steps < TAIL or len(marks) < 2 else _each(marks) * len(runs)
        self.beginning = max(0.0, whole - each * steps)
        return each


def _each(marks: Sequence[tuple[int, float]]) -> float:
    """Seconds of a step of a run, from (steps of all runs so far, seconds) now and then."""
    if len(marks) <= INTERVALS:
        (first, since), (last, until) = marks[0], marks[-1]
        return (until - since) / (last - first)
    pairs = [(one, other) for one, other in zip(marks, marks[1:], strict=False) if other[0] > one[0]]
    return statistics.median((until - since) / (last - first) for (first, since), (last, until) in pairs)


def fit_config(batch_size: int, steps: int, validate_every: int = NEVER, **settings: Any) -> FitPlan:
    """The paper's way of training, as far as speed goes: R@1 selects, step 0 is no candidate."""
    return FitPlan(
        batch_size=batch_size, steps=steps, validate_every=validate_every, select="r1", latest_tie_wins=True,
        include_start=False, **settings,
    )  # fmt: skip


def _text(setting: Setting) -> str:
    """The tokenizer of the setting, for a copy: padding and truncation are settings of the object."""
    return str(setting.tokenizer.backend_tokenizer.to_str())


def _limit(setting: Setting) -> int:
    return setting.size.positions - 2
