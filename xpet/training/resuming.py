"""When the checkpoints of stacks are written, and what a training that was stopped goes on from."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from xpet.core.errors import DataError, OutputError
from xpet.core.events import Notice, OnEvent, ignore
from xpet.training.checkpoint import Checkpoint, read_checkpoint, run_state, write_checkpoint
from xpet.training.queue import Queue
from xpet.training.selection import TrainedRun

STACK, RUN, SUFFIX = "stack", "run", ".safetensors"
"""Beginnings and ending of the files' names: of stacks, and of finished runs that are not yet written elsewhere."""
SHARE = 0.01
"""Share of the time that writing checkpoints may take, unless one after every step is asked for."""


@dataclass
class Checkpoints:
    """The checkpoints of one training.

    Attributes:
        folder: where they stand; made when the first is written.
        numbers: the place of every run in the plan, by label; files are named by it.
        every: seconds between checkpoints of a stack; 0: one after every step.
        identity: digest of what the numbers depend on besides the plan and the runs' data.
        is_settled: whether a run, given its label, is finished and written elsewhere.
        stop: raises what ends the training where it has been asked to end; called after every step.
        claim: whether this process may go on from a file, given its name; so that two do not.
        is_writer: whether this process writes; of several that train the same stacks together one does.
        on_event: gets a warning for what cannot be read or written.
    """

    folder: Path
    numbers: Mapping[str, int]
    every: float = 300.0
    identity: str = ""
    is_settled: Callable[[str], bool] = lambda label: False
    stop: Callable[[], None] = lambda: None
    claim: Callable[[str], bool] = lambda name: True
    is_writer: bool = True
    on_event: OnEvent = ignore
    _stacks: dict[str, frozenset[str]] = field(default_factory=dict)
    _ended: dict[str, str] = field(default_factory=dict)
    _unsettled: list[TrainedRun] = field(default_factory=list)
    _over: dict[str, frozenset[str]] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def find(self) -> dict[str, list[str]]:
        """The files that an earlier training left, with the labels of their runs. What is damaged is removed."""
        files: dict[str, list[str]] = {}
        ended: set[str] = set()
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            found = self._read(path)
            labels = [run.label for run in found.runs] if found else []
            if all(label in ended or self.is_settled(label) for label in labels):
                continue
            files[path.name] = labels
            if path.name.startswith(RUN):
                ended.update(labels)
        return files

    def adopt(self, files: Mapping[str, Sequence[str]]) -> None:
        """Go on from these files, as `find` returns them, each of which is claimed first."""
        self._taken.update(files)
        for name, labels in files.items():
            if name.startswith(RUN):
                self._ended[name] = labels[0]
            else:
                self._stacks[name] = frozenset(labels)

    @property
    def in_stacks(self) -> set[str]:
        """Labels of the runs in stacks that wait to go on."""
        return set().union(*self._stacks.values())

    @property
    def held(self) -> set[str]:
        """Labels of the runs that go on from a checkpoint, and so do not wait to begin."""
        return {*self._ended.values(), *self.in_stacks}

    def ended(self, queues: Iterable[Queue]) -> Iterator[TrainedRun]:
        """Runs that were trained to their end but not yet written elsewhere."""
        runs = {run[0].label: (run[0], number) for queue in queues for number, run in enumerate(queue.runs)}
        for name, label in self._ended.items():
            if self.claim(name) and (found := self._read(self.folder / name)) is not None:
                yield found.runs[0].trained(*runs[label], found.tensors)

    def has(self, queue: Queue) -> bool:
        """Whether stacks of runs of this queue wait to go on."""
        return any(labels <= queue.labels for labels in self._stacks.values())

    def take(self, queue: Queue) -> tuple[str, Checkpoint] | None:
        """The name and contents of the next file whose runs are of this queue; None: there is none any more."""
        while (name := self._next(queue.labels)) is not None:
            if self.claim(name) and (found := self._read(self.folder / name)) is not None:
                return name, found
        return None

    def _next(self, labels: Collection[str]) -> str | None:
        with self._lock:
            name = next((name for name, runs in self._stacks.items() if runs <= set(labels)), None)
            if name is not None:
                del self._stacks[name]
            return name

    def file_for(self, label: str) -> str:
        """The name of a new stack's file, given the label of its first run."""
        with self._lock:
            name, number = f"{STACK}-{self.numbers[label]:04d}{SUFFIX}", 1
            while name in self._taken:
                number += 1
                name = f"{STACK}-{self.numbers[label]:04d}-{number}{SUFFIX}"
            self._taken.add(name)
            return name

    def note_ended(self, runs: Iterable[TrainedRun]) -> None:
        """Remember runs that left their stack, until they are settled."""
        with self._lock:
            self._unsettled += runs

    def note_over(self, name: str, labels: Collection[str]) -> None:
        """Remember that a stack is over, whose file, if any, holds these runs: it goes when they are settled."""
        with self._lock:
            self._over[name] = frozenset(labels)

    def write(self, name: str, checkpoint: Checkpoint) -> bool:
        """Write a stack's checkpoint, after the runs that left it; returns whether the disk took it, else warns."""
        return not self.is_writer or (self.settle() and self._write(name, checkpoint))

    def settle(self) -> bool:
        """Write the runs that left their stacks and are not settled, and remove files that nobody needs any more."""
        if not self.is_writer:
            return True
        with self._lock:
            self._unsettled = [run for run in self._unsettled if not self.is_settled(run.config.label)]
            for name in [name for name, labels in self._over.items() if all(map(self.is_settled, labels))]:
                del self._over[name]
                with suppress(OSError):  # a killed process leaves it, too
                    (self.folder / name).unlink(missing_ok=True)
            for run in list(self._unsettled):
                state = Checkpoint(self.identity, 0, 0, (run_state(run, 0, ""),), run.state)
                name = f"{RUN}-{self.numbers[run.config.label]:04d}{SUFFIX}"
                if not self._write(name, state):
                    return False
                self._unsettled.remove(run)
                self._over[name] = frozenset([run.config.label])
            return True

    def _write(self, name: str, checkpoint: Checkpoint) -> bool:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_checkpoint(self.folder / name, checkpoint)
        except (OSError, OutputError) as error:
            self.on_event(Notice(f"no checkpoint now: {error}", "warning"))
            return False
        return True

    def _read(self, path: Path) -> Checkpoint | None:
        try:
            found = read_checkpoint(path)
            if found.identity != self.identity:
                raise DataError(f"{path}: the checkpoint was made with another base model")
            unknown = [run.label for run in found.runs if run.label not in self.numbers]
            if unknown or not found.runs:
                raise DataError(f"{path}: the checkpoint is of other runs")
        except DataError as error:
            self.give_up(path.name, error)
            return None
        return found

    def give_up(self, name: str, error: Exception) -> None:
        """Warn of a checkpoint that nothing can go on from, and remove it."""
        self.on_event(Notice(f"{error}; its runs start again from their first step", "warning"))
        with suppress(OSError):
            (self.folder / name).unlink(missing_ok=True)


class StackFile:
    """The file of one stack's checkpoints, and when the next is due."""

    def __init__(self, checkpoints: Checkpoints, name: str, labels: Collection[str] = ()) -> None:
        self.checkpoints, self.name, self.labels = checkpoints, name, labels
        self._since, self._seconds = time.monotonic(), 0.0

    def look(self) -> bool:
        """Whether a checkpoint is due; raises what ends the training where it is to end."""
        self.checkpoints.stop()
        every = self.checkpoints.every
        return every == 0 or time.monotonic() - self._since >= max(every, self._seconds / SHARE)

    def write(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint in place of the last one; where the disk refuses, that one is kept."""
        started = time.monotonic()
        if self.checkpoints.write(self.name, checkpoint):
            self.labels = [run.label for run in checkpoint.runs]
        self._since = time.monotonic()
        self._seconds = self._since - started

    def end(self) -> None:
        """The stack is over."""
        self.checkpoints.note_over(self.name, self.labels)
