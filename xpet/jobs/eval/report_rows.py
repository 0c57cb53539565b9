"""Turns what was measured into the records of a report: figures with intervals, comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xpet.core.errors import DataError
from xpet.core.groups import group
from xpet.jobs.eval.systems import Measured
from xpet.jobs.results.report import (
    Comparison,
    Difference,
    Direction,
    Figure,
    LanguageScores,
    PerImage,
    Spread,
    System,
)

if TYPE_CHECKING:
    from xpet.core.comparison import Hits
    from xpet.core.resampling import Resamples
    from xpet.core.statistics import SpreadEstimates

SIGNIFICANT = 0.05
PERMUTATIONS = 10_000
DIGITS = 6


def system_of(
    measured: Measured, resamples: Resamples | None, groupings: Sequence[str], trained: Sequence[str] = ()
) -> System:
    """The record of a system; `groupings` as `xpet.core.groups` names them, `trained` languages of any system."""
    from xpet.core.statistics import estimate

    names = list(measured.results)
    groups = {f"{by}: {name}": list(m) for by in groupings for name, m in group(by, names, trained).items()}
    found = estimate(measured.results, resamples, groups)
    english = estimate(measured.english, resamples).languages if measured.english else {}
    languages = {
        lang: LanguageScores(
            images=own.images, captions=own.captions, image_to_text=_direction(own.image_to_text),
            text_to_image=_direction(own.text_to_image), mean=_direction(own.mean), seeds=own.seeds, std=own.std,
            run=measured.runs.get(lang), english=_figure(english[lang].mean.r1) if lang in english else None,
            untrained=_plain(measured.untrained.get(lang, {})), per_image=_per_image(measured.results[lang]),
        )
        for lang, own in found.languages.items()
    }  # fmt: skip
    return System(
        name=measured.name, kind=measured.kind, text=measured.text, languages=languages, spread=_spread(found.spread),
        groups={name: _spread(spread) for name, spread in found.groups.items()}, prompt=measured.prompt,
        method=measured.method, routine=measured.routine, shots=measured.shots, aligned=measured.aligned,
        translates_queries=measured.translates, cost=measured.cost,
        english=Figure(measured.bare_english.recall) if measured.bare_english else None,
    )  # fmt: skip


def primary(systems: Sequence[System]) -> System:
    """The system that a report is about: the last one of runs, else the reference."""
    return next((system for system in reversed(systems) if system.kind == "run"), systems[0])


def _plain(results: Mapping[str, Any]) -> dict[str, Figure]:
    """Mean R@1 without intervals."""
    return {lang: Figure(result.recall) for lang, result in results.items()}


def comparison_of(reference: System, system: System, resamples: Resamples | None, seed: int = 0) -> Comparison:
    """What changes from one system to another; raises DataError when one of them has no figures per image.

    A language that both search alike (the same on every image) is no test, and not one of those Holm corrects for.
    """
    from xpet.core.comparison import compare

    permutations = PERMUTATIONS if resamples is not None else 0
    before, after = reference.languages, system.languages
    tested = [lang for lang in after if lang in before and after[lang].per_image != before[lang].per_image]
    found = compare(_hits(reference), _hits(system), resamples, permutations, seed, tested=tested)
    languages = {
        lang: Difference(_figure(own.r1), own.p, own.p_holm, None if own.p_holm is None else own.p_holm < SIGNIFICANT)
        for lang, own in found.languages.items()
    }
    gap = None if found.mean_gap is None else _figure(found.mean_gap)
    return Comparison(
        reference.name, system.name, languages, _figure(found.mean), _figure(found.range), _figure(found.std), gap
    )


def _figure(estimate: Any) -> Figure:
    return Figure(estimate.value, estimate.low, estimate.high)


def _direction(estimates: Any) -> Direction:
    names = ("r1", "r5", "r10", "mrr", "median_rank")
    return Direction(**{name: _figure(getattr(estimates, name)) for name in names})


def _spread(found: SpreadEstimates) -> Spread:
    return Spread(
        found.languages, _figure(found.mean), _figure(found.range), _figure(found.std), found.worst, found.best,
        None if found.mean_gap is None else _figure(found.mean_gap),
    )  # fmt: skip


def _per_image(result: Any) -> PerImage:
    from xpet.core.comparison import hits

    found = hits(result)

    def short(values: Any) -> tuple[float, ...]:
        """Whole numbers as such: most hits are 0 or 1, and files stay small."""
        return tuple(int(v) if v == int(v) else v for v in (round(v, DIGITS) for v in values.tolist()))

    return PerImage(short(found.image), short(found.text), short(found.captions))


def _hits(system: System) -> Mapping[str, Hits]:
    import torch

    from xpet.core.comparison import Hits

    found = {}
    for lang, own in system.languages.items():
        if own.per_image is None:
            raise DataError(f"{system.name}: expected hits per image of {lang} to compare, found none")
        parts = (own.per_image.image, own.per_image.text, own.per_image.captions)
        if len({len(part) for part in parts}) > 1:
            raise DataError(f"{system.name}: expected hits of every image of {lang}, found a damaged result")
        found[lang] = Hits(*(torch.tensor([float(v) for v in part], dtype=torch.float64) for part in parts))
    return found
