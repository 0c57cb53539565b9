"""Puts something odd in the place of each file that xpet reads: a folder, a pipe, a device, half of it.

The inputs and their readers are those of `tests/fuzz/doors.py`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import re
import resource
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.child import apart, import_noted, noting_modules
from tests.fuzz.doors import Door
from xpet.core.errors import XpetError

SECONDS = 30
"""What a reader may take."""
MEMORY = 3 << 30
"""Bytes that a reader may take beyond what its process has."""
NOBODY = 65534
"""Number of a user who owns nothing; root may read everything."""


def _half(path: Path, dice: random.Random) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _flipped(path: Path, dice: random.Random) -> None:
    data = bytearray(path.read_bytes())
    if data:
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    path.write_bytes(data)


def _replaced(make: Callable[[Path], object]) -> Callable[[Path, random.Random], None]:
    def replace(path: Path, dice: random.Random) -> None:
        path.unlink()
        make(path)

    return replace


ODDITIES: Mapping[str, Callable[[Path, random.Random], None]] = {
    "empty": lambda path, dice: os.truncate(path, 0),
    "half of it": _half,
    "a bit flipped": _flipped,
    "a folder": _replaced(lambda path: path.mkdir()),
    "a pipe": _replaced(lambda path: os.mkfifo(path)),
    "an endless device": _replaced(lambda path: path.symlink_to("/dev/zero")),
    "an empty device": _replaced(lambda path: path.symlink_to("/dev/null")),
    "a link to nothing": _replaced(lambda path: path.symlink_to(path.parent / "nothing")),
    "a loop of links": _replaced(lambda path: path.symlink_to(path)),
    "unreadable": lambda path, dice: path.chmod(0),
}
CONTENTS = ("empty", "half of it", "a bit flipped", "an empty device")
"""Oddities under which a file may be read all the same, with another result."""
STREAMS = ("corpus.", "translate.", "references")
"""Beginnings of the names of what may come through a pipe: there a command waits, as any other does."""


@dataclass
class Judged:
    """What became of the odd files of one kind of input.

    Attributes:
        ends: how many were refused, gave the result of the sound input, or another one.
        problems: what was wrong, in words.
    """

    ends: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


def judge(door: Door, scratch: Path, dice: random.Random, most: int | None = None) -> Judged:
    """Put every oddity in the place of every file of an input (of `most` chosen ones), and read it."""
    judged, sound, notes = Judged(), scratch / "sound", scratch / "notes"
    scratch.chmod(0o755)
    sound.mkdir()
    made = apart(lambda: door.make(sound), scratch, notes)
    if made.code:
        raise RuntimeError(f"{door.name}: {made.told}")
    expected = _read(door, sound, scratch, as_nobody=False)
    files = sorted({path for mark in door.damaged for path in sound.glob(mark) if path.is_file()})
    cases = [(path.relative_to(sound), oddity) for path in files for oddity in ODDITIES]
    for name, oddity in cases if most is None else dice.sample(cases, min(most, len(cases))):
        damaged = scratch / "damaged"
        shutil.rmtree(damaged, ignore_errors=True)
        shutil.copytree(sound, damaged)
        ODDITIES[oddity](damaged / name, dice)
        found = _read(door, damaged, scratch, as_nobody=oddity == "unreadable" and os.getuid() == 0)
        end, told = _verdict(door, found, expected, oddity)
        judged.ends[end] += 1
        if told:
            judged.problems.append(f"{door.name}: {name} is {oddity}: {told}")
    return judged


def _verdict(door: Door, found: Mapping[str, Any], expected: Mapping[str, Any], oddity: str) -> tuple[str, str]:
    """How a reading ended, and what is wrong with it, in words."""
    if "refused" in found:
        one_line = "\n" not in found["refused"] and len(found["refused"]) < 4000
        return "refused", "" if one_line else f"more than a line: {found['refused']}"
    if oddity == "a pipe" and door.name.startswith(STREAMS) and found.get("exit") == -signal.SIGALRM:
        return "waited", ""
    if "result" in found:
        alike = found == expected or door.name == "pictures"  # whose reader takes what can be read
        return ("same" if alike else "other"), "" if alike or oddity in CONTENTS else "read, with another result"
    return "wrong", str(found)[-1500:]


def _read(door: Door, folder: Path, scratch: Path, as_nobody: bool) -> dict[str, Any]:
    """Read an input in a process of its own, with little memory and time: its result, or how it was refused."""
    answer, here = scratch / "answer", scratch / "here"
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir()
    answer.write_text("")
    if as_nobody:
        for path in (answer, here, folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)

    def work() -> None:
        with noting_modules(scratch / "notes")():
            _limit(as_nobody)
            answer.write_text(json.dumps(_answer(door, folder)))

    (scratch / "notes").mkdir(exist_ok=True)
    (scratch / "notes").chmod(0o777)
    (scratch / "notes" / "modules").write_text("")
    (scratch / "notes" / "modules").chmod(0o666)
    ended = apart(work, here, scratch / "notes")
    import_noted(scratch / "notes")
    found = answer.read_text()
    return json.loads(found) if found else {"exit": ended.code, "told": ended.told[-800:]}


def _limit(as_nobody: bool) -> None:
    """Bound this process' memory and time, and take root's rights from it."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY,) * 2)
    signal.alarm(SECONDS)
    if as_nobody:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def _answer(door: Door, folder: Path) -> dict[str, Any]:
    try:
        return {"result": hashlib.sha256(repr(list(_plain(door.read(folder)))).encode("utf-8", "replace")).hexdigest()}
    except XpetError as error:
        return {"refused": str(error)}
    except Exception as error:
        import traceback

        return {"error": f"{type(error).__name__}: {error!s:.160}", "at": traceback.format_exc()[-700:]}


def _plain(value: Any) -> Iterator[object]:
    """The parts of a result that can be compared: texts, numbers, tensors; no times, no addresses."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if "seconds" not in str(name) and name not in ("peak_mebibytes", "latency"):
                yield name
                yield from _plain(inner)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for inner in value:
            yield from _plain(inner)
    elif hasattr(value, "numpy"):
        yield value.detach().float().numpy().tobytes()
    else:
        yield re.sub(r"0x[0-9a-f]+|/\S*/(sound|damaged)", "", repr(value))
