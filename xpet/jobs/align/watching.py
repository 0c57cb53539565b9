"""What others can see of runs while they train: histories that grow, and experiment trackers (`--track`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpet.core.config import AlignConfig, AlignPlan
from xpet.core.events import Event, Notice, OnEvent, Validated
from xpet.core.run_record import RunResult
from xpet.jobs.align.histories import Histories
from xpet.jobs.align.unfinished import Unfinished

if TYPE_CHECKING:
    from xpet.training.selection import TrainedRun
    from xpet.training.trackers import Trackers

FINAL = (
    "target_before", "translated_before", "aligned", "english_before", "english_after", "chosen_step", "trainable",
    "seconds",
)  # fmt: skip
"""Figures of a finished run that trackers get, as `metrics.json` names them."""
TRACKING = ".tracking"
"""What the name of the folder of trackers adds to that of the runs."""


class Watching:
    """Tells others of runs in training; `on_event` hears all that comes in.

    Of a run that ended before nothing is told again: it may train once more beside others of its stack's checkpoint.
    `trackers` is None where none are named; `is_settled` says of a label whether an earlier command ended that run.
    """

    def __init__(
        self, histories: Histories, trackers: Trackers | None, is_settled: Callable[[str], bool], on_event: OnEvent
    ) -> None:
        self.histories, self.trackers, self.on_event = histories, trackers, on_event
        self._is_settled = is_settled
        self._ended: dict[str, bool] = {}

    def event(self, event: Event) -> None:
        """Pass an event on; a validation goes to the others first."""
        if isinstance(event, Validated) and not self._has_ended(event.label):
            self.histories.validated(event)
            if self.trackers is not None:
                self.trackers.validated(event)
        self.on_event(event)

    def ended(self, outcome: TrainedRun, result: RunResult | None) -> None:
        """Tell of a run that ended; `result` is None for one that diverged."""
        self._ended[outcome.config.label] = True
        if self.trackers is not None:
            self.trackers.ended(outcome.config.label, outcome.history, {} if result is None else final(result))

    def _has_ended(self, label: str) -> bool:
        """Whether a run ended; asked once of a run that did not, since it trains here from then on."""
        if label not in self._ended:
            self._ended[label] = self._is_settled(label)
        return self._ended[label]


def check_trackers(names: Sequence[str]) -> None:
    """Raise ConfigError for a tracker whose package is missing."""
    if names:
        from xpet.training import trackers

        trackers.check_trackers(names)


@contextmanager
def watching(plan: AlignPlan, unfinished: Unfinished, on_event: OnEvent) -> Iterator[Watching]:
    """For the block, what watches the runs of a plan, whose work was begun."""
    histories = Histories(unfinished.folder, on_event)
    paths = {run.label: unfinished.run_folder(plan, run.label) for run in plan.runs()}

    def is_settled(label: str) -> bool:
        return unfinished.is_settled(paths[label], label)

    if not plan.track:
        yield Watching(histories, None, is_settled, on_event)
        return
    from xpet.training.trackers import Trackers

    folder = tracking_folder(plan, unfinished.out)
    on_event(Notice(f"figures go to {', '.join(plan.track)}, files of trackers to {folder}"))
    settings = {run.label: hyperparameters(plan, asdict(run)) for run in plan.runs()}
    trackers = Trackers(plan.track, folder, settings.__getitem__, on_event)
    try:
        yield Watching(histories, trackers, is_settled, on_event)
    finally:
        trackers.close()


def tracking_folder(plan: AlignConfig, folder: Path) -> Path:
    """The folder of trackers' files: the one that was named, else a sibling of the folder of the runs."""
    return Path(plan.track_to) if plan.track_to is not None else folder.with_name(folder.name + TRACKING)


def final(result: RunResult) -> dict[str, float]:
    """The figures that a run ended with, without those that were not measured."""
    values = {name: getattr(result, name) for name in FINAL}
    values["map.r1"] = None if result.map is None else result.map.r1
    return {name: value for name, value in values.items() if value is not None}


def hyperparameters(plan: AlignPlan, run: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    """The settings of a run (`run`, and those of the plan) under flat names such as `method.rank`."""
    sections = ("model", "data", "method", "fit", *(["text"] if plan.text_only else []))
    flat = {f"{name}.{key}": value for name in sections for key, value in asdict(getattr(plan, name)).items()}
    values = {**run, **flat, "from": plan.start}
    return {key: _plain(value) for key, value in values.items() if value is not None}


def _plain(value: Any) -> str | int | float | bool:
    """A value as every tracker takes it: lists as text."""
    if isinstance(value, (str, int, float)):
        return value
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
