"""`xpet eval --list-models`: the model families for a person and as JSON; the page has the same ones."""

from __future__ import annotations

import json
from pathlib import Path

from tests.command import run_here
from xpet.models.families import FAMILIES

PAGE = Path(__file__).resolve().parents[2] / "xpet" / "models" / "README.md"


def test_families_are_listed() -> None:
    shown = run_here("eval", "--list-models")
    assert (shown.returncode, shown.stderr) == (0, b"")
    text = shown.stdout.decode()
    rows = {line.split("  ")[0] for line in text.splitlines()}
    assert {family.name for family in FAMILIES} <= rows
    assert {name for family in FAMILIES for name in family.facts.checkpoints} <= rows
    line = next(line for line in text.splitlines() if line.startswith("sentence-transformers/clip"))
    assert line.split()[1:] == ["sentence-transformers", "openai/clip-vit-base-patch32"]
    listed = json.loads(run_here("eval", "--list-models", "--json").stdout)
    assert listed["command"] == "models"
    assert [family["name"] for family in listed["families"]] == [family.name for family in FAMILIES]
    assert all(family["verified"] and family["licence"] for family in listed["families"])


def test_the_page_lists_every_family() -> None:
    rows = {line.split("|")[1].strip() for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ")}
    assert {family.name for family in FAMILIES} <= rows
