"""Limits that a CI job depends on: `--fail-if-drop`, `--fail-if-range-above`, `--fail-under`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xpet.core.config import GateConfig
from xpet.jobs.eval.report_rows import primary
from xpet.jobs.results.report import (
    Gate,
    System,
)


def gates_of(gate: GateConfig, systems: Sequence[System], compared: bool = False) -> list[Gate]:
    """What the limits say of the runs (without runs: of the base; `compared`: of the last) against the first."""
    first, last = systems[0], systems[-1] if compared else primary(systems)
    worst, lost = _largest_drop(first, last)
    extent, mean = last.spread.range.value, last.spread.mean.value
    rows: tuple[tuple[str, float | None, Callable[[float], bool], str], ...] = (
        ("--fail-if-drop", gate.drop, lambda most: lost <= most, f"{worst} changes by {-lost:+.1f} points of R@1"),
        ("--fail-if-range-above", gate.range_above, lambda most: extent <= most, f"range is {extent:.1f}"),
        ("--fail-under", gate.under, lambda least: mean >= least, f"mean R@1 is {mean:.1f}"),
    )
    return [Gate(name, limit, ok(limit), f"{last.name}: {told}") for name, limit, ok, told in rows if limit is not None]


def _largest_drop(first: System, last: System) -> tuple[str, float]:
    """The language that loses most, English under each module included, and by how many points."""
    lost = {
        lang: first.languages[lang].mean.r1.value - own.mean.r1.value
        for lang, own in last.languages.items()
        if lang in first.languages
    }
    for lang, own in last.languages.items():
        if own.english is not None and first.english is not None:
            lost[f"English under the module of {lang}"] = first.english.value - own.english.value
        for other, figure in own.untrained.items():
            if other in first.languages:
                lost[f"{other} under the module of {lang}"] = first.languages[other].mean.r1.value - figure.value
    worst = max(lost, key=lost.__getitem__)
    return worst, lost[worst]
