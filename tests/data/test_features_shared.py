"""Two processes encode pictures in parts: each picture once, the same rows as one process, whatever the store holds."""

from __future__ import annotations

import pytest

from tests import worlds
from tests.data.encoding import NAMES, ROUNDS, encode
from xpet.core.processes import ALONE
from xpet.data import features


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process makes of an empty store."""
    return encode(tmp_path_factory.mktemp("alone"), ALONE)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """What two processes saw of stores that are empty, hold some pictures, damaged parts, rows of another width."""
    folder = tmp_path_factory.mktemp("stores")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "PART_PICTURES", 8)
        encode(folder / "some", ALONE, names=NAMES[10:50])
        encode(folder / "damaged", ALONE)
        encode(folder / "wide", ALONE, names=NAMES[10:50])
    for part in sorted((folder / "damaged").glob("*/part-*"))[::3]:
        part.write_bytes(part.read_bytes()[:-5])
    return worlds.meet("tests.data.encoding", folder)


def of_both(world, what, key):
    return [value for rank in (0, 1) for value in world[rank][what][key]]


@pytest.mark.parametrize(("store", "opened"), [("empty", 130), ("some", 90)])
def test_each_picture_is_encoded_once_and_all_get_all_rows(world, alone, store, opened):
    assert len(of_both(world, store, "opened")) == len(set(of_both(world, store, "opened"))) == opened
    assert min(len(world[rank][store]["opened"]) for rank in (0, 1)) >= opened // 2 - 4  # in batches of 4
    assert {world[rank][store]["rows"] for rank in (0, 1)} == {alone["rows"]}
    assert all(world[rank][store]["right"] for rank in (0, 1))
    assert not of_both(world, f"{store} again", "opened")
    assert {world[rank][f"{store} again"]["rows"] for rank in (0, 1)} == {alone["rows"]}


def test_batches_are_those_of_one_process(world, alone):
    assert sorted(of_both(world, "empty", "batches")) == sorted(alone["batches"]) == [2] + [4] * 32


def test_the_contents_of_each_picture_are_read_by_one(world, alone):
    assert [world[rank]["empty"]["hashed"] for rank in (0, 1)] == [65, 65]
    assert alone["hashed"] == 130


def test_progress_counts_the_work_of_all(world):
    done = world[0]["empty"]["done"]
    assert done == sorted(done)
    assert (done[0], done[-1], done[2] - done[1]) == (0, 130, 8)


def test_damaged_parts_are_made_again_once(world, alone):
    opened = of_both(world, "damaged", "opened")
    assert len(opened) == len(set(opened)) > 8
    assert of_both(world, "damaged", "warnings")
    assert {world[rank]["damaged"]["rows"] for rank in (0, 1)} == {alone["rows"]}
    assert not of_both(world, "damaged again", "opened") + of_both(world, "damaged again", "warnings")


def test_rows_of_another_width_are_made_again(world):
    assert all(world[rank]["wide"]["right"] for rank in (0, 1))
    assert len(of_both(world, "wide", "opened")) == 90 + 40


def test_stores_that_are_not_common_are_filled_by_each(world, alone):
    assert [len(world[rank]["own"]["opened"]) for rank in (0, 1)] == [130, 130]
    assert {world[rank]["own"]["rows"] for rank in (0, 1)} == {alone["rows"]}


def test_two_writers_and_damage_at_any_time_give_no_wrong_row(world):
    assert [world[rank]["hammered"]["right"] for rank in (0, 1)] == [[True] * ROUNDS] * 2
