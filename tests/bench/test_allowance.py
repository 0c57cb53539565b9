"""Benchmarks that may take so many minutes: shares of the time, what is left out, rows kept as they are found."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.bench import bench_align
from tests.bench.align_runs import Found, Options
from tests.bench.align_scaling import _steps
from tests.bench.meter import Allowance, in_turns
from tests.bench.profile_step import measured


class Clock:
    """Tells the seconds that its works took."""

    def __init__(self) -> None:
        self.now = 0.0
        self.done: list[str] = []

    def __call__(self) -> float:
        return self.now

    def work(self, name: str, seconds: float) -> float:
        self.now += seconds
        self.done.append(name)
        return seconds


def test_what_a_part_does_not_use_the_next_ones_have() -> None:
    clock = Clock()
    whole = Allowance(100.0, clock)
    first = whole.part(1, 4)
    assert first.seconds == 25
    clock.work("first", 10)
    assert (first.left(), whole.left()) == (15, 90)
    second = whole.part(2, 3)
    clock.work("second", 95)
    assert second.left() < 0
    assert whole.part(1, 1).seconds == 0


def test_turns_end_where_no_time_is_left() -> None:
    clock = Clock()
    ways = {
        name: lambda name=name, took=took: clock.work(name, took) for name, took in (("a", 4.0), ("b", 5), ("c", 6))
    }
    kept: list[list[str]] = []
    assert in_turns(ways, 3, Allowance(8.0, clock), lambda found: kept.append(list(found))) == {"a": [4], "b": [5]}
    assert kept == [["a"], ["a", "b"]]
    clock.done.clear()
    assert in_turns(ways, 3, Allowance(40.0, clock)) == {"a": [4, 4], "b": [5, 5], "c": [6, 6]}
    assert in_turns(ways, 1, Allowance(0.0, clock)) == {"a": [4]}  # the first one is what the others are compared with
    assert clock.done == ["a", "b", "c"] * 2 + ["a"]


def test_wide_stacks_get_fewer_steps_or_none() -> None:
    clock = Clock()
    options = Options(steps=30, allowed=Allowance(20.0, clock))
    rows: list[dict[str, Any]] = [{"ms/run-step": 10.0}]
    assert [_steps(options, count, rows) for count in (2, 64, 128)] == [30, 15, 0]
    assert _steps(options, 128, []) == 30
    assert _steps(replace(options, allowed=Allowance(math.inf, clock)), 128, rows) == 30


def test_stacks_that_would_take_too_long_are_not_profiled() -> None:
    clock = Clock()
    kept: list[int] = []

    def measure(count: int) -> dict[str, Any]:
        clock.work(str(count), count)
        return {"runs": count}

    left_out = measured((1, 4, 16, 64), Allowance(30.0, clock), measure, lambda rows: kept.append(len(rows)))
    assert left_out == [64]
    assert kept == [1, 2, 3]


def test_a_part_that_fails_loses_neither_its_rows_nor_the_other_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[dict[str, Any]] = []
    out = tmp_path / "found.json"

    def fails(options: Options) -> Found:
        options.told(Found([{"what": "one", "ms": 1.0}], ["a note"]))
        seen.append(json.loads(out.read_text()))
        raise RuntimeError("no more memory")

    monkeypatch.setattr(bench_align, "PARTS", {"runs": fails, "full": lambda options: Found([{"what": "two"}], [])})
    with pytest.raises(SystemExit, match="1 of 2 tables failed"):
        bench_align.main(["--what", "runs,full", "--out", str(out), "--minutes", "5", "--smoke"])
    assert [table["rows"] for table in seen[0]["tables"]] == [[{"what": "one", "ms": 1.0}]]
    tables = json.loads(out.read_text())["tables"]
    assert [(table["part"], table["rows"]) for table in tables] == [
        ("runs", [{"what": "one", "ms": 1.0}]), ("full", [{"what": "two"}])
    ]  # fmt: skip
    assert tables[0]["notes"][:2] == ["a note", "failed: RuntimeError: no more memory"]
    shown = capsys.readouterr().out
    assert "  one: ms 1\n" in shown
    bench_align.main(["--what", "runs,full", "--out", str(out), "--minutes", "0", "--smoke"])
    assert [table["notes"][0] for table in json.loads(out.read_text())["tables"]] == ["left out: no time was left"] * 2
