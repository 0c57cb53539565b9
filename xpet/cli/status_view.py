"""The result of `xpet align --status` as a table and sentences, which the view prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from xpet.cli.view import Block, Column, Paragraph, Row, TextTable

if TYPE_CHECKING:
    from xpet.jobs.results.status import PhaseStatus, RunStatus, StatusResult

COLUMNS: list[Column] = [
    ("run", "left"), ("state", "left"), ("step", "right"), ("R@1", "right"), ("loss", "right"), ("best R@1", "right"),
    ("best loss", "right"), ("at step", "right"), ("on test", "right"), ("seen", "right"),
]  # fmt: skip
STYLES = {"finished": "green", "diverged": "red", "stopped": "yellow", "waiting": "dim"}
UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
"""Units of time, and their seconds."""


def summary(result: StatusResult) -> Iterator[Block]:
    """For each phase a table of the runs, and sentences that say what remains."""
    for number, phase in enumerate(result.phases):
        if number:
            yield Paragraph("")
        yield TextTable(f"{phase.folder}: {phase.state}", COLUMNS, [_run(run) for run in phase.runs], _style)
        yield Paragraph("")
        yield Paragraph(" ".join(_sentences(phase)))
        if phase.next is not None:
            yield Paragraph(f"{'Next' if phase.state == 'finished' else 'Go on'}: {phase.next}")
    yield Paragraph("R@1 (percent) and loss on validation; seen: time since something of the run was written.", "dim")


def _style(row: Row) -> str:
    return STYLES.get(row[1], "")


def _run(run: RunStatus) -> tuple[str, ...]:
    step = "-" if run.step is None else f"{run.step:,}" + (f"/{run.steps:,}" if run.steps is not None else "")
    return (
        run.label, run.state, step, *_figures(run.figures, "val_r1", "val_loss"),
        *_figures(run.best, "val_r1", "val_loss"), "-" if run.best_step is None else f"{run.best_step:,}",
        "-" if run.aligned is None else f"{run.aligned:.1f}", "-" if run.age is None else f"{lasting(run.age)} ago",
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
        left = "not known yet" if phase.seconds_left is None else f"about {lasting(phase.seconds_left)}"
        yield f"Time left{' once it goes on' * (phase.state == 'stopped')}: {left}."


def lasting(seconds: float) -> str:
    """A duration in its two largest units, such as `3 h 20 min`."""
    whole = round(seconds)
    for (unit, size), (lower, part) in zip(UNITS, UNITS[1:], strict=False):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit}" + (f" {rest} {lower}" if rest else "")
    return f"{whole} s"
