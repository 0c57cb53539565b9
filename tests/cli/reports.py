"""Sample reports for every renderer: plain, rich, and hostile. The numbers are made up but consistent."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from xpet.cli.reports import render
from xpet.core.estimates import DirectionEstimates, Disparity, Estimate
from xpet.jobs.results.report import (
    Advice,
    Comparison,
    Cost,
    Diagnosis,
    Difference,
    Gate,
    LanguageScores,
    Latency,
    PerImage,
    Report,
    System,
    WorstQuery,
)

BEFORE = {
    "en": 92.5, "de": 38.6, "fr": 85.0, "es": 80.7, "it": 79.9, "ja": 37.8, "ko": 31.0, "pl": 49.1, "ru": 65.1,
    "tr": 47.3, "zh": 69.3,
}  # fmt: skip
AFTER = BEFORE | {
    "de": 75.1, "es": 87.3, "it": 89.6, "fr": 84.6, "ja": 73.7, "ko": 68.5, "pl": 70.0, "ru": 81.1, "tr": 75.5,
    "zh": 87.6,
}  # fmt: skip
SCRIPTS = {"Latin": ("en", "de", "fr", "es", "it", "pl", "tr"), "other": ("ja", "ko", "ru", "zh")}
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAQAAAAECAIAAAAmkwkpAAAAEElEQVR42mP8z4AATAxEcQAz0QEHF3ZoRQAAAABJ"
    "RU5ErkJggg=="
)
HOSTILE = 'a_b&100%#$x^{~}\\ </script><b onclick="x()">|`*[e](http://x.y) "q", \'s\'\nnew =1+1 مرحبا'
"""Special in LaTeX, HTML, markdown and CSV, with a line break and Arabic."""


def figure(value: float, half: float | None = 2.0) -> Estimate:
    return Estimate(value) if half is None else Estimate(value, value - half, value + half)


def direction(r1: float, half: float | None) -> DirectionEstimates:
    values = (r1, min(100.0, r1 + 12), min(100.0, r1 + 18), min(100.0, r1 + 6))
    return DirectionEstimates(*(figure(v, half) for v in values), median_rank=Estimate(1.0 if r1 > 50 else 3.0))


def scores(r1: float, half: float | None = 2.0, **more: Any) -> LanguageScores:
    both = (direction(r1 - 1, half), direction(r1 + 1, half), direction(r1, half))
    return LanguageScores(1000, 1000, *both, **more)


def spread(r1: Mapping[str, float], half: float | None = 2.0) -> Disparity[Estimate]:
    values = list(r1.values())
    gap = statistics.fmean(r1["en"] - v for k, v in r1.items() if k != "en") if "en" in r1 and len(r1) > 1 else None
    return Disparity(
        tuple(r1), figure(statistics.fmean(values), half), figure(max(values) - min(values), half),
        figure(statistics.pstdev(values), half), min(r1, key=r1.__getitem__), max(r1, key=r1.__getitem__),
        None if gap is None else figure(gap, half),
    )  # fmt: skip


def groups(r1: Mapping[str, float]) -> dict[str, Disparity[Estimate]]:
    present = {name: {k: r1[k] for k in langs if k in r1} for name, langs in SCRIPTS.items()}
    return {name: spread(part) for name, part in present.items() if part}


def base(r1: Mapping[str, float] = BEFORE, half: float | None = 2.0) -> System:
    languages = {k: scores(v, half) for k, v in r1.items()}
    english = figure(92.5, half)
    return System("zero-shot", "base", "target", languages, spread(r1, half), groups(r1), english=english)


def trained(name: str = "lora", r1: Mapping[str, float] = AFTER, half: float | None = 2.0, part: int = 9216) -> System:
    latency = Latency("cpu", 3.21, 812.0, 1.07)
    languages = {
        k: scores(v, half, seeds=3, std=0.6, run=f"runs/{k}", english=figure(92.5 if k == "en" else 91.9, half))
        for k, v in r1.items()
    }
    return System(
        name, "run", "to_pivot", languages, spread(r1, half), groups(r1), method="lora", routine="routine1", shots=100,
        aligned=tuple(k for k in r1 if k != "en"), translates_queries=True,
        cost=Cost(part, 822_400, 39_104, 6.4, 585.0, latency),
    )  # fmt: skip


def comparison(old: Mapping[str, float], new: Mapping[str, float], system: str = "lora") -> Comparison:
    changes = {k: new[k] - old[k] for k in old}
    languages = {
        k: Difference(figure(v, 1.5), p=0.0001 if abs(v) > 2 else 0.4, p_holm=0.0011 if abs(v) > 2 else 1.0,
                      significant=abs(v) > 2)
        for k, v in changes.items()
    }  # fmt: skip
    a, b = spread(old), spread(new)
    gap = b.mean_gap.value - a.mean_gap.value if a.mean_gap and b.mean_gap else None
    parts = (figure(getattr(b, n).value - getattr(a, n).value, 1.5) for n in ("mean", "range", "std"))
    return Comparison("zero-shot", system, languages, *parts, mean_gap=None if gap is None else figure(gap, 1.5))


def worst(text: str, found: str, english: str | None = "a red ball") -> WorstQuery:
    return WorstQuery(text, "img_1.png", 412.5, "img_2.png", found, english, PIXEL, PIXEL)


def diagnosis(kind: str, *queries: WorstQuery) -> Diagnosis:
    return Diagnosis(
        0.81, 2.4, 0.12, 0.43, 0.97, 14.2, 0.013, kind, 0.94, queries, rotation=figure(0.71, 0.04),
        ridge=figure(0.94, 0.03), words=0.42, words_p=0.001,
    )  # fmt: skip


def zero_shot(synthetic: bool = True) -> Report:
    return Report("demo", synthetic, 1000, 10_000, (base(),), environment={"xpet": "0.1.0"})


def no_intervals() -> Report:
    return Report("demo", False, 1000, 0, (base(half=None), trained(half=None)))


def one_language() -> Report:
    return Report("xtd", False, 500, 1000, (base({"tr": 47.3}), trained(r1={"tr": 75.5})),
                  (comparison({"tr": 47.3}, {"tr": 75.5}),))  # fmt: skip


def several() -> Report:
    """Four methods against the base: the second figure of the plots, and tables too wide for a narrow terminal."""
    steps = {"compacter": (2_000, -6), "lora": (9_216, -3), "adapter": (30_000, 0), "full": (822_400, -9)}
    systems, comparisons = [base()], []
    for name, (part, change) in steps.items():
        r1 = {k: v if k == "en" else max(0.0, v + change) for k, v in AFTER.items()}
        systems.append(replace(trained(name, r1, part=part), method=name))
        comparisons.append(comparison(BEFORE, r1, name))
    return Report("demo", True, 1000, 10_000, tuple(systems), tuple(comparisons))


def full() -> Report:
    """Before and after with everything a report can hold."""
    return Report(
        "demo", True, 1000, 10_000, (base(), trained()), (comparison(BEFORE, AFTER),),
        diagnosis={
            "de": diagnosis("geometric", worst("auf einer grünen Wiese", "ein kleines rotes Haus")),
            "ja": diagnosis("lexical", worst("夜空の下、真っ青な瓶", "赤い車", None)),
        },
        advice={
            "de": Advice("routine1", "lora", 100, "mse-normalized", "no translation of queries",
                         "the words are known but lie apart from English", "xpet align --lang de --routine 1"),
            "fr": Advice(None, None, None, None, "nothing to serve", "within 8 points of English"),
        },
        gates=(Gate("--fail-if-drop", 2.0, True, "largest drop 0.4 (fr), allowed 2.0"),
               Gate("--fail-under", 70.0, False, "ko 68.5, required 70.0")),
        warnings=("ko: 3 captions are longer than 77 tokens and were cut",),
        configuration={"languages": list(BEFORE), "model": {"name": "demo", "image": None}},
        environment={"xpet": "0.1.0", "torch": "2.13.0", "device": "cpu"}, fingerprint="0f3a",
    )  # fmt: skip


def hostile() -> Report:
    """Names and captions full of what each format treats specially, another script, and figures per image."""
    bare = base({"en": 90.0, "ar": 40.0})
    marked = replace(bare.languages["ar"], per_image=PerImage((1.0, 0.5), (2.0, 0.0), (2, 1)))
    bare = replace(bare, languages={**bare.languages, "ar": marked})
    other = trained(HOSTILE, {"en": 90.0, "ar": 39.0})
    other = replace(other, prompt="a photo of <{}>", method="lo_ra", routine=HOSTILE)
    change = comparison({"en": 90.0, "ar": 40.0}, {"en": 90.0, "ar": 39.0}, HOSTILE)
    query = replace(worst(HOSTILE, "<img src=x onerror=alert(1)>"), thumbnail="javascript:alert(1)")
    return Report(
        HOSTILE, False, 10, 100, (bare, other), (change,),
        diagnosis={"ar": diagnosis("unclear", query)},
        advice={"ar": Advice(HOSTILE, None, None, None, HOSTILE, HOSTILE, HOSTILE)},
        gates=(Gate("--fail-under", 1.0, False, HOSTILE),), warnings=(HOSTILE,),
        configuration={HOSTILE: HOSTILE}, environment={"x": "<!--<script>"},
    )  # fmt: skip


SAMPLES = {
    "zero-shot": zero_shot, "full": full, "several": several, "one": one_language, "no intervals": no_intervals,
    "hostile": hostile,
}  # fmt: skip


@cache
def html(name: str) -> str:
    """A sample as HTML, rendered once for all tests."""
    return render(SAMPLES[name](), "html")
