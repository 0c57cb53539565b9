"""The result of `xpet align --status` as a table and sentences, which the view prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xpet.cli.view import Block, Column, Paragraph, Row, TextTable

if TYPE_CHECKING:
    from xpet.jobs.results.status import PhaseStatus, RunStatus, StatusResult

COLUMNS: list[Column] = [
    ("run", "left"), ("state", "right"), ("step", "right"), ("R@1", "right"), ("loss", "right"), ("best R@1", "right"),
    ("at step", "right"), ("on test", "right"), ("age", "right"),
]  # fmt: skip
SHORT = {"align_weight": "w=", "learning_rate": "lr=", "seed": "seed="}
"""What stands before the values of settings that are numbers."""
STYLES = {"finished": "green", "diverged": "red", "stopped": "yellow", "waiting": "dim"}
HOUR = 3600
UNITS = (("d", 24 * HOUR), ("h", HOUR), ("min", 60), ("s", 1))
"""Units of time, and their seconds."""


def summary(result: StatusResult) -> Iterator[Block]:
    """For each phase a table of the runs, and sentences that say what remains."""
    for number, phase in enumerate(result.phases):
        if number:
            yield Paragraph("")
        yield TextTable(f"{phase.folder}: {phase.state}", COLUMNS, list(_rows(phase.runs)), _style)
        yield Paragraph("")
        yield Paragraph(" ".join(_sentences(phase)))
        if phase.next is not None:
            yield Paragraph(f"{'Next' if phase.state == 'finished' else 'Go on'}: {phase.next}")
    yield Paragraph("R@1 (percent) and loss on validation; age: since something of the run was written.", "dim")


def _style(row: Row) -> str:
    return STYLES.get(row[1], "")


def _rows(runs: Sequence[RunStatus]) -> Iterator[Row]:
    """A row for each run, named by its language and by the settings that are not the same in all runs."""
    values: dict[str, set[Any]] = {}
    for run in runs:
        for key, value in run.settings.items():
            values.setdefault(key, set()).add(value)
    varying = [key for key, found in values.items() if key == "language" or len(found) > 1]
    for run in runs:
        named = " ".join(f"{SHORT.get(key, '')}{run.settings[key]}" for key in varying if key in run.settings)
        yield _row(named or run.label, run)


def _row(name: str, run: RunStatus) -> Row:
    step = "-" if run.step is None else f"{run.step:,}" + (f"/{run.steps:,}" if run.steps is not None else "")
    return (
        name, run.state, step, *_figures(run.figures, "val_r1", "val_loss"), *_figures(run.best, "val_r1"),
        "-" if run.best_step is None else f"{run.best_step:,}", "-" if run.aligned is None else f"{run.aligned:.1f}",
        "-" if run.age is None else lasting(run.age, 1),
    )  # fmt: skip


def _figures(figures: Mapping[str, float] | None, *names: str) -> list[str]:
    """Figures by name: percents with one digit behind the point, losses with four significant ones."""
    values = [(name, (figures or {}).get(name)) for name in names]
    return ["-" if v is None else f"{v:.4g}" if name.endswith("loss") else f"{v:.1f}" for name, v in values]


def _sentences(phase: PhaseStatus) -> Iterator[str]:
    counts = ", ".join(f"{count} {state}" for state, count in phase.counts.items())
    yield f"{len(phase.runs)} run{'s' * (len(phase.runs) != 1)}: {counts}."
    yield f"Last sign of life {lasting(phase.age)} ago."
    if phase.state != "finished":
        left = "not known yet" if phase.seconds_left is None else f"about {_roughly(phase.seconds_left)}"
        yield f"Time left{' once it goes on' * (phase.state == 'stopped')}: {left}."


def _roughly(seconds: float) -> str:
    """A duration that was estimated: below an hour in one unit."""
    return lasting(seconds, 1 if seconds < HOUR else 2)


def lasting(seconds: float, most: int = 2) -> str:
    """A duration in its largest units, at most so many, such as `3 h 20 min`."""
    whole = round(seconds)
    for (unit, size), (lower, part) in zip(UNITS, UNITS[1:], strict=False):
        if whole >= size:
            rest = whole % size // part if most > 1 else 0
            return f"{whole // size} {unit}" + (f" {rest} {lower}" if rest else "")
    return f"{whole} s"
