"""Limits that a CI job depends on: `--fail-if-drop`, `--fail-if-range-above`, `--fail-under`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xpet.core.config import GateConfig
from xpet.core.gates import largest_drop
from xpet.jobs.eval.report_rows import primary
from xpet.jobs.results.report import Gate, System


def gates_of(gate: GateConfig, systems: Sequence[System], compared: bool = False) -> list[Gate]:
    """Judge the runs by the limits (without runs the base, if `compared` the last system); drops are from the first."""
    first, last = systems[0], systems[-1] if compared else primary(systems)
    worst, lost = _largest_drop(first, last)
    range_, mean = last.spread.range.value, last.spread.mean.value
    rows: tuple[tuple[str, float | None, Callable[[float], bool], str], ...] = (
        ("--fail-if-drop", gate.drop, lambda most: lost <= most, f"{worst} changes by {-lost:+.1f} points of R@1"),
        ("--fail-if-range-above", gate.range_above, lambda most: range_ <= most, f"range is {range_:.1f}"),
        ("--fail-under", gate.under, lambda least: mean >= least, f"mean R@1 is {mean:.1f}"),
    )
    return [
        Gate(option, limit, passes(limit), f"{last.name}: {message}")
        for option, limit, passes, message in rows if limit is not None
    ]  # fmt: skip


def _largest_drop(first: System, last: System) -> tuple[str, float]:
    """The language that loses most, and the points it loses; English and untrained languages under modules count."""
    before = {lang: scores.mean.r1.value for lang, scores in first.languages.items()}
    after = {lang: scores.mean.r1.value for lang, scores in last.languages.items()}
    for lang, scores in last.languages.items():
        if scores.english is not None and first.english is not None:
            under = f"English under the module of {lang}"
            before[under], after[under] = first.english.value, scores.english.value
        for other, r1 in scores.untrained.items():
            if other in first.languages:
                under = f"{other} under the module of {lang}"
                before[under], after[under] = before[other], r1.value
    return largest_drop(before, after)
