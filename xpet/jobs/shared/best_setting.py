"""The setting that is best on validation, and disparity averaged over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from xpet.core.run_record import RunResult
from xpet.core.selection import RULES
from xpet.jobs.results.align import Spread


def spread(per_seed: Sequence[Mapping[str, float]]) -> Spread:
    """Disparity of R@1 per language, each figure averaged over seeds."""
    from xpet.core.metrics import disparity

    found = [disparity(recall) for recall in per_seed]
    mean = {lang: statistics.fmean(recall[lang] for recall in per_seed) for lang in per_seed[0]}
    gaps = [d.mean_gap for d in found if d.mean_gap is not None]
    return Spread(
        mean=statistics.fmean(d.mean for d in found),
        range=statistics.fmean(d.range for d in found),
        std=statistics.fmean(d.std for d in found),
        worst=min(mean, key=mean.__getitem__),
        mean_gap=statistics.fmean(gaps) if gaps else None,
    )


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


def after_spread(aligned: Mapping[str, Mapping[int, float]], before: Mapping[str, float]) -> Spread:
    """Disparity when every language in `aligned` (seed -> R@1) has its module and the others keep the base.

    Computed per seed, then averaged; a language without a seed stands in with its mean.
    """
    per_seed = []
    for seed in sorted({seed for values in aligned.values() for seed in values}):
        own = {lang: values.get(seed, statistics.fmean(values.values())) for lang, values in aligned.items()}
        per_seed.append({**before, **own})
    return spread(per_seed)


def _score(run: RunResult, select: str) -> tuple[float, float]:
    """Validation retrieval of a run's checkpoint, then its negative loss; a run too short to validate is behind all."""
    worst = float("-inf")
    return run.validation.get(RULES[select].setting, worst), -run.validation.get("val_loss", -worst)


def mean_known(values: Sequence[float | None]) -> float | None:
    """Mean of the values that are there; None when none is."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
