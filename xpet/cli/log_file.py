"""`--log-file`: a line for each event, warning and error of a command, whatever the terminal shows.

Lines go through Python's `logging`; nothing is loaded or written where no file is named.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from io import FileIO, TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from xpet.core.errors import OutputError, XpetError
from xpet.core.events import Event, Notice, OnEvent, Progress, Validated
from xpet.core.launch import launch_of
from xpet.version import VERSION

if TYPE_CHECKING:
    from logging import Handler, Logger, LogRecord

EVERY = 10.0
"""Seconds between two lines of progress of one stage."""
LOGGER = "xpet.log_file"
FILE_MODE = 0o666
"""Permissions of a new file, less what the user's mask takes away."""


class CommandLog:
    """What one command writes to its log file: nothing before `open`.

    `words` are the command line, `warn` tells the user of a file that cannot be written any more.
    """

    def __init__(self, words: Sequence[str], warn: Callable[[str], None]) -> None:
        self.words, self.warn = words, warn
        self.started = time.monotonic()
        self._logger: Logger | None = None
        self._told: dict[str, float] = {}

    def open(self, path: str | None) -> None:
        """Append to a file from now on, the command line first; a second call does nothing.

        Raises OutputError where the file cannot be opened.
        """
        if path is None or self._logger is not None:
            return
        handler = _handler(Path(path), self.warn)
        import logging

        self._logger = logging.getLogger(LOGGER)
        self._logger.propagate = False
        self._logger.setLevel(logging.INFO)
        self._logger.addHandler(handler)
        self.tell(f"xpet {VERSION}, process {os.getpid()}, in {_here()}: {shlex.join(['xpet', *self.words])}")

    def tell(self, text: str, level: str = "info", error: BaseException | None = None) -> None:
        """Write a line; `level` is info, warning or error, `error` one whose traceback is added."""
        if self._logger is not None:
            getattr(self._logger, level)("%s", text, exc_info=error)

    def event(self, event: Event) -> None:
        """Write a line for an event; of progress at most one every EVERY seconds for each stage."""
        if isinstance(event, Notice):
            self.tell(event.text, event.level)
        elif isinstance(event, Validated):
            figures = ", ".join(f"{name} {value:.6g}" for name, value in event.figures.items())
            self.tell(f"validated {event.label} after step {event.step} of {event.steps}: {figures}")
        elif isinstance(event, Progress):
            now = time.monotonic()
            if now - self._told.get(event.stage, -EVERY) >= EVERY:
                self._told[event.stage] = now
                unit, note = event.unit and f" {event.unit}", event.note and f", {event.note}"
                self.tell(f"{event.stage}: {event.done} of {event.total}{unit}{note}")

    def close(self, code: int) -> None:
        """Write the exit code and the seconds that the command took, and let the file go."""
        if self._logger is None:
            return
        self.tell(f"exit code {code} after {time.monotonic() - self.started:.1f} s")
        for handler in [*self._logger.handlers]:
            self._logger.removeHandler(handler)
            with suppress(OSError):
                handler.close()
        self._logger = None


_current = CommandLog([], lambda text: None)


def current() -> CommandLog:
    """The log of the command that runs in this process."""
    return _current


@contextmanager
def logged(words: Sequence[str], warn: Callable[[str], None]) -> Iterator[CommandLog]:
    """For the block, the log of a new command; where the block fails it ends with exit code 1."""
    global _current
    outer, _current = _current, CommandLog(words, warn)
    try:
        yield _current
    except BaseException as error:
        _current.tell(f"{type(error).__name__}: {error}", "error", error)
        raise
    finally:
        _current.close(1)  # does nothing where the block closed it
        _current = outer


def with_log(on_event: OnEvent) -> OnEvent:
    """A listener that also writes every event to the log, those of each of several processes."""

    def both(event: Event) -> None:
        current().event(event)
        on_event(event)

    both.hears_all = True  # type: ignore[attr-defined]
    return both


def _handler(path: Path, warn: Callable[[str], None]) -> Handler:
    """What appends records to a file; raises OutputError where it cannot be opened."""
    import logging

    class LogLine(logging.Formatter):
        """Time with zone, level, rank where there are several processes, and the text, as one printable line."""

        def format(self, record: LogRecord) -> str:
            at = datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")
            return f"{at} {record.levelname:<7} {_rank()}{_printable(super().format(record))}"

    class AppendedLog(logging.FileHandler):
        """A file that every record is written to at once; the first write that fails is told, others are not."""

        refused = False

        def _open(self) -> TextIOWrapper:
            raw = FileIO(self.baseFilename, "a", opener=_append)
            return TextIOWrapper(cast(Any, raw), "utf-8", "backslashreplace", newline="\n", write_through=True)

        def handleError(self, record: LogRecord) -> None:  # noqa: N802
            if not self.refused:
                self.refused = True
                warn(f"--log-file {path}: a line could not be written; the command goes on without it")

    try:
        handler = AppendedLog(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"--log-file {path}: expected a file to append to, found none ({reason})") from None
    handler.setFormatter(LogLine())
    return handler


def _append(path: str, flags: int) -> int:
    """Open a file to append to; a pipe that nobody reads is refused in place of waiting for a reader."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0), FILE_MODE)


def _rank() -> str:
    """This process's number, where a launcher started several."""
    try:
        launch = launch_of()
    except XpetError:  # the command tells it
        return ""
    return f"rank {launch.rank}: " if launch.world > 1 else ""


def _printable(text: str) -> str:
    """The text with escapes in place of line breaks and of what a terminal would obey or hide."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def _here() -> str:
    try:
        return os.getcwd()
    except OSError:  # removed meanwhile
        return "a folder that is gone"
