"""The main tables of a report: recall per language, disparity, groups, comparisons between systems."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xpet.cli.printable import clean
from xpet.cli.reports.cells import BEST, DIM, WORST, Cell, change, interval, number, points, text
from xpet.cli.reports.grids import INTERVAL, Grid, Heading, between, mark
from xpet.core.estimates import Disparity, Estimate
from xpet.jobs.results.report import Comparison, Difference, Report, System

LONGEST = 16
"""Most characters of a system's name in a heading."""
SURE = "*"
"""Sign of a significant change."""
ENGLISH = "English"
MAP = "map"
Bar = Callable[[float, float | None], Cell]
"""R@1 in percent before and after (None: there is no after) -> a cell with a bar."""


def labels(report: Report) -> dict[str, str]:
    """Headings of systems by name: the name, or for a long name its number (`#2`), as in the table of systems."""
    names = [clean(system.name) for system in report.systems]
    short = [name if len(name) <= LONGEST else f"#{number}" for number, name in enumerate(names, 1)]
    return {system.name: label for system, label in zip(report.systems, short, strict=True)}


def others(report: Report) -> Sequence[System]:
    """Every system but the reference."""
    return report.systems[1:]


def comparison_with_first(report: Report, system: System) -> Comparison | None:
    """The comparison of a system with the reference, None where there is none."""
    pair = (report.systems[0].name, system.name)
    return next((c for c in report.comparisons if (c.reference, c.system) == pair), None)


def ordered(report: Report) -> list[str]:
    """Languages of any system, by falling R@1 of the reference; those it lacks come last."""
    first = report.systems[0].languages
    names = dict.fromkeys(name for system in report.systems for name in system.languages)
    return sorted(names, key=lambda name: -first[name].mean.r1.value if name in first else 1.0)


def difference(report: Report, system: System, language: str) -> Difference | None:
    """System minus reference for a language, from their comparison, or without one as the plain difference."""
    comparison, reference = comparison_with_first(report, system), report.systems[0]
    if comparison and language in comparison.languages:
        return comparison.languages[language]
    if language not in reference.languages or language not in system.languages:
        return None
    change = system.languages[language].mean.r1.value - reference.languages[language].mean.r1.value
    return Difference(Estimate(change))


def languages(report: Report, systems: Sequence[System] | None = None, bar: Bar | None = None) -> Grid:
    """R@1 of every language: the reference, then each other system and its change; `bar` draws reference and last."""
    systems = others(report) if systems is None else systems
    reference, names, rows = report.systems[0], labels(report), []
    columns = [Heading("lang", right=False), Heading(names[reference.name]), mark(4)]
    columns.append(between(5))
    for system in systems:
        columns += [Heading(names[system.name]), mark(4), between(10)]
        columns += [Heading("change"), mark(1), between(6), Heading(MAP, True, 2)]
        columns += [Heading("seeds std", True, 8), Heading(ENGLISH, True, 9)]
    for language in ordered(report):
        row = [text(language), *_measured(reference, language)]
        for system in systems:
            row += _measured(system, language) + _changed(report, system, language)
        rows.append(row)
    if bar:
        columns.append(Heading("", False, 3))
        for row, language in zip(rows, ordered(report), strict=True):
            values = [_value(system, language) for system in (reference, *systems)]
            row.append(Cell() if values[0] is None else bar(values[0], values[-1] if len(values) > 1 else None))
    return Grid("languages", _title(report), columns, rows, _notes(report, systems)).trimmed()


def _title(report: Report) -> str:
    return f"R@1 on {report.images:,} test images of {clean(report.data)}"


def _notes(report: Report, systems: Sequence[System]) -> list[tuple[str, str]]:
    notes = [("", "R@1 in percent, mean of image->text and text->image.")]
    if report.resamples and _has_intervals(report):
        notes.append((INTERVAL, f"95 % intervals: bootstrap over images, {report.resamples:,} resamples."))
    if any(d and d.significant is not None for s in systems for d in _differences(report, s)):
        notes.append(("", f"{SURE}: significant, paired permutation test with Holm's correction, p < 0.05."))
    if any(scores.english for s in systems for scores in s.languages.values()):
        notes.append((ENGLISH, "English: change of English under the language's module."))
    if any(scores.map for s in systems for scores in s.languages.values()):
        notes.append((MAP, "map: the base with the best closed-form map of the same captions, which is not trained."))
    return notes


def _differences(report: Report, system: System) -> list[Difference | None]:
    return [difference(report, system, language) for language in system.languages]


def _has_intervals(report: Report) -> bool:
    return any(s.mean.r1.low is not None for system in report.systems for s in system.languages.values())


def _value(system: System, language: str) -> float | None:
    return system.languages[language].mean.r1.value if language in system.languages else None


def _measured(system: System, language: str) -> list[Cell]:
    """Cells of one language: R@1, the word best or worst, and the interval."""
    scores = system.languages.get(language)
    if scores is None:
        return [points(None), Cell(), Cell()]
    word = _extreme(system.spread, language)
    return [points(scores.mean.r1, word), text(word, word), interval(scores.mean.r1)]


def _extreme(spread: Disparity[Estimate], language: str) -> str:
    """`best` or `worst` where the language is that; else nothing."""
    if spread.best == spread.worst:
        return ""
    return {spread.best: BEST, spread.worst: WORST}.get(language, "")


def _changed(report: Report, system: System, language: str) -> list[Cell]:
    """Cells of one language: change, significance, interval of the change, map, std over seeds, change of English."""
    scores, delta = system.languages.get(language), difference(report, system, language)
    std = number(scores.std, ".1f", DIM) if scores and scores.seeds > 1 else Cell()
    mapped = number(scores.map.r1, ".1f") if scores and scores.map else Cell()
    if delta is None:
        return [points(None), Cell(), Cell(), mapped, std, Cell()]
    cells = [change(delta.r1, sure=delta.significant), text(SURE if delta.significant else "")]
    return [*cells, interval(delta.r1, "+.1f"), mapped, std, _forgotten(report, system, language)]


def _forgotten(report: Report, system: System, language: str) -> Cell:
    """Change of English R@1 under the language's module, against the reference."""
    scores, english = system.languages.get(language), report.systems[0].english
    if scores is None or scores.english is None or english is None:
        return Cell()
    return change(Estimate(scores.english.value - english.value))


FIGURES = (("mean", "mean", False), ("range", "range", True), ("std", "std", True),
           ("mean gap to English", "mean_gap", True))  # fmt: skip
"""Label and field of each figure of disparity, and whether less of it is better."""


def disparity(report: Report, systems: Sequence[System] | None = None) -> Grid:
    """Mean, range, std, gap, worst and best language of every system, and the changes."""
    systems = others(report) if systems is None else systems
    reference, names = report.systems[0], labels(report)
    columns = [Heading("disparity", right=False), Heading(names[reference.name]), between(3)]
    for system in systems:
        columns += [Heading(names[system.name]), between(4), Heading("change", True)]
        columns += [between(2), Heading(MAP, True, 1)]
    rows = []
    for label, name, less_is_better in FIGURES:
        old = getattr(reference.spread, name)
        row = [text(label), points(old), interval(old)]
        for system in systems:
            new, delta = getattr(system.spread, name), _spread_change(report, system, name)
            row += [
                points(new),
                interval(new),
                change(delta, less_is_better),
                interval(delta, "+.1f"),
                _mapped(system, name),
            ]
        rows.append(row)
    for label, name in (("worst language", "worst"), ("best language", "best")):
        row = [text(label), text(getattr(reference.spread, name), name), Cell()]
        for system in systems:
            of_map = text(getattr(system.mapped, name), name) if system.mapped else Cell()
            row += [text(getattr(system.spread, name), name), Cell(), Cell(), Cell(), of_map]
        rows.append(row)
    return Grid("disparity", f"Disparity of R@1 over {count(len(reference.spread.languages), 'language')}", columns,
                rows).trimmed()  # fmt: skip


def _mapped(system: System, name: str) -> Cell:
    """A figure of disparity with the maps in place of the modules; nothing where there are none."""
    figure = getattr(system.mapped, name) if system.mapped else None
    return Cell() if figure is None else points(figure)


def _spread_change(report: Report, system: System, name: str) -> Estimate | None:
    comparison = comparison_with_first(report, system)
    if comparison:
        figure: Estimate | None = getattr(comparison, name)
        return figure
    old, new = getattr(report.systems[0].spread, name), getattr(system.spread, name)
    return None if old is None or new is None else Estimate(new.value - old.value)


def groups(report: Report) -> Grid | None:
    """Disparity within every group of languages, one row per system."""
    names = labels(report)
    kinds = dict.fromkeys(name for system in report.systems for name in system.groups)
    rows = []
    for kind in kinds:
        for row, system in enumerate(s for s in report.systems if kind in s.groups):
            spread = system.groups[kind]
            rows.append([
                text("" if row else kind), text(names[system.name]), text(", ".join(spread.languages), DIM),
                points(spread.mean), interval(spread.mean), points(spread.range), interval(spread.range),
                points(spread.std), text(spread.worst, WORST), points(spread.mean_gap),
            ])  # fmt: skip
    if not rows:
        return None
    columns = [
        Heading("group", False), Heading("system", False), Heading("languages", False, 4, wrap=True), Heading("mean"),
        between(5), Heading("range"), between(6), Heading("std", True, 3),
        Heading("worst", False, 1), Heading("mean gap", True, 2),
    ]  # fmt: skip
    return Grid("groups", "Disparity within groups", columns, rows).trimmed()


def comparisons(report: Report) -> list[Grid]:
    """A table for every comparison, with p values."""
    grids = []
    columns = [Heading("lang", False), Heading("change"), between(1), Heading("p", True, 3)]
    columns += [Heading("p (Holm)", True, 2), Heading("significant", False, 1)]
    names = labels(report)
    for index, comparison in enumerate(report.comparisons, 1):
        rows = [
            [text(language), change(d.r1, sure=d.significant), interval(d.r1, "+.1f"), number(d.p, ".4f"),
             number(d.p_holm, ".4f"), text("" if d.significant is None else "yes" if d.significant else "no")]
            for language, d in comparison.languages.items()
        ]  # fmt: skip
        pair = (names.get(name, name) for name in (comparison.system, comparison.reference))
        title = "Change of R@1: {} against {}".format(*pair)
        grids.append(Grid(f"comparison-{index}", title, columns, rows).trimmed())
    return grids


def count(amount: int, what: str) -> str:
    """`1 language`, `2 languages`."""
    return f"{amount:,} {what}{'' if amount == 1 else 's'}"
