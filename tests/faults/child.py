"""Commands in processes that may be killed: forks of this one, which has loaded everything, or fresh interpreters."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from xpet.cli import app

PATIENCE = 300.0
"""Seconds after which a command counts as hung."""
POLL = 0.002
"""Seconds between looks at a process."""
HUNG = "hung"
Around = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code (negative: the signal), what it said, and the seconds it took."""

    code: int
    out: str
    told: str
    seconds: float


class Command:
    """A running command, the leader of a process group of its own."""

    def __init__(self, process: int, notes: Path) -> None:
        """`process` is its number; `notes` the folder of its standard streams."""
        self.process, self._notes = process, notes
        self._started = time.monotonic()
        self._ended: Ended | None = None

    def wait(self, seconds: float = PATIENCE) -> Ended | None:
        """How it ended, if it does within so many seconds; None when it still runs."""
        until = time.monotonic() + seconds
        while self._ended is None:
            found, status = os.waitpid(self.process, os.WNOHANG)
            if found:
                out, told = ((self._notes / name).read_text(errors="replace") for name in ("out", "err"))
                self._ended = Ended(os.waitstatus_to_exitcode(status), out, told, time.monotonic() - self._started)
            elif time.monotonic() >= until:
                return None
            else:
                time.sleep(POLL)
        return self._ended

    def signal(self, number: int) -> None:
        """Send a signal to all its processes, those of other groups among them: a launcher starts such."""
        others = _below(self.process) if number == signal.SIGKILL else []
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process, number)
        for process in others:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def end(self) -> Ended:
        """Wait for its end; one that hangs is killed, and says so."""
        ended = self.wait()
        if ended is not None:
            return ended
        self.signal(signal.SIGKILL)
        ended = self.wait(10)
        return Ended(-signal.SIGKILL, "", f"{HUNG} for {PATIENCE} s; {ended and ended.told}", PATIENCE)


def start(
    words: Sequence[str], here: Path, notes: Path, launcher: Sequence[str] | None = None, around: Around = nullcontext,
    own: bool = True,
) -> Command:  # fmt: skip
    """Start `xpet WORDS` in a folder: in a fork of this process, or by a launcher (words to put before them).

    `around` is entered in that process before the command begins, and left when it has ended. The command has a cache
    of its `own` in the folder and no packages, or those of this process.
    """
    notes.mkdir(exist_ok=True)
    (here / "tmp").mkdir(exist_ok=True)
    process = _forked(lambda: run(words, launcher, around), here, notes, own)
    with contextlib.suppress(OSError):  # here as well as there: a signal may come before the other has run
        os.setpgid(process, process)
    return Command(process, notes)


def _forked(work: Callable[[], int], here: Path, notes: Path, own: bool = True) -> int:
    """The number of a fork of this process that does one thing; signals wait until it is ready for them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        process = os.fork()
        if process == 0:
            _be(work, here, notes, own)
        return process
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))


def _be(work: Callable[[], int], here: Path, notes: Path, own: bool) -> None:
    """Become a process that does one thing in a folder and ends."""
    code = 1
    try:
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        for number, name in ((1, "out"), (2, "err")):
            handle = os.open(notes / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, number)
            os.close(handle)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(n, "w", closefd=False)) for n in (1, 2))
        if own:
            os.environ.update(XPET_CACHE=str(here / "cache"), ARGOS_PACKAGES_DIR=str(here / "no"))
        os.environ["TMPDIR"] = str(here / "tmp")
        os.chdir(here)
        code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(code)


def run(words: Sequence[str], launcher: Sequence[str] | None = None, around: Around = nullcontext) -> int:
    """Be `xpet WORDS`, in this process or by a launcher; returns its exit code."""
    if launcher is None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
        if launcher is not None:
            os.execvp(launcher[0], [*launcher, *words])
        with around():
            app.main(list(words))
    except SystemExit as ended:
        return int(ended.code or 0)
    except KeyboardInterrupt:  # before the command began
        return 130
    return 0


def apart(work: Callable[[], int | None], here: Path, notes: Path) -> Ended:
    """Do something in a fork of this process, which it cannot harm; what it returns is the exit code."""
    notes.mkdir(exist_ok=True)
    return Command(_forked(lambda: int(work() or 0), here, notes), notes).end()


def forget_xpet() -> None:
    """Forget xpet in this process, which is a fork, so that it is imported anew; all that it uses stays loaded."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "xpet" or name == "tests.command"]:
        del sys.modules[name]


def _below(process: int) -> list[int]:
    """The numbers of all processes that a process started, and those did, as far as they live."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents.setdefault(int(stat.read_text().rpartition(")")[2].split()[1]), []).append(int(stat.parent.name))
    found, seen = [], [process]
    while seen:
        more = parents.get(seen.pop(), [])
        found += more
        seen += more
    return found


def noting_modules(notes: Path) -> Around:
    """An `around` for `start` that writes down what a command imports, for `import_noted`."""

    @contextmanager
    def around() -> Iterator[None]:
        before = set(sys.modules)
        try:
            yield
        finally:
            (notes / "modules").write_text("\n".join(sorted(set(sys.modules) - before)))

    return around


def import_noted(notes: Path) -> None:
    """Import into this process what a command imported, so that forks of it need not."""
    for name in (notes / "modules").read_text().split("\n"):
        with contextlib.suppress(Exception):
            importlib.import_module(name)
