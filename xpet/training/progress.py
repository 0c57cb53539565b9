"""How far a training is: steps, seconds and validations of its runs, counted and reported."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence

from xpet.core.events import Diverged, Event, Notice, OnEvent, Progress, Validated
from xpet.core.processes import here
from xpet.training.queue import Queue
from xpet.training.selection import TrainedRun


class StepCounter:
    """Counts the steps that all stacks have done; `total` is what all runs will take. Safe for several threads.

    Where it is `shared`, it counts those of all processes of the command, which make it at the same time.
    """

    def __init__(self, queues: Sequence[Queue], shared: bool = False) -> None:
        self.total = sum(len(queue.runs) * queue.steps for queue in queues)
        self._done = 0
        self._lock = threading.Lock()
        self._name = here().new_name("steps") if shared and here().world > 1 else None

    def add(self, steps: int) -> int:
        """Count `steps` more; returns how many are done in all."""
        if self._name is not None:
            return here().add(self._name, steps)
        with self._lock:
            self._done += steps
            return self._done


class ProgressReporter:
    """Divides the seconds of one stack's steps among its runs, and reports how far all stacks are."""

    def __init__(self, counter: StepCounter, on_event: OnEvent) -> None:
        self.counter, self._listener = counter, on_event
        self.step, self.since = 0, time.monotonic()
        self._untold: list[Event] = []

    def on_event(self, event: Event) -> None:
        """Keep an event until `tell`."""
        self._untold.append(event)

    def tell(self) -> None:
        """Tell the listener what happened. It may raise, so this is called between steps, when the state is whole."""
        while self._untold:
            self._listener(self._untold.pop(0))

    def go_on(self, step: int, taken: int) -> None:
        """Go on after `step` steps of the stack, when its runs have `taken` steps together."""
        self.step, self.since = step, time.monotonic()
        self.counter.add(taken)

    def count(self, step: int, runs: Sequence[TrainedRun]) -> tuple[int, float]:
        """Count the steps of these runs since the last call, up to `step`; returns how many, and their seconds."""
        steps, seconds = step - self.step, time.monotonic() - self.since
        self.step, self.since = step, time.monotonic()
        for run in runs:
            run.seconds += seconds / len(runs)
        self.counter.add(steps * len(runs))
        return steps, seconds

    def report(self, step: int, runs: Sequence[TrainedRun], skipped: int, more: str = "") -> None:
        """Report how far all runs are, and `more` at the end of the live figure.

        `skipped` is the number of steps that the runs that leave now will not take.
        """
        steps, seconds = self.count(step, runs)
        note = f"{len(runs)} runs, {1000 * seconds / max(1, steps):.0f} ms/step{more}"
        self.on_event(Progress("training", self.counter.add(skipped), self.counter.total, note))

    def report_divergence(self, run: TrainedRun, step: int) -> None:
        """Note that a run diverged in this step, counted from its own first, and warn of it once."""
        if run.diverged_at is None:
            run.diverged_at = step
            text = f"run {run.config.label} diverged at step {step}: loss is not finite; stopped"
            self.on_event(Notice(text, "warning"))
            self.on_event(Diverged(run.config.label, step))

    def report_validations(
        self, runs: Sequence[TrainedRun], step: int, steps: int, figures: Mapping[int, Mapping[str, float]]
    ) -> None:
        """Report the figures (slot -> name -> value) of runs validated after `step` of their own `steps` steps."""
        for slot, values in figures.items():
            self.on_event(Validated(runs[slot].config.label, step, steps, values))
