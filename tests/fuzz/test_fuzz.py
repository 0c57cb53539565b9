"""The short form of the fuzzer: every kind of input, damaged as is kept, and otherwise; see `python -m tests.fuzz`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import corpus
from tests.fuzz.loop import search
from tests.fuzz.stored_doors import ALL_DOORS

ROUNDS = 4
KEPT = 4
"""Kept inputs of each kind that are replayed; the long form replays all."""


@pytest.fixture(autouse=True)
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XPET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ARGOS_PACKAGES_DIR", str(tmp_path / "no-packages"))


@pytest.mark.parametrize("name", ALL_DOORS)
def test_damaged_input_is_told(name: str, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    known = corpus.load(name)[:KEPT]
    found = search(ALL_DOORS[name], ROUNDS, 20, tmp_path / "work", known=known)
    assert found.faults == []
    assert found.tried == ROUNDS + len(known)
    assert 0 <= found.refused <= found.tried


def test_the_corpus_is_small_and_of_doors_that_are_there() -> None:
    files = list(corpus.FOLDER.glob("*"))
    assert {path.name for path in files} <= {f"{corpus.slug(name)}.jsonl" for name in ALL_DOORS}
    assert sum(path.stat().st_size for path in files) < 200_000
    assert all(corpus.load(name) for name in ("table.csv", "run", "pack"))


def test_a_kept_input_is_the_damaged_file(tmp_path: Path) -> None:
    sound, damaged = b"0123456789" * 9, b"0123456789" * 4 + b"odd" + b"0123456789" * 4
    (tmp_path / "a").write_bytes(damaged)
    kept = corpus.kept_of(tmp_path, tmp_path / "a", sound, "read")
    assert kept is not None
    (tmp_path / "a").write_bytes(sound)
    assert kept.put(tmp_path).read_bytes() == damaged
    assert len(kept.data) < 40
    corpus.save("A door", [kept, kept], tmp_path / "corpus")
    assert corpus.load("A door", tmp_path / "corpus") == [kept]
