"""The only printer: results to stdout, progress and messages to stderr; quiet and plain when piped."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TextIO

from xpet.cli import log_file
from xpet.cli.printable import in_json, visible
from xpet.cli.streams import refusals
from xpet.core.events import Event, Notice, OnEvent, Progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable

    from xpet.jobs.results.lint import LintResult
    from xpet.jobs.results.models import ModelsResult
    from xpet.jobs.results.report import Report

WARNING = "warning"
SIGNS = str.maketrans({"\u00b1": "+-", "\u2026": "...", "\u2192": "->", "\u2013": "-"})
"""What stands in ASCII for the signs that xpet's own texts use."""
FOLDED = 12
"""Fewest characters that a column of text is folded to on a narrow terminal."""


def line(text: str) -> None:
    """One line on stdout."""
    print(_drawn(visible(text)))  # noqa: T201


def error(text: str, cause: BaseException | None = None) -> None:
    """One line on stderr; line breaks inside become spaces. The log file gets the traceback of `cause`, too."""
    log_file.current().tell(text, "error", cause)
    _tell(f"xpet: error: {' '.join(text.split())}")


def warning(text: str) -> None:
    """One line on stderr."""
    log_file.current().tell(text, WARNING)
    warn_only(text)


def warn_only(text: str) -> None:
    """One line on stderr, but none in the log file: a warning of an event that is there already, or of the file."""
    _tell(f"xpet: warning: {' '.join(text.split())}")


def note(text: str) -> None:
    """One line on stderr that is no warning."""
    log_file.current().tell(text)
    _tell(f"xpet: {' '.join(text.split())}")


def _tell(text: str) -> None:
    """Write a line to stderr; a stderr that cannot be written to (a full disk) is ignored."""
    with suppress(OSError):
        print(visible(text), file=sys.stderr)  # noqa: T201


def is_interactive() -> bool:
    """Whether standard input is a terminal, so that a person would have to type the text."""
    return _is_terminal(sys.stdin)


def _is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal; a closed one (None) is not."""
    return stream is not None and stream.isatty()


def byte_input() -> BinaryIO | None:
    """Standard input as bytes."""
    return None if sys.stdin is None else sys.stdin.buffer


def byte_output() -> BinaryIO | None:
    """Standard output as bytes."""
    return None if sys.stdout is None else sys.stdout.buffer


@contextmanager
def progress(quiet: bool) -> Iterator[OnEvent]:
    """A listener to events: bars where stderr is a terminal, else a line for each notice; only warnings if `quiet`.

    All of them go to the log file, where there is one.
    """
    if quiet:
        yield log_file.with_log(_only_warnings)
    elif not _is_terminal(sys.stderr):
        yield log_file.with_log(_notices)
    else:
        with _bars() as on_event:
            yield log_file.with_log(on_event)


def _only_warnings(event: Event) -> None:
    if isinstance(event, Notice) and event.level == WARNING:
        warn_only(event.text)


def _notices(event: Event) -> None:
    if isinstance(event, Notice):
        if event.level == WARNING:
            warn_only(event.text)
        else:
            _tell(f"xpet: {event.text}")


@contextmanager
def _bars() -> Iterator[OnEvent]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:<14}", markup=False), BarColumn(), TextColumn("{task.fields[amount]}"),
        TimeElapsedColumn(), TextColumn("ETA"), TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False, style="dim"),
    )  # fmt: skip
    tasks: dict[str, Any] = {}
    with Bars(*columns, console=console, transient=True) as bars:

        def on_event(event: Event) -> None:
            if isinstance(event, Notice):
                style = "yellow" if event.level == WARNING else "dim"
                bars.console.print(visible(event.text), style=style, highlight=False, markup=False, emoji=False)
            elif isinstance(event, Progress):
                if event.stage not in tasks:
                    tasks[event.stage] = bars.add_task(visible(event.stage), total=event.total, note="", amount="")
                said: dict[str, Any] = {"note": visible(event.note), "amount": _amount(event)}
                bars.update(tasks[event.stage], completed=event.done, total=event.total, **said)

        yield on_event


def _amount(event: Progress) -> str:
    if event.unit != "bytes":
        return f"{event.done}/{event.total}"
    from rich.filesize import decimal

    return f"{decimal(event.done)}/{decimal(event.total)}"


def show_json(document: Mapping[str, Any]) -> None:
    """One JSON document on stdout."""
    print(in_json(json.dumps(document, indent=2, ensure_ascii=not _is_unicode())))  # noqa: T201


def _is_unicode() -> bool:
    from xpet.cli.reports.look import is_unicode

    return sys.stdout is None or is_unicode(sys.stdout)


def _drawn(text: str) -> str:
    """The text, with xpet's signs in ASCII where standard output cannot write others."""
    return text if text.isascii() or _is_unicode() else text.translate(SIGNS)


def _console() -> Console | None:
    """A rich console when stdout is a terminal, else None: then tables are plain text."""
    if not _is_terminal(sys.stdout):
        return None
    from rich.console import Console

    return Console(no_color=True if os.environ.get("NO_COLOR") else None)


Row = Sequence[str]
Column = tuple[str, str]
"""(heading, alignment 'left' or 'right')."""


@dataclass(frozen=True)
class Paragraph:
    """Text in one style; not broken by the view."""

    text: str
    style: str = ""


@dataclass(frozen=True)
class TextTable:
    """Rows under headings; `style` gives a row's colour."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    style: Callable[[Row], str] = lambda row: ""


class Documented(Protocol):
    """A result that is also a JSON document."""

    def to_dict(self) -> dict[str, Any]:
        """The whole result, JSON-ready."""


Block = Paragraph | TextTable
"""What other modules of this room make of a result, for `show`."""


def show(blocks: Iterable[Block], result: Documented, as_json: bool) -> None:
    """A result on stdout: its blocks one below the other, or its document."""
    if as_json:
        show_json(result.to_dict())
        return
    for block in blocks:
        if isinstance(block, Paragraph):
            _paragraph(block.text, block.style)
        else:
            _table(block.columns, block.rows, block.title, block.style)


def _table(columns: Sequence[Column], rows: Sequence[Row], title: str, styles: Callable[[Row], str]) -> None:
    console = _console()
    if console is None:
        from tabulate import tabulate

        aligns = [align for _, align in columns]
        text = tabulate(
            [[_drawn(visible(cell)) for cell in row] for row in rows],
            headers=[c for c, _ in columns],
            tablefmt="simple",
            colalign=aligns,
            disable_numparse=True,
        )
        line(f"{title}\n\n{text}")
        return
    heads = [(visible(heading), align) for heading, align in columns]
    shown = [[visible(cell) for cell in row] for row in rows]
    console.print(_rich_table(heads, shown, visible(title), styles, console.width))


def _rich_table(
    columns: Sequence[Column], rows: Sequence[Row], title: str, styles: Callable[[Row], str], width: int
) -> RichTable:
    """A table whose figures are never cut: on a narrow terminal headings break and columns move together."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    unbroken = [index == 0 or align == "right" for index, (_, align) in enumerate(columns)]
    cells = [[heading, *(row[index] for row in rows)] for index, (heading, _) in enumerate(columns)]
    needed = [
        max(map(len, c)) if whole else min(FOLDED, max(map(len, c))) for c, whole in zip(cells, unbroken, strict=True)
    ]
    narrow = sum(needed) + 3 * len(columns) > width
    table = RichTable(
        title=Text(title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False,
        padding=(0, 0 if narrow else 1),
    )  # fmt: skip
    for (heading, align), whole in zip(columns, unbroken, strict=True):
        heading = heading.replace(" ", "\n") if narrow else heading
        table.add_column(Text(heading), justify="right" if align == "right" else "left", no_wrap=whole, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row), style=styles(row))  # as text, which holds no markup
    return table


def _paragraph(text: str, style: str = "") -> None:
    console = _console()
    if console is None:
        line(text)
    else:
        console.print(visible(text), style=style, highlight=False, markup=False, emoji=False, soft_wrap=True)


def show_report(report: Report, name: str | None, full: bool) -> None:
    """The report of `xpet eval` on stdout, in a format of `xpet.cli.reports`; None suits a person or a pipe."""
    from xpet.cli.reports import render
    from xpet.cli.reports.look import Look, look

    if sys.stdout is None:  # closed
        return
    chosen = name or ("terminal" if sys.stdout.isatty() else "table")
    if chosen == "html" and not _is_unicode():  # the page says that it is UTF-8
        with refusals():
            sys.stdout.buffer.write(render(report, chosen, Look(full=full)).encode())
    else:
        print(_drawn(render(report, chosen, look(sys.stdout, os.environ, full))), end="")  # noqa: T201


def show_models(result: ModelsResult, as_json: bool) -> None:
    """The model families that are read."""
    if as_json:
        show_json(result.to_dict())
        return
    heads = ("family", "parameters", "dimensions", "languages", "licence", "verified")
    rows = [(f.name, f.parameters, f.dimensions, f.languages, f.licence, f.verified) for f in result.families]
    _table([(head, "left") for head in heads], rows, "Model families", lambda row: "")
    of_hub = [(name, f.name, f.partners.get(name, "its own")) for f in result.families for name in f.checkpoints]
    line("")
    _table([(head, "left") for head in ("checkpoint", "family", "image tower")], of_hub, "On the hub", lambda row: "")
    line("")
    for facts in result.families:
        if facts.notes:
            _paragraph(f"{facts.name}: {facts.notes}.", "")


def show_lint(result: LintResult, as_json: bool) -> None:
    """The findings of lint, errors first."""
    if as_json:
        show_json(result.to_dict())
        return
    if not result.findings:
        _paragraph(f"{result.data}: no findings.", "green")
        return
    columns: list[Column] = [(c, "left") for c in ("severity", "check", "split", "slot", "languages", "found", "rows")]
    rows = [
        (f["severity"], f["check"], f["split"], f["slot"], "+".join(f["languages"]), f["message"], _rows(f["rows"]))
        for f in result.findings
    ]
    title = f"{result.data}: {result.errors} errors, {len(result.findings) - result.errors} warnings"
    _table(columns, rows, title, lambda row: "red" if row[0] == "error" else "")


def _rows(rows: Sequence[int]) -> str:
    return ", ".join(str(r + 1) for r in rows)
