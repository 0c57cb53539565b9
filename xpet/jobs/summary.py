"""Turns runs into what the report says: the setting chosen per language on validation, averaged over seeds."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xpet.core.captions import PIVOT, Corpus
from xpet.core.config import AlignConfig
from xpet.core.routines import ROUTINES
from xpet.jobs.results import AlignResult, LanguageResult, RunResult, Spread

VALIDATION_OF = {"mrr": ("val_mrr", 1.0), "r1": ("val_r1", 1.0), "loss": ("val_loss", -1.0)}
"""Selection rule -> figure of the history and its sign (higher is better)."""


def of_align(
    config: AlignConfig, runs: Sequence[RunResult], failed: Sequence[str], *, corpus: Corpus, **facts: Any
) -> AlignResult:
    """The result of a whole command; a sweep gets a summary.json beside its runs."""
    chosen = [_chosen(language, runs, config.fit.select) for language in dict.fromkeys(r.language for r in runs)]
    english: float | None = facts["english_before"]
    before = {c.language: c.target_before for c in chosen}
    if english is not None:
        before = {PIVOT: english, **before}
    several = len(before) > 1
    result = AlignResult(
        method=config.method.name, data=corpus.name, shots=config.data.shots, synthetic=corpus.synthetic,
        compared=tuple(before), before=spread([before]) if several else None,
        after=_after(chosen, runs, before) if several else None,
        languages=tuple(chosen), runs=tuple(runs), failed=tuple(failed),
        translates_queries=any(ROUTINES[c.routine].translates_queries for c in chosen), advice=_advice(chosen), **facts,
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


def _chosen(language: str, runs: Sequence[RunResult], select: str) -> LanguageResult:
    """The setting with the best mean validation score of a language; the earlier one wins ties."""
    settings: dict[Any, list[RunResult]] = {}
    for run in runs:
        if run.language == language:
            settings.setdefault(run.setting, []).append(run)
    best = max(settings.values(), key=lambda rs: statistics.fmean(_score(r, select) for r in rs))
    first = best[0]
    aligned = [r.aligned for r in best]
    top = max(best, key=lambda r: _score(r, select))
    return LanguageResult(
        language=language, routine=first.routine, loss=first.loss, align_weight=first.align_weight,
        learning_rate=first.learning_rate, seeds=tuple(r.seed for r in best),
        target_before=first.target_before, translated_before=first.translated_before,
        aligned=statistics.fmean(aligned), aligned_std=statistics.pstdev(aligned),
        gain=statistics.fmean(aligned) - first.target_before,
        english_after=_mean([r.english_after for r in best]),
        seconds=sum(r.seconds for r in best), folder=top.folder,
    )  # fmt: skip


def _advice(chosen: Sequence[LanguageResult]) -> tuple[str, ...]:
    """What the figures suggest trying next: other routines where translation loses more than it brings."""
    worse = [c.language for c in chosen if ROUTINES[c.routine].translates_queries and c.gain < 0]
    if not worse:
        return ()
    names = ", ".join(worse)
    return (f"{names}: searching natural text was better than translated text here; try --routine 1",)


def _score(run: RunResult, select: str) -> float:
    """Validation figure of a run's checkpoint, higher is better; a run too short to validate is behind all others."""
    name, sign = VALIDATION_OF[select]
    return sign * run.validation[name] if name in run.validation else float("-inf")


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _after(chosen: Sequence[LanguageResult], runs: Sequence[RunResult], before: Mapping[str, float]) -> Spread:
    """Disparity after: every aligned language by its own runs, the others (English) by the untouched base."""
    seeds = sorted({seed for c in chosen for seed in c.seeds})
    per_seed = []
    for seed in seeds:
        recall = dict(before)
        for c in chosen:
            setting = (c.routine, c.loss, c.align_weight, c.learning_rate)
            own = [r.aligned for r in runs if (r.language, r.seed, r.setting) == (c.language, seed, setting)]
            recall[c.language] = own[0] if own else c.aligned
        per_seed.append(recall)
    return spread(per_seed)


def _write(path: Path, result: AlignResult) -> None:
    text = json.dumps(result.to_dict(), indent=2, ensure_ascii=False) + "\n"
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
