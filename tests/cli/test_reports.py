"""What the text formats of the evaluation report say, and that no name or width breaks them."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys

import pytest
from rich.cells import cell_len

from tests.cli import reports
from tests.cli.reports import AFTER, BEFORE, HOSTILE, SAMPLES
from xpet.cli.printable import clean
from xpet.cli.reports import FORMATS, render
from xpet.cli.reports.cells import Cell, change, interval, positive_zero
from xpet.cli.reports.csv import HEADER
from xpet.cli.reports.look import Look, look
from xpet.cli.reports.markdown import escape as markdown_escape
from xpet.core.estimates import Estimate
from xpet.jobs.results.from_json import from_dict

EVERY = pytest.mark.parametrize("name", SAMPLES)
NUMBER = re.compile(r"[+-]?\d+\.\d")


def test_the_table_of_formats_loads_no_renderer() -> None:
    found = "sorted({'rich', 'tabulate', 'matplotlib'} & set(sys.modules))"
    code = f"import sys, xpet.cli.reports as r; print({found}, r.FORMATS)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[] {'terminal'")


@pytest.mark.parametrize("format_name", [f for f in FORMATS if f != "html"])
@EVERY
def test_every_format_renders_every_report(name: str, format_name: str) -> None:
    text = render(SAMPLES[name](), format_name, Look(full=True))
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert "\x1b" not in text


AT_80 = """\
R@1 on 1,000 test images of demo
lang  zero-shot         95 % interval  lora         change
──────────────────────────────────────────────────────────────────────────────
en         92.5  best    [90.5, 94.5]  92.5  best      0.0     ███████████████
fr         85.0          [83.0, 87.0]  84.6           -0.4     ██████████████
es         80.7          [78.7, 82.7]  87.3           +6.6  *  █████████████▒
"""


def test_the_terminal_at_80_columns() -> None:
    text = render(reports.full(), "terminal", Look(80))
    lines = text.splitlines()
    assert text.startswith(AT_80)
    assert "gate  option          limit  found" in lines
    assert "FAIL  --fail-under       70  ko 68.5, required 70.0" in lines
    assert "mean                      61.5   [59.5, 63.5]  80.5   +19.0  [+17.5, +20.5]" in lines
    assert "Note: synthetic demo world: the numbers show how xpet works, not how a real" in lines


@pytest.mark.parametrize("width", [60, 80, 120, 200])
@EVERY
def test_no_width_cuts_a_number(name: str, width: int) -> None:
    report = SAMPLES[name]()
    text = render(report, "terminal", Look(width))
    wide = render(report, "terminal", Look(2000))
    assert max(cell_len(line) for line in text.splitlines()) <= width
    # Every number at hand with all the room there is: none is a piece of another one.
    assert set(NUMBER.findall(text)) <= set(NUMBER.findall(wide))
    for system in report.systems:
        for scores in system.languages.values():
            assert re.search(rf"(?<![\d.]){scores.mean.r1.value:.1f}(?![\d.])", text)


def test_wider_terminals_show_more() -> None:
    heads = [render(reports.full(), "terminal", Look(width)).splitlines()[1].split() for width in (60, 80, 120, 200)]
    counts = [len(head) for head in heads]
    assert counts == sorted(counts)
    assert counts[0] < counts[1] < counts[2] < counts[3]
    assert "change" in heads[0]


def test_colour_goes_with_the_sign_and_not_with_chance() -> None:
    text = render(reports.full(), "terminal", Look(120, colour=True))
    assert "\x1b[32m+36.5\x1b[0m" in text  # German, significant
    assert "\x1b[31m-0.6\x1b[0m" in text  # English under a module
    assert "\x1b[32m-37.5\x1b[0m" in text  # a smaller range is better
    assert re.search(r"(?<!m)-0\.4(?!\x1b)", text)  # French may be chance
    assert "\x1b[2m[90.5, 94.5]\x1b[0m" in text


def test_bars_are_ascii_where_unicode_cannot_be_written() -> None:
    text = render(reports.full(), "terminal", Look(120, unicode=False))
    assert text.isascii()
    german = next(line for line in text.splitlines() if line.startswith("de "))
    assert german.endswith("  ######++++++")  # 38.6 and 75.1 of 100 on 16 characters


class Screen(io.StringIO):
    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


def test_look_respects_pipes_no_color_and_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "97")
    assert look(io.StringIO(), {}) == Look(None, False, True)
    assert look(Screen(), {}) == Look(97, True, True)
    assert look(Screen(), {"NO_COLOR": "1"}) == Look(97, False, True)
    assert look(Screen(), {"TERM": "dumb"}) == Look(97, False, True)
    old = Screen()
    old.encoding = "ANSI_X3.4-1968"  # type: ignore[assignment]
    assert look(old, {}, full=True) == Look(97, True, False, True)


def test_the_plain_table_is_ascii_without_boxes() -> None:
    text = render(reports.full(), "table")
    assert text.isascii()
    assert not re.search(r"[|+]-", text)
    assert re.search(r"^ko +31\.0 +worst +\[29\.0, 33\.0\] +68\.5 +worst .* \+37\.5 +\*", text, re.MULTILINE)
    assert "\nPASS " in text
    assert "Warning: ko: 3 captions are longer than 77 tokens and were cut\n" in text


@pytest.mark.parametrize("format_name", ["terminal", "table", "markdown", "latex"])
def test_only_synthetic_data_is_called_so(format_name: str) -> None:
    made, real = (render(reports.zero_shot(synthetic), format_name) for synthetic in (True, False))
    assert "synthetic demo world" in " ".join(made.split())
    assert "synthetic" not in real


def test_a_control_sequence_in_a_name_does_not_reach_the_terminal() -> None:
    assert clean("a\x1b]0;title\x07b\x9bc\n d\udcff") == "a ]0;title b c d?"


def test_languages_are_ordered_by_the_reference_and_marked_once() -> None:
    text = render(reports.zero_shot(), "table")
    rows = [line.split() for line in text.splitlines()[4:15]]
    assert [row[0] for row in rows] == sorted(BEFORE, key=lambda k: -BEFORE[k])
    assert [row[0] for row in rows if "best" in row] == ["en"]
    assert [row[0] for row in rows if "worst" in row] == ["ko"]


@pytest.mark.parametrize(
    ("value", "shown", "tone"),
    [(2.04, "+2.0", "good"), (-2.0, "-2.0", "bad"), (-0.04, "0.0", ""), (0.04, "0.0", ""), (0.05, "+0.1", "good")],
)
def test_a_change_has_a_sign_and_a_tone(value: float, shown: str, tone: str) -> None:
    assert (change(Estimate(value)).text, change(Estimate(value)).tone) == (shown, tone)
    assert change(Estimate(value), sure=False).tone == ""
    assert change(Estimate(value), fewer_is_better=True).tone == {"good": "bad", "bad": "good"}.get(tone, "")


def test_intervals_and_zeros() -> None:
    assert interval(Estimate(1.0, -0.01, 2.0)).text == "[0.0, 2.0]"
    assert interval(Estimate(1.0)) == Cell()
    shown = {"-0.0": "0.0", "+0.0": "0.0", "-0.1": "-0.1", "0.0": "0.0", "-10.0": "-10.0", "+0.0001": "+0.0001"}
    assert {given: positive_zero(given) for given in shown} == shown


def test_csv_has_one_row_per_figure() -> None:
    report = reports.full()
    rows = list(csv.DictReader(io.StringIO(render(report, "csv"))))
    assert tuple(rows[0]) == HEADER
    recalls = [r for r in rows if r["level"] == "language" and r["metric"] not in ("seeds_std", "english_r1")]
    assert len(recalls) == 2 * 11 * 3 * 5
    r1 = {(r["system"], r["language"]): r for r in recalls if (r["metric"], r["direction"]) == ("r1", "mean")}
    assert {k: float(r1["lora", k]["value"]) for k in AFTER} == AFTER
    assert float(r1["zero-shot", "de"]["low"]) == BEFORE["de"] - 2
    change = [r for r in rows if r["level"] == "change" and r["metric"] == "range"]
    assert [(r["reference"], r["system"], r["group"]) for r in change] == [("zero-shot", "lora", "all")]
    assert float(change[0]["value"]) == report.comparisons[0].range.value
    groups = {r["group"] for r in rows if r["level"] == "disparity"}
    assert groups == {"all", "Latin", "other"}
    assert len({tuple(r[k] for k in HEADER[:7]) for r in rows}) == len(rows)


def test_csv_keeps_names_exactly() -> None:
    rows = list(csv.DictReader(io.StringIO(render(reports.hostile(), "csv"), newline="")))
    assert {r["system"] for r in rows} == {"zero-shot", HOSTILE}


@EVERY
def test_json_reads_back_to_the_same_report(name: str) -> None:
    report = SAMPLES[name]()
    assert from_dict(json.loads(render(report, "json")), "x.json") == report


@pytest.mark.parametrize("name", ["full", "hostile", "several"])
def test_latex_is_balanced_and_escaped(name: str) -> None:
    text = render(SAMPLES[name](), "latex", Look(full=True))
    bare = re.sub(r"\\[\\{}&%$#_]", "", text)  # what is left after escapes is structure
    depth = 0
    for char in bare:
        depth += {"{": 1, "}": -1}.get(char, 0)
        assert depth >= 0
    assert depth == 0
    body = "\n".join(line for line in bare.splitlines() if not line.startswith("%"))
    assert not re.search(r"[$#~%]|_|(?<!\\)\^", body.replace(r"\textasciitilde", ""))
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == text.count(r"\begin{tabular}")
    for table in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        columns, lines = len(table[0]), [line for line in table[1].splitlines() if line.endswith(r"\\")]
        assert lines
        assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in lines} == {columns}
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == text.count(r"\label{")
    assert r"\hline" not in text


def test_latex_sets_the_best_bold_and_has_no_ligatures() -> None:
    text = render(reports.full(), "latex")
    assert r"\textbf{92.5}" in text
    assert r"\textit{31.0}" in text
    assert "-{}-fail-under" in text
    assert "best}" not in text


@pytest.mark.parametrize("name", ["full", "hostile"])
def test_markdown_tables_hold_together(name: str) -> None:
    text = render(SAMPLES[name](), "markdown", Look(full=True))
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(blocks) > 5
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block}) == 1
    assert not re.search(r"(?<!\\)<", text)
    assert markdown_escape("a|b*c_<d>\n`e`") == r"a\|b\*c\_\<d\> \`e\`"
