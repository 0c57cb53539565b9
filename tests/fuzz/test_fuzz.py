"""The short form of the fuzzer: every kind of input, sound and damaged in a few ways; see `python -m tests.fuzz`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.doors import DOORS
from tests.fuzz.loop import search

ROUNDS = 6


@pytest.fixture(autouse=True)
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XPET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ARGOS_PACKAGES_DIR", str(tmp_path / "no-packages"))


@pytest.mark.parametrize("name", DOORS)
def test_damaged_input_is_told(name: str, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    found, refused = search(DOORS[name], ROUNDS, 20, tmp_path / "work")
    assert found == []
    assert 0 <= refused <= ROUNDS
