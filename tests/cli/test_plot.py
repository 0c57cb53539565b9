"""The pictures of a report: the right kind, the same bytes every time, and the figures where they belong."""

from __future__ import annotations

import importlib.util
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli import reports
from tests.cli.reports import AFTER, BEFORE, SAMPLES
from tests.command import run_here
from xpet.cli.reports import PLOT_KINDS, plot

STARTS = {"png": b"\x89PNG\r\n", "svg": b"<?xml", "pdf": b"%PDF"}


def words(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


@pytest.mark.parametrize("kind", PLOT_KINDS)
def test_a_picture_is_the_same_every_time(kind: str) -> None:
    report = reports.one_language()
    first = plot.render(report, kind)
    assert first.startswith(STARTS[kind])
    assert plot.render(report, kind) == first
    assert not re.search(rb"20[0-9]{2}-[0-9]{2}-[0-9]{2}T|CreationDate|dc:date", first)


def test_a_png_is_not_blank_and_of_the_asked_size() -> None:
    from PIL import Image

    image = Image.open(io.BytesIO(plot.render(reports.full(), "png"))).convert("RGB")
    assert image.size == (1152, 784)
    colours = {colour for _, colour in image.getcolors(1 << 20)}
    assert {(127, 127, 127), (0, 114, 178), (255, 255, 255)} <= colours


def test_a_dumbbell_per_language_with_its_change() -> None:
    (svg,) = plot.inline(reports.full())
    said = words(svg)
    assert [w for w in said if w in BEFORE] == sorted(BEFORE, key=lambda k: -BEFORE[k])
    changes = [w for w in said if re.fullmatch(r"[+-]?\d+\.\d\*?", w)]
    wanted = {k: AFTER[k] - BEFORE[k] for k in sorted(BEFORE, key=lambda k: -BEFORE[k])}
    assert changes == [f"{v:+.1f}*" if abs(v) > 2 else f"{v:+.1f}".replace("+0.0", "0.0") for v in wanted.values()]
    assert "Synthetic demo world: the numbers show how xpet works, not how a real model does." in said
    assert {"zero-shot", "lora", "20", "100"} <= set(said)
    assert "110" not in said
    assert "currentColor" in svg
    assert plot.INK not in svg


def test_zero_shot_shows_values_and_only_synthetic_data_is_called_so() -> None:
    (svg,) = plot.inline(reports.zero_shot(synthetic=False))
    assert {f"{value:.1f}" for value in BEFORE.values()} <= set(words(svg))
    assert not any("ynthetic" in w for w in words(svg))


def test_methods_are_set_against_their_cost() -> None:
    dumbbells, tradeoff = plot.inline(reports.several())
    said = words(tradeoff)
    for name in ("compacter", "lora", "adapter", "full"):
        assert said.count(name) == 2
    assert {"0.1", "1", "10", "100", "mean R@1: more is better", "range: less is better"} <= set(said)
    assert "mathdefault" not in tradeoff
    assert not any(w.startswith("+") for w in words(dumbbells))


def test_names_are_no_mathematics() -> None:
    (svg,) = plot.inline(SAMPLES["hostile"]())
    assert any(w.startswith("a_b&amp;100%#$x^{~}") and w.endswith("…") for w in words(svg))


def test_no_window_system_is_touched() -> None:
    code = (
        "import sys; from tests.cli.reports import one_language; from xpet.cli.reports import plot;"
        "plot.render(one_language(), 'png'); import matplotlib as m;"
        "print('matplotlib.pyplot' in sys.modules, m.rcParams['svg.hashsalt'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False None\n"


@pytest.mark.parametrize(
    ("options", "needs"),
    [
        (["--plot", "p.svg"], "--plot p.svg"),
        (["-o", "r.html"], "--format html"),
        (["--plot", "p.png", "--format", "html"], "--plot p.png and --format html"),
    ],
)
def test_without_matplotlib_the_extra_is_named(
    options: list[str], needs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = tmp_path / "result.json"
    stored.write_text(json.dumps(reports.full().to_dict()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr("xpet.jobs.eval.run.run", lambda *_: pytest.fail("measured"))
    done = run_here("eval", stored, *options)
    expected = f"xpet: error: {needs}: expected the package matplotlib, found none; pip install 'xpet[plot]'\n"
    assert (done.returncode, done.stderr.decode()) == (2, expected)
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
