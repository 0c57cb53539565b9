"""The JSON documents of results: what comes first, what disparity is written as."""

from __future__ import annotations

from dataclasses import asdict

from xpet.core.disparity import disparity, mean_disparity
from xpet.jobs.results.document import disparity_fields, document
from xpet.jobs.results.lint import LintResult
from xpet.jobs.results.merge import Combination, PackResult, Price


def test_the_note_comes_before_the_fields_of_a_synthetic_result() -> None:
    assert list(document("merge", {"base": "b", "synthetic": True})) == [
        "command",
        "schema",
        "note",
        "base",
        "synthetic",
    ]
    plain = document("eval", {"base": "b", "synthetic": False}, schema=2)
    assert plain == {"command": "eval", "schema": 2, "base": "b", "synthetic": False}
    assert list(LintResult("xtd", ()).to_dict()) == ["command", "schema", "errors", "data", "findings"]


def test_disparity_is_written_as_its_figures_and_the_worst_language() -> None:
    spread = mean_disparity([{"en": 90.0, "de": 40.0}, {"en": 90.0, "de": 50.0}])
    expected = {"mean": 67.5, "range": 45.0, "std": 22.5, "worst": "de", "mean_gap": 45.0}
    assert list(disparity_fields(spread).items()) == list(expected.items())
    assert list(asdict(spread)) == ["languages", "mean", "range", "std", "worst", "best", "mean_gap"]


def test_a_pack_of_a_combination_has_disparity_in_the_same_form() -> None:
    before = {"en": 90.0, "de": 40.0}
    made = Combination(
        "linear", {"de": 1.0}, None, None, 0, 8, None, {"de": Price(40.0, 41.0, 42.0, 1.0)}, {"base": disparity(before)}
    )
    written = PackResult("b", "lora", False, (), "out", 1, 0.5, made).to_dict()
    assert written["combination"]["spreads"] == {"base": disparity_fields(disparity(before))}
    assert list(written["combination"])[-2:] == ["languages", "spreads"]
    assert PackResult("b", "lora", False, (), "out", 1, 0.5).to_dict()["combination"] is None
