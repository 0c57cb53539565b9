"""Histories of runs in training: a file a run in the folder of unfinished work, with a line more after each validation.

A line has what `history.jsonl` of the finished run will have, and beside it `steps` (how many the run will take) and
`time` (seconds since 1970).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xpet.core.errors import OutputError
from xpet.core.events import Notice, OnEvent, Validated
from xpet.core.files import append, write_file
from xpet.core.regular_files import read_bytes
from xpet.core.rundir import HISTORIES

ENDING = ".jsonl"


class Histories:
    """The histories of runs that one process trains.

    A disk that refuses them ends no training: one warning is given. `folder` is that of unfinished work, `on_event`
    gets the warning.
    """

    def __init__(self, folder: Path, on_event: OnEvent) -> None:
        self.folder, self.on_event = folder / HISTORIES, on_event
        self._begun: set[str] = set()
        self._warned = False

    def validated(self, event: Validated) -> None:
        """Add a line. Where a run went back to a checkpoint, the lines of the steps that come again are removed."""
        entry = {"step": event.step, **event.figures, "steps": event.steps, "time": time.time()}
        path = self.folder / f"{event.label}{ENDING}"
        try:
            if event.label not in self._begun:
                self.folder.mkdir(exist_ok=True)
                earlier = [line for line in read_history_so_far(path) if line["step"] < event.step]
                write_file(path, "".join(map(_line, [*earlier, entry])))
                self._begun.add(event.label)
            else:
                append(path, _line(entry))
        except (OSError, OutputError) as error:
            self._begun.discard(event.label)  # whatever part of a line was written is removed next time
            if not self._warned:
                self._warned = True
                self.on_event(Notice(f"{path}: a validation could not be added ({error}); training goes on", "warning"))


def read_history_so_far(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a history that may be growing; what is no whole line of one, or no file, is left out."""
    try:
        lines = read_bytes(path).splitlines()
    except OSError:
        return
    for line in lines:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict) and type(entry.get("step")) is int:
            yield entry


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry) + "\n"
