"""Processes that meet over torch's store: what they share, and what becomes of one that fails or dies."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests import worlds
from xpet.core.events import Notice
from xpet.core.processes import ALONE, Processes, connected, here


@pytest.fixture(scope="module")
def met() -> dict[str, worlds.World]:
    """What each process of several worlds saw, by what happens there; those that died are missing.

    They mostly wait, so many are there at once; but where a death is noticed by its silence, others wait their turn.
    """
    begun = {what: start(what) for what in ("alike", "one", "bug", "lost")}
    begun["nothing"] = start("nothing", world=3)
    seen = {what: end() for what, end in begun.items()}
    begun = {"kill 1": start("kill 1", timeout=3), "kill 0": start("kill 0", timeout=10)}
    return seen | {what: end() for what, end in begun.items()}


def start(what: str, world: int = 2, timeout: float = 60) -> Callable[[], worlds.World]:
    """Start the processes of a world."""
    return worlds.start("tests.core.meeting", what, timeout, world=world)


def test_what_three_processes_share(met: dict[str, worlds.World]) -> None:
    world = met["nothing"]
    assert all(seen["gathered"] == [{"from": 0}, {"from": 1}, {"from": 2}] for seen in world.values())
    assert {seen["first"] for seen in world.values()} == {"by 0"}
    assert [world[rank]["share"] for rank in range(3)] == [[0, 3, 6], [1, 4], [2, 5]]
    assert sorted(number for seen in world.values() for number in seen["drawn"]) == list(range(20))  # each once
    assert sorted(piece for seen in world.values() for piece in seen["turns"]) == list(range(20))  # each by one
    assert {tuple(seen["large"]) for seen in world.values()} == {(9 << 20,) * 3}  # torch's store takes 8 MiB a value
    keys = world[0]["keys"][1:]
    assert max(keys) - min(keys) < 12  # what all have read is deleted: each of these calls stores 12
    assert max(seen["sum"] for seen in world.values()) == 1 + 2 + 3
    assert not any("error" in seen for seen in world.values())


def test_an_error_of_all_is_told_by_the_first_alone(met: dict[str, worlds.World]) -> None:
    world = met["alike"]
    assert world[0]["error"] == ["DataError", "a bad file", 2]
    assert world[1]["error"] == ["PeerError", "rank 0 failed", 2]  # which the command line does not print


@pytest.mark.parametrize(
    ("what", "text", "code"), [("one", "a bad file", 2), ("bug", "unexpected ZeroDivisionError: by zero", 1)]
)
def test_an_error_of_one_is_told_with_its_rank_and_ends_the_others(
    what: str, text: str, code: int, met: dict[str, worlds.World]
) -> None:
    world = met[what]
    assert world[1]["error"] == ["RankError", f"rank 1: {text}", code]
    assert world[0]["error"] == ["PeerError", "rank 1 failed", code]


def test_who_loses_a_process_that_says_why_says_nothing(met: dict[str, worlds.World]) -> None:
    world = met["lost"]
    assert world[0]["error"] == ["PeerError", "rank 1 failed", 2]
    assert world[1]["error"] == ["RankError", "rank 1: a bad file", 2]


def test_processes_meet_again_though_one_failed_before(met: dict[str, worlds.World]) -> None:
    """In the same process, and when the launcher started it again."""
    world = met["one"]
    for meeting in range(2):
        seen = [world[rank]["again"][meeting] for rank in (0, 1)]
        assert sorted(seen, key=len) == [[0, 10], [0, 10, 0]]  # one of them drew the only number


def test_waiting_for_a_process_that_died_ends(met: dict[str, worlds.World]) -> None:
    world = met["kill 1"]
    assert world.keys() == {0}
    name, text, code = world[0]["error"]
    assert (name, code) == ("ProcessError", 2)
    assert text.startswith(
        "the end: expected all 2 processes, found no sign of rank 1 for 3 s; start the command again"
    )


def test_the_death_of_the_first_ends_the_others(met: dict[str, worlds.World]) -> None:
    world = met["kill 0"]
    name, text, code = world[1]["error"]
    assert world.keys() == {1}
    assert (name, code) == ("RankError", 2)
    assert text.startswith("rank 1: expected process 0 to hold the common store, found it gone")


def test_one_process_shares_with_nobody() -> None:
    seen = []
    with connected(1) as processes:
        assert processes is here() is ALONE
        assert processes.gather("greetings", 3) == [3]
        assert processes.first("decision", lambda: {"of": "one"}) == {"of": "one"}
        assert processes.share("abc") == ["a", "b", "c"]
        turns = processes.turns("walk")
        assert [turns.next() for _ in range(3)] == [True] * 3
        processes.barrier("the end")
        processes.listener(seen.append)(Notice("heard"))
    assert seen == [Notice("heard")]
    assert isinstance(processes, Processes)
