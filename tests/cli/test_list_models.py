"""`xpet eval --list-models`: the model families for a person and as JSON; the page has the same ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import run_here
from xpet.core.known_models import KNOWN
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


def test_what_is_told_is_what_is_read() -> None:
    """The list is made without the families, so that torch is not loaded, and yet cannot differ from them."""
    assert [family.facts for family in FAMILIES] == list(KNOWN.values())
    assert [family.name for family in FAMILIES] == list(KNOWN)
    for facts in KNOWN.values():
        assert all((facts.parameters, facts.dimensions, facts.languages, facts.licence, facts.verified))
        assert len(set(facts.checkpoints)) == len(facts.checkpoints) > 0
        assert all(name.count("/") == 1 and not set(name) & set("{},* ") for name in facts.checkpoints)
        assert facts.partners.keys() <= set(facts.checkpoints)


def test_listing_loads_no_torch() -> None:
    code = "import sys; from xpet.cli.app import _run; print(_run(['eval', '--list-models']), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 False"


@pytest.mark.parametrize("beside", ["--out x.json", "--plot x.png", "--format html"])
def test_what_does_not_go_with_it_is_refused(beside: str) -> None:
    done = run_here("eval", "--list-models", *beside.split())
    assert (done.returncode, done.stdout) == (2, b"")
    said = f"xpet: error: --list-models: expected it without {beside.split()[0]}, found both\n"
    assert done.stderr.decode() == said


def test_the_page_lists_every_family() -> None:
    rows = {line.split("|")[1].strip() for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ")}
    assert {family.name for family in FAMILIES} <= rows
