"""Looks for inputs that end a command with "unexpected ...", or take too much: python -m tests.fuzz --minutes 5.

Prints each fault once, and exits with 1 when there was one. `--keep-corpus` adds inputs that made a reader say
something new to tests/fuzz/corpus, which the tests replay.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: the towers are tiny

from tests.fuzz import corpus
from tests.fuzz.loop import search
from tests.fuzz.stored_doors import ALL_DOORS


def main() -> int:
    """Harm every kind of input in many ways."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rounds", type=int, help="damaged inputs of each kind (300, or as many as --minutes allow)")
    asked.add_argument("--minutes", type=float, help="how long in all, a share for each kind")
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--door", action="append", choices=sorted(ALL_DOORS), help="only this kind; repeatable")
    asked.add_argument("--keep", type=Path, help="folder for the damaged inputs that were faults")
    asked.add_argument("--keep-corpus", action="store_true", help="keep inputs that made a reader say something new")
    given = asked.parse_args()
    doors = given.door or list(ALL_DOORS)
    rounds = given.rounds or (300 if given.minutes is None else 1 << 30)
    seconds = None if given.minutes is None else 60 * given.minutes / len(doors)
    total = tried = new = 0
    for name in doors:
        known = corpus.load(name)
        with tempfile.TemporaryDirectory(prefix="xpet-fuzz-") as scratch:
            found = search(ALL_DOORS[name], rounds, given.seed, Path(scratch), given.keep, known, seconds)
        total, tried, new = total + len(found.faults), tried + found.tried, new + len(found.kept)
        said = f"{found.tried} damaged, {found.refused} refused, {len(found.kept)} new answers"
        print(f"{name}: {said}, {len(found.faults)} faults", flush=True)  # noqa: T201
        for fault in found.faults:
            print("  " + json.dumps(fault), flush=True)  # noqa: T201
        if given.keep_corpus and found.kept:
            corpus.save(name, [*known, *found.kept])
    print(f"{len(doors)} kinds, {tried} damaged inputs, {new} new answers, {total} faults")  # noqa: T201
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
