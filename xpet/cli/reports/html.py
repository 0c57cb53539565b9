"""One self-contained HTML file: nothing is loaded, and its policy allows only its own script, by hash.

Every text is escaped; pictures that are not data: URIs are left out.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from xpet.cli.printable import clean, in_json
from xpet.cli.reports import details, sections
from xpet.cli.reports.cells import Cell
from xpet.cli.reports.grids import INTERVAL, Grid, Heading
from xpet.cli.reports.look import Look
from xpet.cli.reports.page import SCRIPT, STYLE
from xpet.jobs.results.report import Report, WorstQuery

PICTURE = re.compile(r"data:image/(png|jpeg|webp|gif);base64,[A-Za-z0-9+/]+=*")
CHANGE = "change"
PROSE = 24
"""Characters of prose that stay on one line."""
CODE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
SVG_EXTRAS = re.compile(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>|\sxmlns(:\w+)?=\"[^\"]*\"", re.DOTALL)


def render(report: Report, look: Look) -> str:
    """The report as one self-contained page."""
    title = f"R@1 on {clean(report.data)}"
    return "\n".join([
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_policy())}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">',
        f"<title>{escape(title)}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>",
        *_body(report, title),
        "</main>",
        f'<script type="application/json" id="report">{_json(report)}</script>\n<script>{SCRIPT}</script>',
        "</body>\n</html>\n",
    ])  # fmt: skip


def _policy() -> str:
    """Nothing may be loaded; only our own script may run, whatever a caption says."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _json(report: Report) -> str:
    """The document for a script element, with characters escaped that could end the element."""
    text = in_json(json.dumps(report.to_dict(), ensure_ascii=False))
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def _body(report: Report, title: str) -> Iterator[str]:
    yield f"<h1>{_text(title)}</h1>"
    yield f'<p class="lead">{_lead(report)}</p>'
    for tone, sentence in details.notes(report):
        yield f'<p class="{"banner" if tone else ""}" role="note">{_text(sentence)}</p>'
    yield from _optional(details.gates(report))
    main = sections.languages(report)
    yield from _section(main)
    yield from _plots(report)
    yield from _section(sections.disparity(report))
    for grid in (sections.groups(report), details.systems(report), details.cost(report), details.advice(report),
                 details.diagnosis(report)):  # fmt: skip
        yield from _optional(grid)
    yield from _worst(report)
    for grid in (*sections.comparisons(report), details.directions(report), details.runs(report)):
        yield f"<details><summary>{_text(grid.title)}</summary>{_table(grid)}</details>"
    for name, values in (("Configuration", report.configuration), ("Environment", report.environment)):
        if values:
            yield f"<details><summary>{name}</summary>{_values(values)}</details>"
    yield '<p><a id="download" href="#report" download="report.json" hidden>Download as JSON</a></p>'


def _lead(report: Report) -> str:
    languages = sections.count(len(sections.ordered(report)), "language")
    parts = [f"{report.images:,} test images", languages, sections.count(len(report.systems), "system")]
    parts += [f"{report.resamples:,} bootstrap resamples"] if report.resamples else []
    parts += [f"test split {report.fingerprint[:12]}"] if report.fingerprint else []
    return _text(", ".join(parts) + ".")


def _text(words: str) -> str:
    """Words escaped and in a direction of their own, since names and captions may be right-to-left."""
    escaped = escape(clean(words))
    return escaped if escaped.isascii() else f'<bdi dir="auto">{escaped}</bdi>'


def _attribute(words: str) -> str:
    return escape(clean(words))


def _optional(grid: Grid | None) -> Iterator[str]:
    if grid is not None:
        yield from _section(grid)


def _section(grid: Grid) -> Iterator[str]:
    yield f"<section>\n<h2>{_text(grid.title)}</h2>"
    yield _table(grid)
    if grid.note:
        yield f'<p class="note">{_text(grid.note)}</p>'
    yield "</section>"


def _table(grid: Grid) -> str:
    groups = _merged(grid.columns)
    heads = "".join(_head(grid.columns[group[0]]) for group in groups)
    rows = "\n".join(f"<tr>{_row(grid, row, groups)}</tr>" for row in grid.rows)
    # A box that scrolls must be reachable by keyboard.
    return (
        f'<div class="box" tabindex="0" role="region" aria-label="{_attribute(grid.title)}">'
        f'<table class="sortable" id="{_attribute(grid.name)}">\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n'
        "</tbody></table></div>"
    )


def _merged(columns: Sequence[Heading]) -> list[list[int]]:
    """Indices of the columns that share a cell: a value and its parts."""
    groups: list[list[int]] = []
    for index, column in enumerate(columns):
        if column.part:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def _head(column: Heading) -> str:
    return f'<th scope="col"{_classes("right" if column.right else "")}>{_text(column.head)}</th>'


def _classes(*names: str) -> str:
    given = " ".join(name for name in names if name)
    return f' class="{given}"' if given else ""


def _row(grid: Grid, row: Sequence[Cell], groups: list[list[int]]) -> str:
    cells: list[str] = []
    for group in groups:
        column, cell = grid.columns[group[0]], row[group[0]]
        parts = [(grid.columns[i], row[i]) for i in group[1:]]
        cells.append(_cell(column, cell, parts, first=not cells))
    return "".join(cells)


def _cell(column: Heading, cell: Cell, parts: Sequence[tuple[Heading, Cell]], first: bool) -> str:
    """A value, after the word best or worst, before the sign of significance and the interval."""
    value = "" if cell.value is None else f' data-value="{cell.value!r}"'
    inner, right = _text(cell.whole), "right" if column.right else ""
    if parts:
        inner = f'<span class="{cell.tone}">{inner}</span>' if cell.tone else inner
    for part, part_cell in parts:
        if part.head == INTERVAL:
            inner += f"<small>{_text(part_cell.whole)}</small>"
        elif part_cell.tone:
            inner = f"<b{_classes(part_cell.tone)}>{_text(part_cell.whole)}</b> {inner}"
        elif column.head == CHANGE:
            inner += f'<span class="sign">{_text(part_cell.whole)}</span>'
    if first and not column.right:
        return f'<th scope="row"{_classes(cell.tone)}{value}>{inner}</th>'
    shape = "prose" if column.wrap and len(cell.whole) > PROSE else "firm"
    return f"<td{_classes(right, shape, '' if parts else cell.tone)}{value}>{inner}</td>"


def _plots(report: Report) -> Iterator[str]:
    from xpet.cli.reports import plot

    words = ("R@1 per language and system", "Mean and range of R@1 against the share of trained parameters")
    for number, (svg, label) in enumerate(zip(plot.inline(report), words, strict=False)):
        yield f'<figure tabindex="0">{_svg(svg, f"plot{number}-", label)}</figure>'


def _svg(svg: str, prefix: str, label: str) -> str:
    """An SVG file as an element of a page: without declarations, with `prefix` before its ids and a spoken `label`."""
    svg = SVG_EXTRAS.sub("", svg).replace("xlink:href", "href").strip()
    svg = re.sub(r"<style type=\"text/css\">.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r'(href="|url\()#', rf"\1#{prefix}", svg)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)


def _worst(report: Report) -> Iterator[str]:
    if not any(d.worst for d in report.diagnosis.values()):
        return
    yield "<section>\n<h2>Worst queries</h2>"
    for language, diagnosis in report.diagnosis.items():
        if diagnosis.worst:
            yield f'<details open><summary>{_text(language)}</summary>\n<ul class="queries">'
            yield from (_query(query, language) for query in diagnosis.worst)
            yield "</ul></details>"
    yield "</section>"


def _query(query: WorstQuery, language: str) -> str:
    lang = f' lang="{language}"' if CODE.fullmatch(language) else ""
    english = f'<p class="dim" lang="en">{_text(query.english)}</p>' if query.english else ""
    right = f'<span class="dim">wanted</span> {_text(query.image)}{_picture(query.thumbnail, f"wanted: {query.image}")}'
    top = (
        f'<span class="dim">found</span> {_text(query.found)}{_picture(query.found_thumbnail, f"found: {query.found}")}'
    )
    return (
        f"<li><p{lang}><strong>{_text(query.text)}</strong></p>{english}"
        f'<p class="dim">rank {query.rank:,.0f}</p><div class="pair"><div>{right}</div>'
        f"<div>{top}<span{lang}>{_text(query.found_caption)}</span></div></div></li>"
    )


def _picture(uri: str | None, words: str) -> str:
    if uri is None or not PICTURE.fullmatch(uri):
        return ""
    return f'<img src="{uri}" alt="{_attribute(words)}" loading="lazy">'


def _values(values: Mapping[str, Any]) -> str:
    text = in_json(json.dumps(values, indent=2, ensure_ascii=False, default=str))
    return f'<pre tabindex="0">{escape(text)}</pre>'
