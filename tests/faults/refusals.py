"""Lets the disk refuse the first, second, ... change that a command makes, looks at what is left, and repeats it.

The disk is a library in C that stands before the system's own; a process loads it when it starts (`refusing_disk`).
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults import places
from tests.faults.child import Ended
from tests.faults.kills import Tally, Trial, finish, look
from tests.faults.places import Tree

SOURCE = Path(__file__).with_name("refuse.c")
LOADED = "XPET_TEST_REFUSING_DISK"
"""Environment variable with the library's path, in a process that has loaded it."""
NEVER = 1 << 40
CODES = (0, 2)
"""Exit codes that a command may have whose disk refuses: it may do without some changes, such as a removal."""


@dataclass(frozen=True)
class Refusal:
    """A way to refuse: an error, whether all later changes are refused as well, and whether removals are."""

    error: int
    lasting: bool
    removals: bool

    @property
    def name(self) -> str:
        """The error's name."""
        return errno.errorcode[self.error]


REFUSALS = {each.name: each for each in (
    Refusal(errno.ENOSPC, True, False), Refusal(errno.EROFS, True, True), Refusal(errno.EIO, False, True),
)}  # fmt: skip
"""A full disk, one that turned read-only, and one that fails once."""


def refusing_disk(folder: Path) -> None:
    """Begin this process anew with the library loaded, unless it is; raises OSError where there is no compiler."""
    if LOADED in os.environ:
        return
    os.environ.update(with_refusing_disk(folder))
    os.execv(sys.executable, sys.orig_argv)


def with_refusing_disk(folder: Path) -> dict[str, str]:
    """Variables of a process that loads the library, which is built; raises OSError where there is no compiler."""
    library = folder / "refuse.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"], check=True)
    return {LOADED: str(library), "LD_PRELOAD": str(library)}


def refuse(trial: Trial, refusal: Refusal, every: int, problems: list[str]) -> int:
    """Refuse change 1, 1 + every, ... of a command; adds what is wrong to `problems`, returns how many were tried."""
    tally = Tally()
    whole = trial.whole(tally)
    trial.clear()
    _refused(trial, refusal, NEVER)
    tried = range(1, int((trial.notes / "changes").read_text()) + 1, every)
    for number in tried:
        tally = Tally()
        trial.clear()
        ended = _refused(trial, refusal, number)
        _check(ended, trial, refusal, whole, tally)
        at = (trial.notes / "refused").read_text()
        problems += [f"{refusal.name} at {number}, {at}: {problem}" for problem in tally.problems]
    return len(tried)


def _refused(trial: Trial, refusal: Refusal, number: int) -> Ended:
    """Run the command with the disk refusing a change."""
    last = NEVER if refusal.lasting else number

    @contextmanager
    def around() -> Iterator[None]:
        disk = ctypes.CDLL(os.environ[LOADED])
        disk.refuse_told.restype = ctypes.c_char_p
        arguments: Sequence[object] = (
            os.fsencode(trial.here), ctypes.c_long(number), ctypes.c_long(last), refusal.error, refusal.removals,
        )  # fmt: skip
        disk.refuse_arm(*arguments)
        try:
            yield
        finally:
            (trial.notes / "changes").write_text(str(disk.refuse_count()))
            (trial.notes / "refused").write_bytes(disk.refuse_told())

    return trial.start(around).end()


def _check(ended: Ended, trial: Trial, refusal: Refusal, whole: Tree, tally: Tally) -> None:
    """Note what is wrong with how a command ended whose disk refused, with what it left, and with its repetition."""
    lines = [line for line in ended.told.splitlines() if line.startswith("xpet: error: ")]
    if ended.code not in CODES or len(lines) != (ended.code != 0):
        tally.problems.append(f"exit {ended.code}, {len(lines)} lines of errors: {ended.told[-1000:]}")
    found = trial.tree()
    if not (refusal.lasting and refusal.removals):
        tally.problems += [f"left: {name}" for name in found if places.temporary(name)]
    spared = ("out.unfinished/",) if refusal.removals else ()  # an empty folder that could not be removed
    finish(trial, tally, whole, look(trial, tally, whole, {}), spared)
