"""The setting that is best on validation."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from xpet.core.run_record import RunResult
from xpet.core.selection import RULES


def choose_setting(runs: Sequence[RunResult], select: str) -> list[RunResult]:
    """Of the runs of one language, those of the setting that is best on validation, best run first.

    A setting that lost seeds to divergence is behind every complete one; then the mean over seeds of the retrieval
    figure decides, then the loss, and the earlier setting wins ties.
    """
    settings: dict[Any, list[RunResult]] = {}
    for run in runs:
        settings.setdefault(run.setting, []).append(run)

    def rank(own: list[RunResult]) -> tuple[int, float, float]:
        retrieval, loss = zip(*(_score(run, select) for run in own), strict=True)
        return len(own), statistics.fmean(retrieval), statistics.fmean(loss)

    best = max(settings.values(), key=rank)
    return sorted(best, key=lambda run: _score(run, select), reverse=True)


def _score(run: RunResult, select: str) -> tuple[float, float]:
    """Validation retrieval of a run's checkpoint, then its negative loss; a run too short to validate is behind all."""
    worst = float("-inf")
    return run.validation.get(RULES[select].setting, worst), -run.validation.get("val_loss", -worst)


def mean_known(values: Sequence[float | None]) -> float | None:
    """Mean of the values that are there; None when none is."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
