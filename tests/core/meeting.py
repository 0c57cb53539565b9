"""A process of a world that meets the others and then does what its argument says; run by test_processes."""

from __future__ import annotations

import json
import os
import sys

from xpet.core import processes as meetings
from xpet.core.errors import DataError, LostError, XpetError
from xpet.core.processes import ALONE, Processes, connected, here


def keys_after(processes: Processes, what: str) -> int:
    """How many keys the common store has after all have met once more."""
    processes.gather(what, processes.rank)
    keys: int = processes.store.num_keys()  # type: ignore[union-attr]
    processes.barrier(f"{what} is counted")
    return keys


def meet_again(timeout: float, restarts: str = "0") -> list[int]:
    """What processes say that meet at the same store after one failed; with `restarts` as its launcher starts them."""
    if restarts != "0":
        os.environ[meetings.ATTEMPT] = restarts
        meetings._meetings = 0  # as in a new process
    with connected(timeout) as processes:
        return [*processes.gather("greetings", 10 * processes.rank), *processes.draw("queue", 1, 1)]


def main(what: str, timeout: float) -> None:
    """Print one JSON line: what this process saw, or the error that ended it."""
    meetings.PATIENCE = 2
    seen: dict[str, object] = {"rank": int(os.environ["RANK"])}
    try:
        with connected(timeout) as processes:
            assert here() is processes
            seen["gathered"] = processes.gather("greetings", {"from": processes.rank})
            seen["first"] = processes.first("decision", lambda: f"by {processes.rank}")
            seen["share"] = processes.share(range(7))
            seen["drawn"] = []
            while numbers := processes.draw("queue", 3, 20):
                seen["drawn"] += numbers  # type: ignore[operator]
            turns = processes.turns("walk")
            seen["turns"] = [piece for piece in range(20) if turns.next()]
            seen["large"] = [len(text) for text in processes.gather("large", "x" * (9 << 20))]
            seen["keys"] = [keys_after(processes, f"call {number}") for number in range(5)]
            seen["sum"] = processes.add("sum", processes.rank + 1)
            if what == "alike" or (what == "one" and processes.rank == 1):
                raise DataError("a bad file")
            if what == "lost":
                raise DataError("a bad file") if processes.rank == 1 else LostError(2, "connection closed")
            if what == "bug" and processes.rank == 1:
                raise ZeroDivisionError("by zero")
            if what == f"kill {processes.rank}":
                os._exit(9)
            processes.barrier("the end")
        assert here() is ALONE
    except XpetError as error:
        seen["error"] = [type(error).__name__, str(error), error.exit_code]
    if what == "one":
        seen["again"] = [meet_again(timeout), meet_again(timeout, restarts="1")]
    print(json.dumps(seen))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
