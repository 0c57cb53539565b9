"""Captions and names that would steer a terminal, run in a spreadsheet or turn a page around do nothing of the kind."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.cli import reports
from tests.command import run_here
from xpet.cli import view
from xpet.cli.printable import clean, in_csv, in_json, visible
from xpet.cli.reports import FORMATS, render
from xpet.cli.reports.look import Look
from xpet.core.events import Notice, Progress
from xpet.jobs.results.report import Report

HOSTILE = {
    "colour": "\x1b[31mred\x1b[0m", "title": "a\x1b]0;owned\x07b", "link": "\x1b]8;;http://evil\x1b\\here\x1b]8;;\x1b\\",
    "C1": "\x9b31mred\x9d0;owned\x9c", "return": "good\rbad", "backspace": "bad\b\b\bgood", "bell": "\x07",
    "override": "user\u202egnp.exe", "isolate": "a\u2067b\u2066c\u2069", "stray": "\u2069\u202c end",
    "NUL": "a\0b", "surrogate": "a\ud800b\udcff", "separators": "a\u2028b\u2029c\x85d\x0bf\x0c",
    "markup": "[red]not red[/red]", "closing": "[/] [/bold]", "link markup": "[link=http://evil]x[/link]",
    "emoji": ":bomb: :smiley:", "formula": "=cmd|'/C calc'!A0", "plus": "+1+1", "minus": "-2+3", "at": "@SUM(A1)",
    "tab": "\t=1+1", "quoted": "a\",=1+1,\"b", "LaTeX": r"\input{/etc/passwd} $x$ % {_^~} \write18{id}",
    "comment": "--><script>alert(1)</script><!--", "script": "</script><script>alert(1)</script>",
    "attribute": "\" onmouseover=\"alert(1)\" x='", "entity": "&lt;b&gt; &#60;",
    "style": "</style></title><svg/onload=x>",
    "table": "a|b\nc|d", "code": "```\n# x", "zero width": "a\u200b\u200d\ufeffb", "long": "x" * 5000,
    "template": "{task.description} {0} %s", "right to left": "\u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd",
}  # fmt: skip
STEERING = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What no output may hold: all controls but line feeds, what turns the direction, halves of surrogate pairs."""
EVERY = pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)


def without_styles(text: str) -> str:
    """Text without the colours and weights that xpet itself sets at a terminal."""
    return re.sub(r"\x1b\[[\d;]*m", "", text)


@cache
def report(text: str) -> Report:
    """A report in which everything that other people name is `text`."""
    sample = reports.hostile()
    named = json.dumps(sample.to_dict()).replace(json.dumps(reports.HOSTILE)[1:-1], json.dumps(text)[1:-1])
    from xpet.jobs.results.from_json import from_dict

    renamed = from_dict(json.loads(named), "x.json")
    systems = [
        replace(each, languages={name if name == "en" else text: found for name, found in each.languages.items()})
        for each in renamed.systems
    ]
    return replace(renamed, systems=tuple(systems))


@EVERY
@pytest.mark.parametrize("name", [name for name in FORMATS if name != "html"])
def test_no_report_steers_a_terminal(name: str, text: str) -> None:
    shown = render(report(text), name, Look(width=100, colour=name == "terminal", full=True))
    assert STEERING.findall(without_styles(shown) if name == "terminal" else shown) == []


class Structure(HTMLParser):
    """Elements with the names of their attributes, as they open and close; text and values are left out."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[Any] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "bdi":  # which only names in other scripts have
            self.found.append((tag, tuple(name for name, _ in attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag != "bdi":
            self.found.append(f"/{tag}")

    def handle_comment(self, data: str) -> None:
        self.found.append("comment")

    def handle_decl(self, decl: str) -> None:
        self.found.append("declaration")

    def handle_pi(self, data: str) -> None:
        self.found.append("instruction")


def harmless(text: str) -> str:
    """Another text of the same length, as it is shown, that no format treats specially."""
    shown = clean(text)
    return ("" if shown == text else " ") + "n" * len(shown)  # a name that is shown otherwise is told in full, too


@EVERY
def test_a_page_has_the_structure_of_one_with_harmless_names(text: str) -> None:
    page, plain = (render(report(name), "html") for name in (text, harmless(text)))
    assert Structure(page).found == Structure(plain).found
    assert STEERING.findall(page) == []


@EVERY
def test_json_keeps_every_text(text: str) -> None:
    for ascii_only in (True, False):
        shown = render(report(text), "json", Look(unicode=not ascii_only))
        assert json.loads(shown)["data"] == text
    document = json.dumps({"a": [text]}, ensure_ascii=False)
    assert json.loads(in_json(document)) == {"a": [text]}


@EVERY
def test_a_spreadsheet_runs_nothing(text: str) -> None:
    rows = list(csv.reader(io.StringIO(render(report(text), "csv"), newline="")))
    for row in rows[1:]:
        assert not [cell for cell in row[:7] if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert len({len(row) for row in rows}) == 1
    systems = {row[1] for row in rows[1:]}
    assert systems == {"zero-shot", in_csv(text)}
    assert str(in_csv(text)).removeprefix("'") == visible(text)


def test_numbers_stay_numbers_in_a_spreadsheet() -> None:
    assert [in_csv(value) for value in (-1.5, None, "a", "-a", "'a")] == [-1.5, None, "a", "'-a", "'a"]


def test_what_is_shown_of_a_text() -> None:
    assert visible("a\x1b[31mb\x9bc\u202ed\ud800\r\n\t\0é") == "a\\x1b[31mb\\x9bc\\u202ed\\ud800\\r\n\\t\\x00é"
    for text in ("مرحبا", "שלום\u200f", "👩\u200d🔬", "क\u094dष", "می\u200cخواهم"):
        assert visible(text) == clean(text) == text


class Screen(io.StringIO):
    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


@contextmanager
def on_screen() -> Iterator[dict[str, Screen]]:
    """Standard output and error as wide terminals."""
    screens = {"stdout": Screen(), "stderr": Screen()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TERM", "xterm-256color")
        patch.setenv("COLUMNS", "10000")
        for name, stream in screens.items():
            patch.setattr(sys, name, stream)
        yield screens


class Result:
    """A result whose document is one text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def to_dict(self) -> dict[str, Any]:
        return {"text": self.text}


@EVERY
def test_tables_and_sentences_at_a_terminal(text: str) -> None:
    table = view.TextTable(text, [("name", "left"), (text, "right")], [(text, "1"), ("b", text)])
    with on_screen() as screen:
        view.show([view.Paragraph(text, "red"), table], Result(text), False)
    shown = without_styles(screen["stdout"].getvalue())
    assert STEERING.findall(shown) == []
    first = visible(text).split("\n")[0]
    assert sum(line.strip().startswith(first[:60]) for line in shown.splitlines()) >= 2 or not first.strip()
    with on_screen() as screen:
        view.show([], Result(text), True)
    assert STEERING.findall(without_styles(screen["stdout"].getvalue())) == []


@EVERY
@pytest.mark.parametrize("say", [view.error, view.warning, view.note])
def test_messages_are_one_line(say: Callable[[str], None], text: str) -> None:
    with on_screen() as screen:
        say(f"expected a file, found {text}; choose another")
    shown = screen["stderr"].getvalue()
    assert STEERING.findall(shown) == []
    assert shown.count("\n") == 1
    assert shown.endswith("; choose another\n")


@EVERY
def test_bars_and_notices(text: str) -> None:
    with on_screen() as screen, view.progress(False) as on_event:
        on_event(Progress(text, 1, 2, note=text))
        on_event(Notice(text))
        on_event(Notice(text, "warning"))
        on_event(Progress(text, 2, 2, note=text))
    shown = re.sub(r"\x1b\[[\d;?]*[A-Za-z]|\r", "", screen["stderr"].getvalue())  # rich moves the cursor itself
    assert STEERING.findall(shown) == []
    first = visible(text).split("\n")[0]
    assert first.strip() in shown


@EVERY
def test_a_command_that_fails_names_it_harmlessly(text: str, tmp_path: Path) -> None:
    """The name of a language, a run and a file, in the errors of a command."""
    if "\0" not in text and not re.search("[\ud800-\udb7f]", text):
        done = run_here("eval", f"runs/{text}", "--lang", f"x{text}", "--data", "table", "--data-root", f"{text}.csv")
        told = done.stderr.decode()
        assert done.returncode == 2
        assert STEERING.findall(told) == []
        assert told.count("\n") == 1
    (tmp_path / "table.jsonl").write_text(
        "".join(json.dumps({"image": text, "lang": lang, "caption": text}) + "\n" for lang in ("en", text, "de"))
    )
    done = run_here("eval", "--data", "table", "--data-root", tmp_path / "table.jsonl", "--lint")
    told = done.stdout.decode() + done.stderr.decode()
    assert done.returncode in (0, 2)
    assert STEERING.findall(told) == []
