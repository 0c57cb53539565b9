"""Harms one kind of input again and again, in a process of its own, and notes whatever is no error of xpet's."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.fuzz.corpus import Kept, behaviour, kept_of
from tests.fuzz.doors import Door
from tests.fuzz.mutate import damage

SECONDS = 60
"""What a damaged input may take, whatever else the machine does."""
BUSY = 20
"""Seconds of computing that it may take."""
MEBIBYTES = 1024
"""Memory that it may take."""
ROOM = 8 << 30
"""Address space that it may ask for."""
HEAVY = (
    "pyarrow.parquet", "tokenizers", "xpet.jobs.align.run", "xpet.jobs.eval.run", "xpet.jobs.merge.run",
    "xpet.models.checkpoint", "xpet.models.clip_text", "xpet.models.image_tower",
    "transformers.models.bert.modeling_bert", "transformers.models.clip.modeling_clip",
    "transformers.models.xlm_roberta.modeling_xlm_roberta",
)  # fmt: skip
"""What is loaded once, and not by every reading process anew."""
AGAIN = 0.3
"""Share of inputs that are damaged further from one that was kept."""
Fault = dict[str, Any]


@dataclass
class Found:
    """What came of one door: faults, each kind once; inputs read and refused; and those worth keeping."""

    faults: list[Fault] = field(default_factory=list)
    tried: int = 0
    refused: int = 0
    kept: list[Kept] = field(default_factory=list)


def search(
    door: Door, rounds: int, seed: int, scratch: Path, keep: Path | None = None, known: Sequence[Kept] = (),
    seconds: float | None = None,
) -> Found:  # fmt: skip
    """Replay the inputs that are kept (`known`), then damage `rounds` others, or as many as `seconds` allow.

    A crash or a hang of the reading process is a fault as well; the search goes on behind it.
    """
    for name in HEAVY:
        import_module(name)
    sound = scratch / "sound"
    sound.mkdir()
    _apart(lambda: _prepare(door, sound, scratch))
    first = _lines(scratch / "prepared.jsonl")
    if first != [{"sound": True}]:
        return Found([{"door": door.name, "error": "the sound input fails", "told": first}])
    notes, start, end = scratch / "notes.jsonl", -len(known), seconds and time.monotonic() + seconds
    while start < rounds and (end is None or time.monotonic() < end):
        work = _Work(door, seed, scratch, notes, keep, tuple(known), end)
        status = _apart(lambda start=start, work=work: work.rounds(start, rounds))  # type: ignore[misc]
        done = [line for line in _lines(notes) if "round" in line]
        start = done[-1]["round"] + 1 if done else rounds
        if status != 0:
            told = {**done[-1], "error": f"the process died of signal {status & 127}"}
            with notes.open("a") as file:
                file.write(json.dumps(told) + "\n")
    return _found(door, _lines(notes))


def _found(door: Door, told: list[Fault]) -> Found:
    faults: dict[str, Fault] = {}
    for line in told:
        if "error" in line:
            faults.setdefault(line["error"].split(": ")[0] + str(line.get("at")), {"door": door.name, **line})
    kept = [Kept(**line["kept"]) for line in told if line.get("kept")]
    answers = [line["refused"] for line in told if "refused" in line]
    return Found(list(faults.values()), len(answers), sum(answers), kept)


def _prepare(door: Door, sound: Path, scratch: Path) -> None:
    try:
        door.make(sound)
        door.read(sound)
        told: Fault = {"sound": True}
    except Exception:
        told = {"sound": False, "traceback": traceback.format_exc()[-1500:]}
    (scratch / "prepared.jsonl").write_text(json.dumps(told) + "\n")


@dataclass
class _Work:
    """What the reading process does."""

    door: Door
    seed: int
    scratch: Path
    notes: Path
    keep: Path | None
    known: Sequence[Kept]
    end: float | None
    seen: set[str] = field(default_factory=set)

    def rounds(self, start: int, stop: int) -> None:
        """Damage and read, from round `start`; negative rounds replay what is kept."""
        limit = _status("VmSize") + ROOM
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        self.seen = {each.said for each in self.known} | {"read"}
        for number in range(start, stop):
            if number >= 0 and self.end is not None and time.monotonic() > self.end:
                return
            self._round(number)

    def _round(self, number: int) -> None:
        dice = random.Random(f"{self.door.name} {self.seed} {number}")
        folder = self.scratch / "damaged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.scratch / "sound", folder)
        path, said = self._damage(folder, number, dice)
        note: Fault = {"round": number, "file": path.name, "damage": said}
        self._note(note)
        told, error = self._read(folder, note)
        answer = behaviour(error)
        if "error" not in told and answer not in self.seen:
            self.seen.add(answer)
            kept = kept_of(folder, path, (self.scratch / "sound" / path.relative_to(folder)).read_bytes(), answer)
            told["kept"] = None if kept is None else asdict(kept)
        if "error" in told and self.keep is not None:
            shutil.copytree(folder, self.keep / f"{self.door.name.replace(' ', '-')}-{self.seed}-{number}",
                            dirs_exist_ok=True)  # fmt: skip
        self._note(told)

    def _damage(self, folder: Path, number: int, dice: random.Random) -> tuple[Path, str]:
        """Damage one file: the damaged file, and what was done."""
        if number < 0:
            return self.known[number].put(folder), f"kept input {number}"
        if self.known and dice.random() < AGAIN:
            path = dice.choice(self.known).put(folder)
            return path, f"a kept input, then {damage(path, dice)}"
        files = sorted({path for mark in self.door.damaged for path in folder.glob(mark) if path.is_file()})
        path = dice.choice(files)
        return path, damage(path, dice)

    def _read(self, folder: Path, note: Fault) -> tuple[Fault, BaseException | None]:
        from xpet.core.errors import XpetError

        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS)
        Path("/proc/self/clear_refs").write_text("5")
        before, began = _status("VmRSS"), time.process_time()
        found: BaseException | None = None
        told: Fault = {"refused": 0}
        try:
            self.door.read(folder)
        except XpetError as error:
            told, found = {"refused": 1}, error
            if len(str(error)) >= 4000:
                told = {"error": "a message without end", **note}
        except BaseException as error:  # a panic of a library in Rust is no Exception
            told, found = {"error": f"{type(error).__name__}: {error!s:.160}", "at": _where(error), **note}, error
        signal.alarm(0)
        took, busy = (_status("VmHWM") - before) >> 20, time.process_time() - began
        if took > MEBIBYTES or busy > BUSY:
            told = {"error": f"too dear: {took} MiB, {busy:.0f} s", "at": self.door.name, **note}
        return told, found

    def _note(self, what: Fault) -> None:
        with self.notes.open("a") as file:
            file.write(json.dumps(what) + "\n")


def _status(name: str) -> int:
    """Bytes that /proc says of this process."""
    return 1024 * int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0])


def _where(error: BaseException) -> str:
    """The innermost line of xpet's own that an error came through."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if "/xpet/" in frame.filename]
    return f"{own[-1].filename.rpartition('/xpet/')[2]}:{own[-1].lineno}" if own else "outside"


def _apart(work: Any) -> int:
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
