"""One stack trained by several gloo processes learns what one process learns, to 1e-10, for every loss and method."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.spread_cases import CACHED, CASES, LONG, PAIR, read, train, trained_by, write
from xpet.core.errors import LostError
from xpet.training.spread import Spread

FEW = ("method lora", "data: image captions", "dropout", "padded, no anchors", "pairs", "runs that come and go", LONG)
"""Cases for three processes, which no batch divides by."""
SLICED = ("method lora", "dropout", "runs that come and go", LONG)
"""Cases with batches in slices."""
WORLDS = {2: [*CASES, *(f"{name}{CACHED}" for name in SLICED)], 3: FEW}
PAIRS = [(world, number) for world, names in WORLDS.items() for number in range(len(names))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("spread")
    trained_by(made, WORLDS, gradient_cache=2)
    return made


@pytest.mark.parametrize(("world", "number"), PAIRS, ids=[f"{w} processes, {WORLDS[w][n]}" for w, n in PAIRS])
def test_processes_learn_together_what_one_learns(world: int, number: int, folder: Path) -> None:
    name = WORLDS[world][number].removesuffix(CACHED)
    alone = folder / f"alone-{list(CASES).index(name)}"
    if not alone.with_suffix(".json").exists():  # several worlds have the case
        write(alone, *train(CASES[name]))
    check(folder / f"{world}-0-{number}", alone)


def check(found: Path, alone: Path) -> None:
    """What two trainings wrote is equal: checkpoints, last parameters and histories to 1e-10."""
    (figures, tensors), (expected, others) = read(found), read(alone)
    assert set(tensors) == set(others)
    for name, value in tensors.items():
        tolerance = 1e-6 if name.endswith("key.bias") else 1e-10  # see test_stack_equals_alone
        torch.testing.assert_close(value, others[name], atol=tolerance, rtol=0)
    for mine, other in zip(figures, expected, strict=True):
        history, others = mine.pop("history"), other.pop("history")
        assert mine == other
        for one, two in zip(history, others, strict=True):
            assert one.pop("candidate", None) == two.pop("candidate", None)
            assert one == pytest.approx(two, abs=1e-10, rel=1e-10)


@pytest.mark.parametrize(("world", "number"), PAIRS, ids=[f"{w} processes, {WORLDS[w][n]}" for w, n in PAIRS])
def test_all_processes_hold_the_same_to_the_last_bit(world: int, number: int, folder: Path) -> None:
    first, tensors = read(folder / f"{world}-0-{number}")
    for rank in range(1, world):
        figures, others = read(folder / f"{world}-{rank}-{number}")
        assert figures == first
        assert set(others) == set(tensors)
        assert all(torch.equal(value, others[name]) for name, value in tensors.items())


def test_what_processes_exchange_is_the_same_in_each(folder: Path) -> None:
    first, second = (json.loads((folder / f"exchanged-{rank}.json").read_text("utf-8")) for rank in range(PAIR))
    assert first == second
    assert first["sums"] == [[3.0, 3.0, 3.0], [20.0]]
    assert first["finite"] == [[True, False], [True, True]]  # infinite in one process, so stopped in both
    assert first["first"] == [7.0, 7.0]


@pytest.mark.parametrize(("name", "found"), [("gone", "Connection"), ("silent", "Timed out")])
def test_a_lost_process_ends_training_before_the_update(name: str, found: str, folder: Path) -> None:
    text = (folder / f"{name}.txt").read_text("utf-8")
    assert re.fullmatch(
        rf"expected all 2 processes in training, found one gone or silent at step \d \([^.()]*{found}[^.()]*\); "
        r"start the command again: it goes on from what was written",
        text,
    )
    parameters = load_file(folder / f"{name}.st")
    assert torch.equal(parameters["now"], parameters["began"])
    assert not torch.equal(parameters["before"], parameters["began"])


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ("[/p/gloo/pair.cc:539] Connection closed by peer [127.0.1.1]:12345", "Connection closed by peer"),
        (
            "[/p/pair.cc:2] Read error [127.0.0.1]:5: Connection reset by peer. This may indicate a remote exit.",
            "Read error: Connection reset by peer",
        ),
        ("[/p/unbound_buffer.cc:81] Timed out waiting 5000ms for recv", "Timed out waiting 5000ms for recv"),
    ],
)
def test_what_was_noticed_is_told_without_source_lines_and_addresses(told: str, found: str) -> None:
    with pytest.raises(LostError) as error, Spread(0, 3)._all_there():
        raise RuntimeError(told)
    assert error.value.found == found
