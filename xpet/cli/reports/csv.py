"""Long tidy CSV: one row per figure, ready for pandas or R.

level       language: of one language; disparity: over a group of languages; change: of a comparison; diagnosis: why a
            language is weak
system      name of the system
reference   what a change is measured against; empty elsewhere
language    code; empty for disparity
group       `all` or the group of languages; empty for single languages
direction   image->text, text->image or mean (of both)
metric      r1, r5, r10, mrr (percent), median_rank (from 1), seeds_std, english_r1, map_r1; mean, range, std, mean_gap
            of r1 (points), and with maps in place of modules map_mean, ...; p, p_holm; the figures of a diagnosis
value, low, high   the figure and its 95 % interval, in full precision; empty without an interval

A name that a spreadsheet would run as a formula (it begins with =, +, - or @) has an apostrophe in front of it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from xpet.cli.printable import in_csv
from xpet.cli.reports.details import DIRECTIONS, METRICS
from xpet.cli.reports.look import Look
from xpet.core.estimates import Disparity, Estimate
from xpet.jobs.results.report import Comparison, Difference, LanguageScores, Report, System

HEADER = ("level", "system", "reference", "language", "group", "direction", "metric", "value", "low", "high")
SPREADS = ("mean", "range", "std", "mean_gap")
"""Figures of disparity."""
DIAGNOSED = (
    "rotation", "ridge", "words", "words_p", "alignment", "word_recognition", "modality_gap", "hubness", "anisotropy",
    "tokens_per_caption", "unknown_rate",
)  # fmt: skip
"""Figures of a diagnosis, as the JSON document names them."""
ALL = "all"
Row = tuple[object, ...]


def render(report: Report, look: Look) -> str:
    """The figures of a report as CSV; see the module for the columns."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADER)
    for part in (*map(_system, report.systems), *map(_comparison, report.comparisons), _diagnoses(report)):
        writer.writerows(map(in_csv, row) for row in part)
    return out.getvalue()


def _system(system: System) -> Iterator[Row]:
    for language, scores in system.languages.items():
        for tail in _language(scores):
            yield ("language", system.name, "", language, "", *tail)
    for group, spread in {ALL: system.spread, **system.groups}.items():
        for name, figure in _spread(spread):
            yield ("disparity", system.name, "", "", group, "mean", name, *_cells(figure))
    for name, figure in _spread(system.mapped) if system.mapped else ():
        yield ("disparity", system.name, "", "", ALL, "mean", f"map_{name}", *_cells(figure))


def _language(scores: LanguageScores) -> Iterator[Row]:
    for label, direction in DIRECTIONS:
        for _, metric in METRICS:
            yield (label, metric, *_cells(getattr(getattr(scores, direction), metric)))
    if scores.seeds > 1:
        yield ("mean", "seeds_std", *_cells(Estimate(scores.std)))
    if scores.english:
        yield ("mean", "english_r1", *_cells(scores.english))
    if scores.map:
        yield ("mean", "map_r1", *_cells(Estimate(scores.map.r1)))


def _comparison(comparison: Comparison) -> Iterator[Row]:
    first_cells = ("change", comparison.system, comparison.reference)
    for language, difference in comparison.languages.items():
        for metric, figure in _difference(difference):
            yield (*first_cells, language, "", "mean", metric, *_cells(figure))
    for name, figure in _spread(comparison):
        yield (*first_cells, "", ALL, "mean", name, *_cells(figure))


def _difference(difference: Difference) -> Iterator[tuple[str, Estimate]]:
    yield "r1", difference.r1
    for name, p in (("p", difference.p), ("p_holm", difference.p_holm)):
        if p is not None:
            yield name, Estimate(p)


def _spread(spread: Disparity[Estimate] | Comparison) -> Iterator[tuple[str, Estimate]]:
    for name in SPREADS:
        figure = getattr(spread, name)
        if figure is not None:
            yield name, figure


def _diagnoses(report: Report) -> Iterator[Row]:
    for language, diagnosis in report.diagnosis.items():
        for name in DIAGNOSED:
            value = getattr(diagnosis, name)
            if value is not None:
                figure = value if isinstance(value, Estimate) else Estimate(value)
                yield ("diagnosis", report.systems[0].name, "", language, "", "", name, *_cells(figure))


def _cells(figure: Estimate) -> tuple[object, object, object]:
    return figure.value, figure.low, figure.high
