"""Looks for inputs that end a command with "unexpected ...": python -m tests.fuzz --rounds 2000 --keep /tmp/faults."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.fuzz.doors import DOORS
from tests.fuzz.loop import search


def main() -> int:
    """Harm every kind of input in many ways; prints each fault once, exits with 1 when there was one."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rounds", type=int, default=300, help="damaged inputs of each kind")
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--door", action="append", choices=sorted(DOORS), help="only this kind; repeatable")
    asked.add_argument("--keep", type=Path, help="folder for the damaged inputs that were faults")
    given = asked.parse_args()
    total = 0
    for name in given.door or DOORS:
        with tempfile.TemporaryDirectory(prefix="xpet-fuzz-") as scratch:
            found, refused = search(DOORS[name], given.rounds, given.seed, Path(scratch), given.keep)
        total += len(found)
        print(f"{name}: {given.rounds} damaged, {refused} refused, {len(found)} faults", flush=True)  # noqa: T201
        for fault in found:
            print("  " + json.dumps(fault), flush=True)  # noqa: T201
    print(f"{total} faults")  # noqa: T201
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
