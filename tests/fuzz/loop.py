"""Harms one kind of input again and again, in a process of its own, and notes whatever is no error of xpet's."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import traceback
from pathlib import Path
from typing import Any

from tests.fuzz.doors import Door
from tests.fuzz.mutate import damage

SECONDS = 60
"""What a damaged input may take."""
MEMORY = 16 << 30
Fault = dict[str, Any]


def search(door: Door, rounds: int, seed: int, scratch: Path, keep: Path | None = None) -> tuple[list[Fault], int]:
    """Faults of `rounds` damaged inputs, each kind once, and how many inputs were refused as they should be.

    A crash or a hang of the reading process is a fault as well; the search goes on behind it.
    """
    sound = scratch / "sound"
    sound.mkdir()
    _apart(lambda: _prepare(door, sound, scratch), scratch / "prepared.jsonl")
    first = _lines(scratch / "prepared.jsonl")
    if first != [{"sound": True}]:
        return [{"door": door.name, "error": "the sound input fails", "told": first}], 0
    notes, start = scratch / "notes.jsonl", 0
    while start < rounds:
        status = _apart(lambda start=start: _rounds(door, start, rounds, seed, scratch, notes, keep), None)  # type: ignore[misc]
        done = [line for line in _lines(notes) if "round" in line]
        start = done[-1]["round"] + 1 if done else rounds
        if status != 0:
            with notes.open("a") as file:
                file.write(
                    json.dumps({"error": f"the process died of signal {status & 127}", "round": start - 1}) + "\n"
                )
    told = _lines(notes)
    faults: dict[str, Fault] = {}
    for line in told:
        if "error" in line:
            faults.setdefault(line["error"].split(": ")[0] + str(line.get("at")), {"door": door.name, **line})
    return list(faults.values()), sum(line.get("refused", 0) for line in told)


def _prepare(door: Door, sound: Path, scratch: Path) -> None:
    try:
        door.make(sound)
        door.read(sound)
        told: Fault = {"sound": True}
    except Exception:
        told = {"sound": False, "traceback": traceback.format_exc()[-1500:]}
    (scratch / "prepared.jsonl").write_text(json.dumps(told) + "\n")


def _rounds(door: Door, start: int, stop: int, seed: int, scratch: Path, notes: Path, keep: Path | None) -> None:
    from xpet.core.errors import XpetError

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for number in range(start, stop):
        dice = random.Random(f"{door.name} {seed} {number}")
        folder = scratch / "damaged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(scratch / "sound", folder)
        files = sorted({path for mark in door.damaged for path in folder.glob(mark) if path.is_file()})
        path = dice.choice(files)
        note: Fault = {"round": number, "file": path.name, "damage": damage(path, dice)}
        with notes.open("a") as file:
            file.write(json.dumps(note) + "\n")
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS)
        try:
            door.read(folder)
            told: Fault = {"refused": 0}
        except XpetError as error:
            told = {"refused": 1} if len(str(error)) < 4000 else {"error": "a message without end", **note}
        except Exception as error:
            told = {"error": f"{type(error).__name__}: {error!s:.160}", "at": _where(error), **note}
            if keep is not None:
                shutil.copytree(folder, keep / f"{door.name.replace(' ', '-')}-{seed}-{number}", dirs_exist_ok=True)
        signal.alarm(0)
        with notes.open("a") as file:
            file.write(json.dumps(told) + "\n")


def _where(error: BaseException) -> str:
    """The innermost line of xpet's own that an error came through."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if "/xpet/" in frame.filename]
    return f"{own[-1].filename.rpartition('/xpet/')[2]}:{own[-1].lineno}" if own else "outside"


def _apart(work: Any, notes: Path | None) -> int:
    """Run in a fork of this process, which it cannot harm; the status it ended with."""
    child = os.fork()
    if child == 0:
        try:
            with open(os.devnull, "w") as nothing:
                os.dup2(nothing.fileno(), 2)
            work()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1]


def _lines(path: Path) -> list[Fault]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
