"""Turns measurements into the records of a report: figures with intervals, and comparisons of systems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from xpet.core.choices import FITTED_METHODS
from xpet.core.errors import DataError
from xpet.core.estimates import Disparity, Estimate
from xpet.core.groups import group
from xpet.core.map_score import conclusion
from xpet.jobs.eval.systems import Measured
from xpet.jobs.results.report import Comparison, Difference, LanguageScores, PerImage, System

if TYPE_CHECKING:
    from torch import Tensor

    from xpet.core.comparison import Hits
    from xpet.core.metrics import Retrieval
    from xpet.core.resampling import Resamples

SIGNIFICANT = 0.05
"""Corrected p values below this are significant."""
PERMUTATIONS = 10_000
DIGITS = 6
"""Decimals of stored hits per image."""


def system_of(
    measured: Measured[Retrieval], resamples: Resamples | None, groupings: Sequence[str], trained: Sequence[str] = ()
) -> System:
    """The record of a system; `groupings` as `--group` names them, `trained` are languages that some system trained."""
    from xpet.core.statistics import estimate

    names = list(measured.results)
    groups = {f"{by}: {name}": list(m) for by in groupings for name, m in group(by, names, trained).items()}
    figures = estimate(measured.results, resamples, groups)
    english = estimate(measured.english, resamples).languages if measured.english else {}
    languages = {
        lang: LanguageScores(
            **vars(scores), run=measured.runs.get(lang), english=english[lang].mean.r1 if lang in english else None,
            untrained={other: Estimate(result.recall) for other, result in measured.untrained.get(lang, {}).items()},
            per_image=_per_image(measured.results[lang]), map=measured.maps.get(lang),
        )
        for lang, scores in figures.languages.items()
    }  # fmt: skip
    return System(
        name=measured.name, kind=measured.kind, text=measured.text, languages=languages, spread=figures.spread,
        groups=figures.groups, prompt=measured.prompt,
        method=measured.method, routine=measured.routine, shots=measured.shots, aligned=measured.aligned,
        translates_queries=measured.translates, cost=measured.cost,
        english=Estimate(measured.bare_english.recall) if measured.bare_english else None,
        mapped=_mapped(measured, languages), conclusion=_conclusion(measured, languages),
    )  # fmt: skip


def _mapped(measured: Measured[Retrieval], languages: Mapping[str, LanguageScores]) -> Disparity[Estimate] | None:
    """Disparity with the maps of all aligned languages, without intervals: what the maps found was not kept by image.

    The other languages are searched with the base, as they are beside the modules. None where a map is missing.
    """
    from xpet.core.disparity import disparity

    if not measured.aligned or set(measured.aligned) - set(measured.maps):
        return None
    recall = {lang: scores.mean.r1.value for lang, scores in languages.items()}
    plain = disparity({**recall, **{lang: score.r1 for lang, score in measured.maps.items()}})
    figures = {name: Estimate(getattr(plain, name)) for name in ("mean", "range", "std")}
    gap = None if plain.mean_gap is None else Estimate(plain.mean_gap)
    return Disparity(plain.languages, **figures, worst=plain.worst, best=plain.best, mean_gap=gap)


def _conclusion(measured: Measured[Retrieval], languages: Mapping[str, LanguageScores]) -> str:
    """The sentence that compares the modules of a system with its maps; none where the modules are maps themselves."""
    if measured.method in FITTED_METHODS:
        return ""
    recall = {lang: scores.mean.r1.value for lang, scores in languages.items()}
    images = max(scores.images for scores in languages.values())
    return conclusion(recall, measured.maps, images)


def primary(systems: Sequence[System]) -> System:
    """The system that a report is about: the last one that has runs, else the reference."""
    return next((system for system in reversed(systems) if system.kind == "run"), systems[0])


def comparison_of(reference: System, system: System, resamples: Resamples | None, seed: int = 0) -> Comparison:
    """What changes from one system to another; raises DataError when one of them has no figures per image.

    A language with the same hits on every image in both is not tested, and does not count in Holm's correction.
    """
    from xpet.core.comparison import compare

    permutations = PERMUTATIONS if resamples is not None else 0
    before, after = reference.languages, system.languages
    tested = [lang for lang in after if lang in before and after[lang].per_image != before[lang].per_image]
    changes = compare(_hits(reference), _hits(system), resamples, permutations, seed, tested=tested)
    languages = {
        lang: Difference(**vars(change), significant=None if change.p_holm is None else change.p_holm < SIGNIFICANT)
        for lang, change in changes.languages.items()
    }
    return Comparison(reference.name, system.name, **{**vars(changes), "languages": languages})


def _per_image(result: Retrieval | Mapping[int, Retrieval]) -> PerImage:
    from xpet.core.comparison import hits

    counts = hits(result)
    return PerImage(_rounded(counts.image), _rounded(counts.text), _rounded(counts.captions))


def _rounded(values: Tensor) -> tuple[float, ...]:
    """Numbers of a tensor [images], rounded; whole ones as int, which keeps files small: most hits are 0 or 1."""
    return tuple(int(v) if v == int(v) else v for v in (round(v, DIGITS) for v in values.tolist()))


def _hits(system: System) -> Mapping[str, Hits]:
    """Hits per image by language; raises DataError where a stored result lacks them."""
    import torch

    from xpet.core.comparison import Hits

    per_language = {}
    for lang, scores in system.languages.items():
        if scores.per_image is None:
            raise DataError(f"{system.name}: expected hits per image of {lang} to compare, found none")
        parts = (scores.per_image.image, scores.per_image.text, scores.per_image.captions)
        if len({len(part) for part in parts}) > 1:
            raise DataError(f"{system.name}: expected hits of every image of {lang}, found a damaged result")
        per_language[lang] = Hits(*(torch.tensor([float(v) for v in part], dtype=torch.float64) for part in parts))
    return per_language
