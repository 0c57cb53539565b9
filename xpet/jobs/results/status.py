"""How far a training in another process is (`xpet align --status`), which the view prints and `--json` writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from xpet.jobs.results.document import document

FINISHED, DIVERGED, TRAINING, STOPPED, WAITING = "finished", "diverged", "training", "stopped", "waiting"
"""States of a run. It is stopped where it was training and no process is at work any more."""
RUNNING = "running"
"""State of a whole whose process is at work; it is finished or stopped otherwise."""
BETWEEN = "between phases"
"""State of a chain whose phases so far are finished, and the next one is not begun."""


@dataclass(frozen=True)
class RunStatus:
    """How far one run is.

    Attributes:
        label: the run's label.
        settings: its settings by their names in `RunConfig`; of a diverged run of a finished sweep those of the label.
        state: one of the states above.
        step: the step of its last validation; None before the first.
        steps: how many steps it takes; None where that is not known yet.
        figures: those of its last validation, as its history names them.
        best_step: the step of its best checkpoint so far.
        best: the figures of that one.
        aligned: R@1 on the test split in percent; None before it is finished.
        age: seconds since something of it was written; None where nothing was.
    """

    label: str
    settings: Mapping[str, Any]
    state: str
    step: int | None = None
    steps: int | None = None
    figures: Mapping[str, float] | None = None
    best_step: int | None = None
    best: Mapping[str, float] | None = None
    aligned: float | None = None
    age: float | None = None


@dataclass(frozen=True)
class PhaseStatus:
    """How far a run, a sweep or one phase of a chain is.

    Attributes:
        folder: where its runs go.
        state: running, stopped or finished.
        runs: its runs, in the order of the plan.
        age: seconds since something was written.
        seconds_left: what the rest will take, judged by the steps so far; None where these tell nothing yet.
        next: the command that goes on where it is stopped, or measures what is finished; None while it runs.
    """

    folder: str
    state: str
    runs: tuple[RunStatus, ...]
    age: float
    seconds_left: float | None = None
    next: str | None = None

    @property
    def counts(self) -> dict[str, int]:
        """How many runs are in each state that some are in."""
        found = Counter(run.state for run in self.runs)
        return {state: found[state] for state in (FINISHED, DIVERGED, TRAINING, STOPPED, WAITING) if found[state]}


@dataclass(frozen=True)
class StatusResult:
    """What `xpet align --status` found; `phases` are those that were begun, of all but a chain one.

    `is_whole` is False for a chain that may have further phases.
    """

    folder: str
    phases: tuple[PhaseStatus, ...]
    is_whole: bool = True

    @property
    def state(self) -> str:
        """The state of the whole: that of the first phase that is not finished."""
        ended = FINISHED if self.is_whole else BETWEEN
        return next((phase.state for phase in self.phases if phase.state != FINISHED), ended)

    def to_dict(self) -> dict[str, Any]:
        """The whole, JSON-ready."""
        phases = [{**asdict(phase), "counts": phase.counts} for phase in self.phases]
        return document("align", {"folder": self.folder, "status": self.state, "phases": phases})
