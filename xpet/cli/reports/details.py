"""Further tables of a report: systems, cost, directions, runs, forgetting, gates, advice, diagnosis; and its notes."""

from __future__ import annotations

from collections.abc import Sequence

from xpet.cli.printable import clean
from xpet.cli.reports.cells import BAD, DIM, GOOD, WARN, Cell, change, interval, number, points, text
from xpet.cli.reports.grids import Grid, Heading, between
from xpet.cli.reports.sections import comparisons, disparity, groups, labels, languages, ordered
from xpet.core.estimates import Estimate
from xpet.jobs.results.report import Latency, Report, System

DIRECTIONS = (("image->text", "image_to_text"), ("text->image", "text_to_image"), ("mean", "mean"))
METRICS = (("R@1", "r1"), ("R@5", "r5"), ("R@10", "r10"), ("MRR", "mrr"), ("median rank", "median_rank"))
TEXTS = {
    "target": "own language", "to_pivot": "translated to English", "from_pivot": "translated from English",
    "pivot": "English",
}  # fmt: skip
"""The texts a system searches with, in words, by slot."""


def systems(report: Report) -> Grid | None:
    """The table of systems, which explains their headings; None for a bare tower alone that has no prompt."""
    only = report.systems[0]
    if len(report.systems) == 1 and not (only.method or only.prompt or only.text != "target"):
        return None
    names = labels(report)
    columns = [
        Heading("system", False), Heading("name", False, 1, wrap=True), Heading("is", False, 4),
        Heading("method", False, 5), Heading("routine", False, 6), Heading("shots", True, 7),
        Heading("searches with", False, 3, wrap=True), Heading("prompt", False, 2, wrap=True),
    ]  # fmt: skip
    rows = [
        [text(names[s.name]), text("" if names[s.name] == s.name else s.name), text(s.kind), text(s.method),
         text(s.routine), Cell() if s.shots is None else number(s.shots, ",d"), text(TEXTS.get(s.text, s.text)),
         text(s.prompt)]
        for s in report.systems
    ]  # fmt: skip
    return Grid("systems", "Systems", columns, rows).trimmed()


def cost(report: Report) -> Grid | None:
    """Parameters, size, training and encoding of every system that has a cost."""
    priced = [s for s in report.systems if s.cost]
    if not priced:
        return None
    columns = [
        Heading("system", False), Heading("trained"), Heading("share"), Heading("size", True, 3),
        Heading("training", True, 5), Heading("peak memory", True, 7), Heading("ms/query", True, 2),
        Heading("texts/s", True, 6), Heading("vs. bare", True, 4), Heading("on", False, 8),
    ]  # fmt: skip
    rows = [_cost_row(labels(report)[s.name], s) for s in priced]
    return Grid("cost", "Cost per language", columns, rows).trimmed()


def _cost_row(name: str, system: System) -> list[Cell]:
    cost = system.cost
    assert cost is not None
    kib = None if cost.module_bytes is None else cost.module_bytes / 1024
    fast: Latency | None = cost.latency
    return [
        text(name), number(cost.trainable, ",d"), number(cost.share, ".3g", unit=" %"), number(kib, unit=" KiB"),
        number(cost.training_seconds, unit=" s"), number(cost.peak_mebibytes, ",.0f", unit=" MiB"),
        number(fast.milliseconds_per_query if fast else None, ".2f"),
        number(fast.texts_per_second if fast else None, ",.0f"),
        number(fast.against_bare if fast else None, ".2f", unit=" x"), text(fast.device if fast else None),
    ]  # fmt: skip


def directions(report: Report) -> Grid:
    """Every recall, MRR and median rank in both directions, one row per language, system and direction."""
    columns = [Heading("lang", False), Heading("system", False), Heading("direction", False)]
    for label, _ in METRICS:
        columns += [Heading(label), between(1)]
    rows = []
    for language in ordered(report):
        for system in (s for s in report.systems if language in s.languages):
            for label, direction in DIRECTIONS:
                row = [text(language), text(labels(report)[system.name]), text(label)]
                for _, metric in METRICS:
                    figure = getattr(getattr(system.languages[language], direction), metric)
                    row += [points(figure), interval(figure)]
                rows.append(row)
    return Grid("directions", "Both directions", columns, rows).trimmed()


def runs(report: Report) -> Grid:
    """What every figure was measured on: images, captions, seeds and the run of the best seed."""
    columns = [
        Heading("lang", False),
        Heading("system", False),
        Heading("images"),
        Heading("captions"),
        Heading("seeds"),
    ]
    columns.append(Heading("run", False, 1, wrap=True))
    rows = [
        [text(language), text(labels(report)[system.name]), number(scores.images, ",d"), number(scores.captions, ",d"),
         number(scores.seeds, ",d"), text(scores.run)]
        for language in ordered(report)
        for system in report.systems
        if (scores := system.languages.get(language)) is not None
    ]  # fmt: skip
    return Grid("runs", "Captions and runs", columns, rows).trimmed()


def forgetting(report: Report) -> Grid | None:
    """Change of R@1 under each module in languages it was not trained for, against the reference."""
    first = report.systems[0]
    modules = [(s, lang) for s in report.systems for lang, scores in s.languages.items() if scores.untrained]
    others = list(dict.fromkeys(other for s, lang in modules for other in s.languages[lang].untrained))
    if not modules:
        return None
    rows = []
    for system, lang in modules:
        under_module = system.languages[lang].untrained
        cells = [
            change(Estimate(under_module[other].value - first.languages[other].mean.r1.value))
            if other in under_module and other in first.languages else Cell()
            for other in others
        ]  # fmt: skip
        rows.append([text(lang), text(labels(report)[system.name]), *cells])
    columns = [Heading("module of", False), Heading("system", False, 1), *(Heading(other) for other in others)]
    return Grid("forgetting", "Languages not trained, under each module", columns, rows).trimmed()


def gates(report: Report) -> Grid | None:
    """PASS or FAIL of every limit."""
    rows = [
        [text("PASS", GOOD) if g.passed else text("FAIL", BAD), text(g.option), number(g.limit, "g"), text(g.message)]
        for g in report.gates
    ]
    columns = [
        Heading("gate", False),
        Heading("option", False),
        Heading("limit", True, 1),
        Heading("found", False, wrap=True),
    ]
    return Grid("gates", "Gates", columns, rows) if rows else None


def advice(report: Report) -> Grid | None:
    """What to do for every language."""
    columns = [
        Heading("lang", False), Heading("do", False, wrap=True), Heading("when serving", False, 1, wrap=True),
        Heading("because", False, 2, wrap=True), Heading("command", False, 3, wrap=True),
    ]  # fmt: skip
    rows = []
    for language, a in report.advice.items():
        shots = None if a.shots is None else f"{a.shots:,} shots"
        todo = ", ".join(part for part in (a.routine, a.method, shots, a.loss) if part) or "leave as it is"
        rows.append([text(language), text(todo), text(a.serving), text(a.why), text(a.command)])
    return Grid("advice", "Advice", columns, rows).trimmed() if rows else None


KINDS = {"lexical": WARN, "geometric": WARN, "mixed": WARN, "none": GOOD, "unclear": ""}
"""Tone of a diagnosis, by its kind."""
ROTATION, RIDGE, WORDS = "rotation", "ridge", "words explain"
"""Headings of what closes or explains the gap."""


def diagnosis(report: Report) -> Grid | None:
    """What maps and words explain of every language's gap, geometry, and tokens."""
    columns = [
        Heading("lang", False), Heading("gap is", False), Heading(ROTATION, True, 1), between(3),
        Heading(RIDGE, True, 1), between(3), Heading(WORDS, True, 1), Heading("p", True, 2),
        Heading("alignment", True, 4), Heading("captions matched", True, 5), Heading("modality gap", True, 9),
        Heading("hubness", True, 7), Heading("anisotropy", True, 8), Heading("tokens/caption", True, 10),
        Heading("unknown tokens", True, 6),
    ]  # fmt: skip
    rows = [
        [text(language), text(d.kind, KINDS.get(d.kind, "")), *_share(d.rotation), *_share(d.ridge),
         number(_percent(d.words), ".0f", unit=" %"), number(d.words_p, ".3f"), number(d.alignment, ".2f"),
         number(_percent(d.word_recognition), unit=" %"), number(d.modality_gap, ".2f"), number(d.hubness, ".2f"),
         number(d.anisotropy, ".2f"), number(d.tokens_per_caption), number(_percent(d.unknown_rate), unit=" %")]
        for language, d in report.diagnosis.items()
    ]  # fmt: skip
    notes = [
        (RIDGE, "Rotation, ridge: share of the gap to English that such a map closes, fitted on half of the captions."),
        (WORDS, "Words explain: share of the rest that is not there where words are best; p: by chance."),
        ("alignment", "Alignment: mean cosine to the English caption."),
        ("hubness", "Hubness: skewness of how often a picture is among the top."),
    ]
    return Grid("diagnosis", "Why languages are weak", columns, rows, notes).trimmed() if rows else None


def _share(figure: Estimate | None) -> list[Cell]:
    """A share in percent and its interval."""
    if figure is None:
        return [Cell(), Cell()]
    whole = Estimate(*(_percent(end) for end in (figure.value, figure.low, figure.high)))  # type: ignore[arg-type]
    return [number(whole.value, ".0f", unit=" %"), interval(whole, ".0f")]


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def worst_queries(report: Report) -> list[Grid]:
    """The captions that find their picture worst, a table per language."""
    columns = [Heading("rank"), Heading("caption", False, wrap=True), Heading("English", False, 1, wrap=True)]
    columns += [Heading("found instead", False, wrap=True)]
    grids = []
    for language, d in report.diagnosis.items():
        rows = [[number(q.rank, ",.0f"), text(q.text), text(q.english, DIM), text(q.found_caption)] for q in d.worst]
        if rows:
            grids.append(Grid(f"worst-{language}", f"Worst queries: {language}", columns, rows).trimmed())
    return grids


def notes(report: Report) -> list[tuple[str, str]]:
    """Warnings and notes as (tone, sentence)."""
    from xpet.jobs.results.synthetic import SYNTHETIC

    sentences = [(WARN, f"Warning: {clean(warning)}") for warning in report.warnings]
    serving = [labels(report)[s.name] for s in report.systems if s.translates_queries]
    if serving:
        sentences.append(("", f"Queries must be translated to English when serving: {', '.join(serving)}."))
    concluded = [system for system in report.systems if system.conclusion]
    for system in concluded:
        of = f"{labels(report)[system.name]}: " if len(concluded) > 1 else ""
        sentences.append(("", f"{of}{clean(system.conclusion)}"))
    if report.synthetic:
        sentences.append((WARN, f"Note: {SYNTHETIC}."))
    return sentences


def all_tables(report: Report, full: bool) -> Sequence[Grid]:
    """The tables of a report in reading order; `full` adds both directions, comparisons and worst queries."""
    main = [languages(report), disparity(report), groups(report), systems(report), cost(report)]
    compared = comparisons(report) if full or len(report.comparisons) >= len(report.systems) else []
    closing = [
        forgetting(report),
        diagnosis(report),
        *(worst_queries(report) if full else []),
        advice(report),
        gates(report),
    ]
    grids = [*main, *compared, *([directions(report), runs(report)] if full else []), *closing]
    return [grid for grid in grids if grid is not None]
