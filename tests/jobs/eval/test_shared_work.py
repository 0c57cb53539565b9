"""Two processes share an evaluation: the same report byte for byte, everything measured once, in either process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import worlds
from tests.jobs.conftest import World
from tests.jobs.eval.evaluating import evaluate
from xpet.cli.reports import render
from xpet.cli.reports.look import Look
from xpet.core.config import MethodConfig
from xpet.core.metrics import retrieval, retrieval_of
from xpet.jobs.align import run as align
from xpet.jobs.eval import run

KINDS = ("base", "sweep", "one language", "compared", "stored", "lint")
Seen = dict[str, Any]


@pytest.fixture(scope="module")
def folder(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small world with a sweep of two languages and two seeds, another run, and a result of that."""
    folder = tmp_path_factory.mktemp("shared")
    for path in (world.text, world.table, world.features):
        (folder / path.name).symlink_to(path)
    align.run(world.config(folder / "sweep", "de", "tr", seeds=(1, 2)))
    align.run(world.config(folder / "other", "de", method=MethodConfig("lora", rank=2)))
    report = run.run(world.evaluation(folder / "other"))
    (folder / "result.json").write_text(render(report, "json", Look()))  # type: ignore[arg-type]
    return folder


@pytest.fixture(scope="module")
def alone(folder: Path) -> Seen:
    return json.loads(json.dumps(evaluate(folder, folder / "result.json")))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def together(folder: Path) -> worlds.World:
    return worlds.meet(
        "tests.jobs.eval.evaluating", folder, folder / "result.json", OMP_NUM_THREADS=str(torch.get_num_threads())
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_report_is_that_of_one_process(kind: str, alone: Seen, together: worlds.World) -> None:
    assert together[0][kind]["shown"] == alone[kind]["shown"]
    assert together[1][kind]["shown"] == alone[kind]["shown"]


def test_everything_is_measured_once(alone: Seen, together: worlds.World) -> None:
    counts = {rank: [together[rank][kind]["measured"] for kind in KINDS] for rank in (0, 1)}
    assert [one + other for one, other in zip(*counts.values(), strict=True)] == [alone[k]["measured"] for k in KINDS]
    assert min(map(sum, counts.values())) > 0  # which of the two draws more is chance


def test_progress_comes_from_the_first_alone(alone: Seen, together: worlds.World) -> None:
    for kind in KINDS:
        assert set(together[0][kind]["stages"]) == set(alone[kind]["stages"])
        assert together[1][kind]["stages"] == []
    assert "diagnosing" in together[0]["sweep"]["stages"]


def test_ranks_are_all_that_a_retrieval_needs() -> None:
    generator = torch.Generator().manual_seed(1)
    image, text = torch.randn(7, 3, generator=generator), torch.randn(20, 3, generator=generator)
    text[4] = text[9]
    owners = torch.tensor([0, 1, 1, 2, 4, 4, 4, 6, 6, 0] * 2)
    found = retrieval(image, text, owners)
    again = retrieval_of(7, owners, *(direction.ranks for direction in found.directions))
    for one, other in zip(found.directions, again.directions, strict=True):
        assert all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("query", "image", "weight"))
        assert one.images == other.images
        assert torch.equal(one.per_image(), other.per_image())
    for name in ("image_hits", "text_hits", "image_reciprocal", "text_reciprocal"):
        assert torch.equal(getattr(found, name), getattr(again, name))
