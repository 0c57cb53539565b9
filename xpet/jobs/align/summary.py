"""Turns runs into what the report says: the setting chosen per language on validation, averaged over seeds."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xpet.core.captions import PIVOT, Corpus
from xpet.core.config import AlignPlan
from xpet.core.errors import OutputError
from xpet.core.routines import ROUTINES
from xpet.core.selection import RULES
from xpet.jobs.results.results import AlignResult, LanguageResult, RunResult, Spread


def of_align(
    config: AlignPlan, runs: Sequence[RunResult], failed: Sequence[str], *, corpus: Corpus, shots: int, **facts: Any
) -> AlignResult:
    """The result of a whole command; a sweep gets a summary.json beside its runs."""
    chosen = [_chosen(language, runs, config.fit.select) for language in dict.fromkeys(r.language for r in runs)]
    english: float | None = facts["english_before"]
    before = {c.language: c.target_before for c in chosen}
    if english is not None:
        before = {PIVOT: english, **before}
    several = len(before) > 1
    result = AlignResult(
        method=config.method.name, data=corpus.name, shots=shots, synthetic=corpus.synthetic,
        compared=tuple(before), before=spread([before]) if several else None,
        after=_after(chosen, runs, before) if several else None,
        languages=tuple(chosen), runs=tuple(runs), failed=tuple(failed),
        translates_queries=any(ROUTINES[c.routine].translates_queries for c in chosen), advice=_advice(chosen),
        chosen_by=RULES[config.fit.select].words, **facts,
    )  # fmt: skip
    if len(runs) > 1 or failed:
        _write(Path(result.folder) / "summary.json", result)
    return result


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


def _chosen(language: str, runs: Sequence[RunResult], select: str) -> LanguageResult:
    best = choose_setting([run for run in runs if run.language == language], select)
    first = best[0]
    aligned = [r.aligned for r in best]
    return LanguageResult(
        language=language, routine=first.routine, loss=first.loss, align_weight=first.align_weight,
        learning_rate=first.learning_rate, seeds=tuple(sorted(r.seed for r in best)),
        target_before=first.target_before, translated_before=first.translated_before,
        aligned=statistics.fmean(aligned), aligned_std=statistics.pstdev(aligned),
        gain=statistics.fmean(aligned) - first.target_before,
        english_after=mean_known([r.english_after for r in best]),
        seconds=sum(r.seconds for r in best), folder=first.folder, trainable=first.trainable,
    )  # fmt: skip


def _advice(chosen: Sequence[LanguageResult]) -> tuple[str, ...]:
    """What a reader should not miss: where translated queries retrieve worse than natural ones did before."""
    worse = [c.language for c in chosen if ROUTINES[c.routine].translates_queries and c.gain < 0]
    if not worse:
        return ()
    names = ", ".join(worse)
    return (
        f"{names}: translated text retrieves worse than natural text did; compare --routine 1,3 with many --val-shots",
    )


def _score(run: RunResult, select: str) -> tuple[float, float]:
    """Validation retrieval of a run's checkpoint, then its negative loss; a run too short to validate is behind all."""
    worst = float("-inf")
    return run.validation.get(RULES[select].setting, worst), -run.validation.get("val_loss", -worst)


def mean_known(values: Sequence[float | None]) -> float | None:
    """Mean of the values that are there; None when none is."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _after(chosen: Sequence[LanguageResult], runs: Sequence[RunResult], before: Mapping[str, float]) -> Spread:
    settings = {c.language: (c.routine, c.loss, c.align_weight, c.learning_rate) for c in chosen}
    aligned: dict[str, dict[int, float]] = {}
    for run in runs:
        if run.setting == settings[run.language]:
            aligned.setdefault(run.language, {})[run.seed] = run.aligned
    return after_spread(aligned, before)


def _write(path: Path, result: AlignResult) -> None:
    """Put summary.json beside the runs; the runs themselves are safe already when the disk refuses."""
    text = json.dumps(result.to_dict(), indent=2, ensure_ascii=False) + "\n"
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"the runs are written, but not {path}: {error.strerror or error}") from error
