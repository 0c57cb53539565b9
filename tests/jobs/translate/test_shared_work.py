"""Two processes translate in parts: each line once in all, the same bytes as one process, whatever the cache holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import worlds
from tests.jobs.conftest import rows_of, write_table
from tests.jobs.translate.translating import LINES, Lower, hops, translate
from tests.translation.test_store import Upper
from xpet.jobs.translate import run
from xpet.translation.bulk import Bulk
from xpet.translation.cache import Cache

STORED = LINES[100:400]
WORDS = "ein Hund sieht die Katze|eine Frau und der Mann|kaputt kaputt kaputt|zwei Fahrrad|\u661f|".split("|")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared")
    with Cache(folder / "cache") as store:
        Bulk([Upper(), Lower()], store).translate(STORED)
    (folder / "in.txt").write_text("\n".join(f"{text} {n // 9}" for n, text in enumerate(WORDS * 20)) + "\n")
    write_table(folder / "captions.jsonl", [row for row in rows_of() if row["lang"] != "tr"])
    for out in ("one", "two"):
        (folder / out).mkdir()
    return folder


@pytest.fixture(scope="module")
def world(folder: Path, installed: Path) -> worlds.World:
    return worlds.meet(
        "tests.jobs.translate.translating", folder, ARGOS_PACKAGES_DIR=str(installed), XPET_CACHE=str(folder / "xpet")
    )


def test_each_line_is_translated_once_and_all_get_all(world: worlds.World, tmp_path: Path) -> None:
    first, second = (world[rank]["hops"] for rank in (0, 1))
    for hop in ("first", "second"):
        seen = first[hop] + second[hop]
        assert len(seen) == len(set(seen)) == 700
        assert min(len(first[hop]), len(second[hop])) == 350
    alone = hops(tmp_path)
    assert first["entries"] == second["entries"] == json.loads(json.dumps(alone["entries"]))
    assert len(alone["first"]) == 1000
    assert first["counts"] == second["counts"] == {"cached": 600, "translated": 1400, "retried": 0}
    assert first["done"] == sorted(first["done"])
    assert first["done"][-1] == 1002


def test_caches_that_are_not_common_are_filled_by_each(world: worlds.World) -> None:
    for rank in (0, 1):
        own = world[rank]["own"]
        assert len(own["first"]) == len(own["second"]) == 1000
        assert own["entries"] == world[rank]["hops"]["entries"]


def test_two_processes_make_and_fill_a_cache_at_once(world: worlds.World, folder: Path) -> None:
    assert [world[rank]["hammered"]["right"] for rank in (0, 1)] == [[True] * 40] * 2
    with Cache(folder / "hammered") as store:
        assert len(store.get("s", [f"{number}" for number in range(400)])) == 400


def written(folder: Path) -> dict[str, Any]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_and_results_are_those_of_one_process(
    world: worlds.World, folder: Path, packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "CHUNK", 50)
    alone = json.loads(json.dumps(translate(folder, folder / "one")))
    results = [world[rank]["translated"]["results"] for rank in (0, 1)]
    assert results[0] == results[1] == json.loads(json.dumps(alone["results"]).replace("/one/", "/two/"))
    assert written(folder / "two") == written(folder / "one")
    assert len(written(folder / "two")) == 3  # the file, its report of flagged lines, the column of the data
    assert world[0]["translated"]["events"] > 0
    assert world[1]["translated"]["events"] == 0  # silent behind the first
