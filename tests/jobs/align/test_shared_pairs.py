"""Two processes make the pairs of routine `text`: the stores of one process, every line encoded and translated once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import worlds
from tests.jobs.align.pairing import CASES, pair
from tests.jobs.align.test_text import lines, packages
from tests.jobs.conftest import World

__all__ = ["packages"]
Seen = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    (folder / "english.txt").write_text("\n".join(lines()) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def alone(world: World, packages: Path, folder: Path) -> Seen:  # noqa: F811
    return json.loads(json.dumps(pair(world, packages, folder / "english.txt", folder / "alone")))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def together(world: World, packages: Path, folder: Path) -> worlds.World:  # noqa: F811
    return worlds.meet(
        "tests.jobs.align.pairing", world.text, world.table, world.features, packages, folder / "english.txt",
        folder / "together", OMP_NUM_THREADS=str(torch.get_num_threads()),
    )  # fmt: skip


def stored(cache: Path) -> dict[str, bytes]:
    return {str(path.relative_to(cache)): path.read_bytes() for path in sorted(cache.rglob("pairs/*/*.bin"))}


@pytest.mark.parametrize("case", CASES)
def test_pairs_and_figures_are_those_of_one_process(case: str, alone: Seen, together: worlds.World) -> None:
    for rank in (0, 1):
        assert together[rank][case]["pairs"] == alone[case]["pairs"]
        assert together[rank][case]["zero-shot"] == alone[case]["zero-shot"]


def test_stores_are_those_of_one_process(alone: Seen, together: worlds.World, folder: Path) -> None:
    for cache, languages in (("de", 2), ("tr", 1)):
        assert stored(folder / "together" / cache) == stored(folder / "alone" / cache)
        folders = [path for path in (folder / "together" / cache / "pairs").iterdir() if path.is_dir()]
        assert len(folders) == languages + 1  # and the English features; no parts are left


@pytest.mark.parametrize("case", ["two languages", "one language"])
def test_each_line_is_translated_once_and_by_both(case: str, alone: Seen, together: worlds.World) -> None:
    by_rank = [together[rank][case]["translated"] for rank in (0, 1)]
    assert sorted(by_rank[0] + by_rank[1]) == sorted(alone[case]["translated"])
    assert min(map(len, by_rank)) >= len(alone[case]["translated"]) // 3


@pytest.mark.parametrize("case", ["two languages", "one language"])
def test_each_line_is_encoded_once_and_by_both(case: str, alone: Seen, together: worlds.World) -> None:
    own = [[text for text in together[rank][case]["english"] if text in set(lines())] for rank in (0, 1)]
    assert sorted(own[0] + own[1]) == sorted(text for text in alone[case]["english"] if text in set(lines()))
    assert min(map(len, own)) >= 60


def test_what_is_stored_is_not_made_again(together: worlds.World) -> None:
    for rank in (0, 1):
        assert together[rank]["again"]["translated"] == []
        assert not {"translating", "pairs", "English lines"} & set(together[rank]["again"]["stages"])
