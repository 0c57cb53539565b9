"""Summarises runs: the setting chosen per language on validation, its mean over seeds, and disparity."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xpet.core.captions import PIVOT, Corpus
from xpet.core.config import AlignPlan
from xpet.core.files import write_file
from xpet.core.map_score import MapScore, conclusion
from xpet.core.processes import here
from xpet.core.routines import ROUTINES
from xpet.core.run_record import RunResult
from xpet.core.seeds import mean_known, over_seeds
from xpet.core.selection import RULES
from xpet.jobs.results.align import AlignResult, LanguageResult
from xpet.jobs.shared.best_setting import choose_setting


def summarise(
    config: AlignPlan, runs: Sequence[RunResult], failed: Sequence[str], *, corpus: Corpus, shots: int, **facts: Any
) -> AlignResult:
    """The result of a command, for several runs also written as summary.json; `facts` are its further fields."""
    from xpet.core.disparity import disparity, disparity_over_seeds

    languages = dict.fromkeys(run.language for run in runs)
    best = {lang: choose_setting([r for r in runs if r.language == lang], config.fit.select) for lang in languages}
    chosen = [_language(of_setting) for of_setting in best.values()]
    aligned = {lang: {run.seed: run.aligned for run in of_setting} for lang, of_setting in best.items()}
    english: float | None = facts["english_before"]
    before = {c.language: c.target_before for c in chosen}
    if english is not None:
        before = {PIVOT: english, **before}
    several, aligned_by = len(before) > 1, {c.language: c.aligned for c in chosen}
    maps = {c.language: c.map for c in chosen}
    result = AlignResult(
        method=config.method.name, data=corpus.name, shots=shots, synthetic=corpus.synthetic,
        compared=tuple(before), before=disparity(before) if several else None,
        after=disparity_over_seeds(aligned, before) if several else None,
        mapped=disparity({**before, **_recalls(maps)}) if several and all(maps.values()) else None,
        conclusion="" if config.is_fitted else conclusion(aligned_by, maps, facts["images"]),
        languages=tuple(chosen), runs=tuple(runs), failed=tuple(failed),
        translates_queries=any(ROUTINES[c.routine].translates_queries for c in chosen), advice=_advice(chosen),
        chosen_by=RULES[config.fit.select].words, **facts,
    )  # fmt: skip
    if (len(runs) > 1 or failed) and here().is_first:
        _write(Path(result.folder) / "summary.json", result)
    return result


def _language(best: Sequence[RunResult]) -> LanguageResult:
    """The result of one language, from the runs of its chosen setting, best first."""
    first = best[0]
    aligned, std = over_seeds([r.aligned for r in best])
    return LanguageResult(
        language=first.language, routine=first.routine, loss=first.loss, align_weight=first.align_weight,
        learning_rate=first.learning_rate, seeds=tuple(sorted(r.seed for r in best)),
        target_before=first.target_before, translated_before=first.translated_before,
        aligned=aligned, aligned_std=std, gain=aligned - first.target_before,
        english_after=mean_known([r.english_after for r in best]),
        seconds=sum(r.seconds for r in best), folder=first.folder, trainable=first.trainable,
        map=first.map, candidate=first.candidate,
    )  # fmt: skip


def _recalls(maps: Mapping[str, MapScore | None]) -> dict[str, float]:
    return {language: score.r1 for language, score in maps.items() if score is not None}


def _advice(chosen: Sequence[LanguageResult]) -> tuple[str, ...]:
    """A hint for languages where translated queries now retrieve worse than natural ones did before training."""
    worse = [c.language for c in chosen if ROUTINES[c.routine].translates_queries and c.gain < 0]
    if not worse:
        return ()
    names = ", ".join(worse)
    return (
        f"{names}: translated text retrieves worse than natural text did; compare --routine 1,3 with many --val-shots",
    )


def _write(path: Path, result: AlignResult) -> None:
    """Write summary.json beside the runs, which are kept if that fails."""
    text = json.dumps(result.to_dict(), indent=2, ensure_ascii=False) + "\n"
    write_file(path, text, "the runs beside it are written")
