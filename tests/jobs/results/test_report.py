"""The evaluation report goes through JSON unharmed, and what is no report is refused by name."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.cli import reports
from tests.cli.reports import SAMPLES
from xpet.core.errors import DataError
from xpet.jobs.results.from_json import from_dict
from xpet.jobs.results.report import SCHEMA


def document(**changed: Any) -> dict[str, Any]:
    return {**json.loads(json.dumps(reports.full().to_dict())), **changed}


@pytest.mark.parametrize("name", SAMPLES)
def test_round_trip(name: str) -> None:
    report = SAMPLES[name]()
    assert from_dict(report.to_dict(), "x") == report
    text = json.dumps(report.to_dict())
    assert from_dict(json.loads(text), "x") == report
    assert json.dumps(from_dict(json.loads(text), "x").to_dict()) == text


def test_the_document_says_what_it_is() -> None:
    made = reports.full().to_dict()
    assert (made["command"], made["schema"]) == ("eval", SCHEMA) == ("eval", 2)
    assert made["note"].startswith("synthetic demo world")
    assert "note" not in reports.one_language().to_dict()


NOT_EVAL = "r.json: expected a result of `xpet eval --json`, found something else"
DAMAGED = "r.json: expected a result of `xpet eval --json`, found a damaged one ({})"
GATE = {"option": "--fail-under", "limit": 1, "passed": True, "message": "m"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], NOT_EVAL),
        (None, NOT_EVAL),
        ({"command": "align", "schema": 1}, NOT_EVAL),
        (document(schema=1), "r.json: expected result schema 2, found 1; measure again with this xpet"),
        ({"command": "eval"}, "r.json: expected result schema 2, found None; measure again with this xpet"),
        (document(colour="red"), DAMAGED.format("unknown field colour")),
        (document(images="1000"), DAMAGED.format("images: expected a whole number, found '1000'")),
        (document(images=True), DAMAGED.format("images: expected a whole number, found True")),
        (document(data=3), DAMAGED.format("data: expected text, found 3")),
        (document(synthetic=1), DAMAGED.format("synthetic: expected true or false, found 1")),
        (document(warnings="w"), DAMAGED.format("warnings: expected a list, found 'w'")),
        (document(advice=[]), DAMAGED.format("advice: expected an object, found []")),
        (document(gates=[3]), DAMAGED.format("gates: expected an object, found 3")),
        (document(gates=[GATE | {"limit": "1"}]), DAMAGED.format("gates: limit: expected a number, found '1'")),
        (document(systems=[]), DAMAGED.format("expected systems with different names, found []")),
    ],
)
def test_other_documents_are_refused(given: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        from_dict(given, "r.json")
    assert str(caught.value) == message


def test_a_missing_field_is_damage() -> None:
    broken = document()
    del broken["systems"][0]["spread"]["worst"]
    with pytest.raises(DataError, match=r"found a damaged one \(.*missing 1 required.*'worst'\)$"):
        from_dict(broken, "r.json")


def test_systems_are_told_apart_by_name() -> None:
    report = reports.full()
    with pytest.raises(ValueError, match=r"^expected systems with different names, found \['a', 'a'\]$"):
        replace(report, systems=tuple(replace(s, name="a") for s in report.systems))
