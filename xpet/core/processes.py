"""The processes of one command: who does what, and how they agree on small values, over torch's own key-value store.

Every process calls the methods that wait (`barrier`, `first`, `gather`) in the same order. Tensors do not go this way:
features and gradients are exchanged by torch.distributed's collectives.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from xpet.core.errors import (
    EXIT_INTERRUPTED,
    EXIT_UNEXPECTED,
    LostError,
    PeerError,
    ProcessError,
    RankError,
    XpetError,
    one_line,
)
from xpet.core.events import Event, OnEvent
from xpet.core.launch import ONE, Launch, complete_environment, launch_of

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

T = TypeVar("T")
V = TypeVar("V")

FAILED = "failed"
"""Key of the first process that failed."""
OF_LAUNCHER = "TORCHELASTIC_USE_AGENT_STORE"
"""Variable of torch's launcher that says that it holds the store."""
ATTEMPT = "TORCHELASTIC_RESTART_COUNT"
"""Variable of torch's launcher with its number of restarts: they have the same store."""
LAUNCHER_PATIENCE, TURN = 30.0, 3.0
"""Seconds after which a launcher counts as gone whose store cannot be reached, and of one try to reach it."""
SIGN_EVERY = 1.0
"""Seconds between signs of life."""
PATIENCE = 5.0
"""Seconds that a failing process waits for the first one to fail alike, and the first for the others to leave."""
PIECE = 4 << 20
"""Bytes of a value that are stored under one key: torch's store takes up to 8 MiB."""


class Processes:
    """The processes of one command, seen from one of them; without a store it is alone.

    Attributes:
        store: torch's key-value store, which all share; None: one process.
        launch: rank and world of this process.
        timeout: seconds without a sign of life after which the others count as lost.
        threads: threads that one process would compute with; None: as many as this one does.
    """

    def __init__(self, store: Store | None = None, launch: Launch = ONE, timeout: float = 1800.0) -> None:
        self.store, self.launch, self.timeout = store, launch, timeout
        self.threads: int | None = None
        self._calls = 0
        self._signed = 0.0
        self._read: list[str] = []

    @property
    def rank(self) -> int:
        """This process's number; process 0 decides, reports and summarises."""
        return self.launch.rank

    @property
    def world(self) -> int:
        """How many processes there are."""
        return self.launch.world

    @property
    def is_first(self) -> bool:
        """Whether this is process 0."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """This process's part of the items, every world-th one."""
        return list(items[self.rank :: self.world])

    def barrier(self, what: str) -> None:
        """Wait until every process is here. Raises ProcessError, naming `what`, and PeerError."""
        self.gather(what, None)

    def gather(self, what: str, value: Any) -> list[Any]:
        """The JSON-ready values of all processes, by rank. Raises ProcessError, naming `what`, and PeerError."""
        if self.store is None:
            return [value]
        name = self.new_name(what)
        self._set(f"{name}/{self.rank}", value)
        keys = {rank: f"{name}/{rank}" for rank in range(self.world)}
        self._wait(what, keys)
        self._forget()
        self._read += keys.values()
        return [self._get(key) for key in keys.values()]

    def collect(self, what: str, value: Any) -> list[Any]:
        """The JSON-ready values of all processes, by rank, in process 0; the others get none, and do not wait.

        Raises ProcessError, naming `what`, and PeerError.
        """
        if self.store is None:
            return [value]
        name = self.new_name(what)
        keys = {rank: f"{name}/{rank}" for rank in range(self.world)}
        self._set(keys[self.rank], value)
        if not self.is_first:
            return []
        self._wait(what, keys)
        self._read += keys.values()
        return [self._get(key) for key in keys.values()]

    def each(self, what: str, items: Sequence[T], work: Callable[[T], V]) -> list[V]:
        """What `work` makes of each item (JSON-ready), in the items' order, each made by one process.

        Raises what `work` does, and as `gather`.
        """
        turns = self.turns(what)
        made = [(number, work(item)) for number, item in enumerate(items) if turns.next()]
        of_all = {number: value for share in self.gather(what, made) for number, value in share}
        return [of_all[number] for number in range(len(items))]

    def turns(self, what: str) -> Turns:
        """Turns at work that all processes walk through; all must make them in the same order of calls that wait."""
        return Turns(self, self.new_name(what))

    def first(self, what: str, make: Callable[[], T]) -> T:
        """What `make` returns (JSON-ready) in process 0, in every process. Raises what `make` does, and as `gather`."""
        if self.store is None:
            return make()
        name = self.new_name(what)
        if self.is_first:
            self._set(name, make())
            self._read.append(name)
        self._wait(what, {0: name})
        return self._get(name)  # type: ignore[no-any-return]

    def new_name(self, what: str) -> str:
        """A name for a queue or a sum: the same in all processes, which ask for names in the same order; never again.

        `draw` and `add` take it.
        """
        self._calls += 1
        return f"{self._calls}/{what}"

    def draw(self, queue: str, count: int, total: int) -> range:
        """The next numbers below `total` that no process has drawn from this queue, at most `count`.

        Empty where the store is lost with process 0: what was drawn before can still be finished.
        """
        with self._reached(quietly=True):
            start = self._store.add(f"queue/{queue}", count) - count
            return range(min(start, total), min(start + count, total))
        return range(0)

    def drawn(self, queue: str) -> int:
        """How many numbers were asked for from this queue, by all processes."""
        with self._reached(quietly=True):
            return int(self._store.add(f"queue/{queue}", 0))
        return 0

    def add(self, name: str, number: int) -> int:
        """Add to a number that all processes share; returns it, or 0 where the store is lost."""
        with self._reached(quietly=True):
            return int(self._store.add(f"sum/{name}", number))
        return 0

    def listener(self, on_event: OnEvent) -> OnEvent:
        """`on_event` in process 0, silence in others; everywhere an event is a sign of life for those who wait.

        A listener with an attribute `hears_all` (a log that names the process) is silent nowhere.
        """
        if self.store is None:
            return on_event
        hears_all = getattr(on_event, "hears_all", False)

        def listen(event: Event) -> None:
            self.sign()
            if self.is_first or hears_all:
                on_event(event)

        return listen

    @contextmanager
    def with_every_thread(self) -> Iterator[None]:
        """Compute with as many threads as one process does, while the others wait: sums then round alike."""
        if self.threads is None:
            yield
            return
        import torch

        own = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            yield
        finally:
            torch.set_num_threads(own)

    def sign(self) -> None:
        """Give the others a sign of life, at most one a second.

        Raises ProcessError where the launcher is gone, which would have ended this process, too. Without process 0,
        which holds the store where no launcher does, a process may go on with what it has drawn.
        """
        if self.store is None or time.monotonic() - self._signed < SIGN_EVERY:
            return
        self._signed = time.monotonic()
        with self._reached(quietly=True):
            self._store.add(f"alive/{self.rank}", 1)
            return
        if os.environ.get(OF_LAUNCHER) == "True":
            raise ProcessError("expected the launcher to hold the common store, found it gone; start the command again")

    def failed(self, error: Exception) -> Exception:
        """The error to raise for one that ended this process's work: what was said elsewhere is not said again.

        Process 0 raises its own. Another one raises a PeerError where process 0 fails alike, else a RankError. One
        that lost another raises a PeerError where that one says why.
        """
        if self.store is None or isinstance(error, PeerError):
            return error
        if isinstance(error, LostError) and (peer := self._failed_peer()) is not None:
            return peer
        text = str(error) if isinstance(error, XpetError) else f"unexpected {type(error).__name__}: {one_line(error)}"
        code = error.exit_code if isinstance(error, XpetError) else EXIT_UNEXPECTED
        self.register(text, code)
        if self.is_first:
            return error
        if self._told_by_first() == text:
            return PeerError(0, code)
        return RankError(self.rank, text, code)

    def register(self, text: str, code: int) -> None:
        """Tell the others that this process ends with an error and an exit code; they end when they next wait."""
        with suppress(ProcessError), self._reached():
            self._set(f"{FAILED}/{self.rank}", {"text": text, "code": code})
            self._store.compare_set(FAILED, "", str(self.rank))

    def leave(self) -> None:
        """Say that this process is done; process 0, which may hold the store, waits a little for the others."""
        if self.store is None:
            return
        with suppress(ProcessError), self._reached():
            self._store.add("left", 1)
            end = time.monotonic() + PATIENCE
            while self.is_first and time.monotonic() < end and self._store.add("left", 0) < self.world:
                time.sleep(0.02)

    def _told_by_first(self) -> str | None:
        """What process 0 failed with, if it does so soon."""
        key = f"{FAILED}/0"
        return str(self._get(key)["text"]) if self._comes(key) else None

    def _failed_peer(self) -> PeerError | None:
        """The error of another process, if it tells of one soon."""
        if not self._comes(FAILED):
            return None
        with self._reached():
            rank = int(self._store.get(FAILED))
        return PeerError(rank, self._get(f"{FAILED}/{rank}")["code"])

    def _comes(self, key: str) -> bool:
        """Whether a key is there soon."""
        end = time.monotonic() + PATIENCE
        with suppress(ProcessError), self._reached():
            while time.monotonic() < end:
                if self._store.check([key]):
                    return True
                time.sleep(0.02)
        return False

    @property
    def _store(self) -> Store:
        assert self.store is not None, "one process has nobody to share with"
        return self.store

    def _set(self, key: str, value: Any) -> None:
        """Store a value in pieces; their number, under the key itself, comes last."""
        text = json.dumps(value)
        pieces = [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
        with self._reached():
            for number, piece in enumerate(pieces):
                self._store.set(f"{key}/{number}", piece)
            self._store.set(key, str(len(pieces)))

    def _get(self, key: str) -> Any:
        with self._reached():
            pieces = [self._store.get(f"{key}/{number}") for number in range(int(self._store.get(key)))]
        return json.loads(b"".join(pieces))

    def _forget(self) -> None:
        """Delete, in process 0, what all have read: everything before a call at which all processes have come."""
        if self.is_first:
            with self._reached():
                for key in self._read:
                    for number in range(int(self._store.get(key))):
                        self._store.delete_key(f"{key}/{number}")
                    self._store.delete_key(key)
        self._read = []

    def _wait(self, what: str, keys: Mapping[int, str]) -> None:
        """Wait for keys, each set by the process with its rank. Raises ProcessError and PeerError."""
        pause, since, signs = 0.002, time.monotonic(), [0]
        self.sign()
        while missing := self._missing(keys):
            with self._reached():
                if self._store.check([FAILED]):
                    self._raise_peer(int(self._store.get(FAILED)))
                present = [self._store.add(f"alive/{rank}", 0) for rank in missing]
            if present != signs:
                since, signs = time.monotonic(), present
            elif time.monotonic() - since > self.timeout:
                raise self._lost(what, missing)
            time.sleep(pause)
            pause = min(2 * pause, 0.25)

    def _missing(self, keys: Mapping[int, str]) -> list[int]:
        with self._reached():
            return [rank for rank, key in keys.items() if not self._store.check([key])]

    def _raise_peer(self, rank: int) -> None:
        told = self._get(f"{FAILED}/{rank}")
        raise PeerError(rank, told["code"])

    def _lost(self, what: str, ranks: Sequence[int]) -> ProcessError:
        return ProcessError(
            f"{what}: expected all {self.world} processes, found no sign of rank {', '.join(map(str, ranks))} for "
            f"{self.timeout:.0f} s; start the command again, or give it a longer --timeout"
        )

    @contextmanager
    def _reached(self, quietly: bool = False) -> Iterator[None]:
        """Raise ProcessError where the store cannot be reached in the block; with `quietly` leave the block instead."""
        try:
            yield
        except XpetError:
            raise
        except (RuntimeError, OSError) as error:  # torch's errors of its store are RuntimeErrors
            if not quietly:
                raise ProcessError(
                    f"expected process 0 to hold the common store, found it gone ({one_line(error, 80)}); start the "
                    "command again: what was finished is kept"
                ) from error


class Turns:
    """Work that all processes walk through in the same order, and of which each does the pieces that it draws.

    So a fast process does more of it. One process alone does everything.
    """

    def __init__(self, processes: Processes, name: str) -> None:
        self.processes, self.name = processes, name
        self._piece = -1
        self._drawn = -1

    def next(self) -> bool:
        """Whether the next piece of the work is this process's."""
        self._piece += 1
        if self.processes.store is None:
            return True
        if self._drawn < self._piece:
            drawn = self.processes.draw(self.name, 1, sys.maxsize)
            self._drawn = drawn.start if drawn else sys.maxsize
        return self._drawn == self._piece


ALONE = Processes()
"""One process without others."""
_here = ALONE
_stores: list[Store] = []
"""The store that all meetings of this process use, once there was one; each meeting has a prefix of its own."""
_undivided: list[int] = []
"""The threads that this process computed with before it took its share, once it did."""
_meetings = 0


def here() -> Processes:
    """The processes of this command, as `connected` found them; alone outside of it."""
    return _here


@contextmanager
def connected(timeout: float) -> Iterator[Processes]:
    """Meet the other processes that a launcher started with this one, for the time of the block.

    `timeout` is in seconds. Blocks inside such a block change nothing. Raises ProcessError where the others do not
    come, RankError and PeerError (see `Processes.failed`) for what ends the block.
    """
    global _here, _meetings
    launch = launch_of()
    if launch.world == 1 or _here.store is not None:
        yield _here
        return
    complete_environment(launch)
    _meetings += 1
    prefix = f"xpet {os.environ.get(ATTEMPT, '0')} {_meetings}"
    _here = Processes(_common_store(prefix, timeout, launch.world), launch, timeout)
    _here.threads = _share_machine(launch)
    try:
        yield _here
    except Exception as error:
        raise _here.failed(error) from error
    except KeyboardInterrupt as error:
        _here.register("interrupted", getattr(error, "exit_code", EXIT_INTERRUPTED))
        raise
    finally:
        _here.leave()
        _leave_group()
        _here = ALONE


def _common_store(prefix: str, timeout: float, world: int) -> Store:
    """The store of the launcher, else the one of process 0; keys begin with the prefix."""
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]

    try:
        if not _stores:
            _stores.append(_store_of_launcher(timeout) if os.environ.get(OF_LAUNCHER) == "True" else _met(timeout))
    except Exception as error:  # torch raises several kinds
        raise ProcessError(
            f"expected to meet {world} processes at MASTER_ADDR and MASTER_PORT, found {one_line(error, 160)}; start "
            "all of them with one launcher, or choose another port"
        ) from error
    return PrefixStore(prefix, _stores[0])


def _met(seconds: float) -> Store:
    """The store at MASTER_ADDR and MASTER_PORT, when all have come within so many seconds."""
    from datetime import timedelta

    from torch.distributed import rendezvous  # type: ignore[attr-defined]

    return next(rendezvous("env://", timeout=timedelta(seconds=seconds)))[0]


def _store_of_launcher(timeout: float) -> Store:
    """The store that the launcher made before it started this process, tried in turns in which signals are heard.

    Where the launcher is gone it is never found, and this process would outlive it.
    """
    from datetime import timedelta

    end = time.monotonic() + min(timeout, LAUNCHER_PATIENCE)
    while True:
        try:
            store = _met(TURN)
            store.set_timeout(timedelta(seconds=timeout))
            return store
        except Exception:  # torch raises several kinds
            if time.monotonic() > end:
                raise


def _share_machine(launch: Launch) -> int | None:
    """Take this process's GPU where there are enough, and its share of the cores unless the launcher gave it one.

    Returns the threads that one process would compute with, where its share was taken.
    """
    import torch

    if torch.cuda.device_count() > launch.local_rank:
        torch.cuda.set_device(launch.local_rank)
    if "OMP_NUM_THREADS" not in os.environ:
        _undivided.append(torch.get_num_threads())
        threads = max(1, _undivided[0] // launch.local_world)
        os.environ["OMP_NUM_THREADS"] = str(threads)
        torch.set_num_threads(threads)
    return _undivided[0] if _undivided else None


def _leave_group() -> None:
    """End torch's process group, where training made one."""
    import torch.distributed

    if torch.distributed.is_initialized():
        with suppress(Exception):  # a lost process must not hide what ended the block
            torch.distributed.destroy_process_group()
