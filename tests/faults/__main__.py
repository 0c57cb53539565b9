"""Kills commands, or makes their disk refuse, or puts odd files in their way: python -m tests.faults --kills 50."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: forks must not inherit its threads
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import argparse
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.faults import child
from tests.faults.kills import Trial, survive
from tests.faults.odd_files import judge
from tests.faults.refusals import REFUSALS, refuse, refusing_disk
from tests.faults.scenarios import SCENARIOS
from tests.faults.world import make_world
from tests.fuzz.doors import DOORS

FRESH = (sys.executable, "-m", "xpet")
Row = tuple[tuple[object, ...], list[str]]
"""Cells of a row of the table, and what was wrong."""


def main() -> int:
    """Do what is asked to the command of each scenario; prints a table, exits with 1 when something was wrong."""
    given = _arguments()
    with tempfile.TemporaryDirectory(prefix="xpet-faults-") as folder:
        Path(folder).chmod(0o755)  # another user reads in it
        if given.refuse:
            refusing_disk(Path(folder))
        rows = _odd_files(given, Path(folder)) if given.odd else _scenarios(given, Path(folder))
        return 1 if sum(map(_shown, rows)) else 0


def _shown(row: Row) -> int:
    """Print a row and what was wrong; returns how much was."""
    cells, problems = row
    print(f"| {' | '.join(map(str, cells))} | {len(problems)} |", flush=True)  # noqa: T201
    for problem in dict.fromkeys(problems):
        print(f"  {problems.count(problem)} x {problem}", flush=True)  # noqa: T201
    return len(problems)


def _scenarios(given: argparse.Namespace, scratch: Path) -> Iterator[Row]:
    world = given.world or scratch / "world"
    if not world.exists():
        made = child.apart(lambda: make_world(world), scratch, scratch / "notes")
        if made.code:
            raise RuntimeError(made.told)
    for name in given.scenario or SCENARIOS:
        trial = Trial(SCENARIOS[name], world, scratch, FRESH if given.fresh else None, given.refuse)
        yield from (_refusals if given.refuse else _kills)(trial, given)


def _arguments() -> argparse.Namespace:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--kills", type=int, default=50, help="kills of each command")
    asked.add_argument("--refuse", action="store_true", help="make the disk refuse, in place of kills")
    asked.add_argument("--odd", action="store_true", help="put odd files in the place of those that are read")
    asked.add_argument("--door", action="append", choices=sorted(DOORS), help="only this kind of file; repeatable")
    asked.add_argument("--every", type=int, default=1, help="refuse only every so manyth change")
    asked.add_argument("--seed", type=int, default=1, help="of the moments")
    asked.add_argument("--scenario", action="append", choices=sorted(SCENARIOS), help="only this one; repeatable")
    asked.add_argument("--world", type=Path, help="folder of the commands' inputs, made unless it exists")
    asked.add_argument("--fresh", action="store_true", help="kill new interpreters, in place of forks of this one")
    return asked.parse_args()


def _kills(trial: Trial, given: argparse.Namespace) -> Iterator[Row]:
    tally = survive(trial, given.kills, random.Random(f"{given.seed} {trial.scenario.name}"))
    sent = ", ".join(f"{count} {what}" for what, count in sorted(tally.sent.items()))
    yield (trial.scenario.name, f"{tally.seconds:.1f}", f"{tally.kills} ({sent})", tally.kept), tally.problems


def _refusals(trial: Trial, given: argparse.Namespace) -> Iterator[Row]:
    for name, refusal in REFUSALS.items():
        problems: list[str] = []
        tried = refuse(trial, refusal, given.every, problems)
        yield (trial.scenario.name, name, tried), problems


def _odd_files(given: argparse.Namespace, scratch: Path) -> Iterator[Row]:
    for name in given.door or DOORS:
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            judged = judge(DOORS[name], Path(folder), random.Random(f"{given.seed} {name}"))
        yield (
            (name, sum(judged.ends.values()), *(judged.ends[end] for end in ("refused", "same", "other", "waited"))),
            (judged.problems),
        )


if __name__ == "__main__":
    sys.exit(main())
