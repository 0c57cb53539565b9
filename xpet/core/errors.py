"""xpet's errors, each class with its exit code. A message says what was expected, what was found and what to do."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence

EXIT_OK = 0
EXIT_UNEXPECTED = 1
"""A bug: an error that is no XpetError."""
EXIT_BAD_INPUT = 2
EXIT_GATE = 3
"""A limit of `xpet eval` was not met."""
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
"""Stopped by SIGTERM, or by SIGUSR1, which batch schedulers send before their time is up."""
LONGEST = 60
"""Characters of a value that a message quotes at most."""
LONGEST_ERROR = 300
"""Characters of another library's error that a message quotes at most."""
LISTED = 100
"""Names that a message lists at most."""


class XpetError(Exception):
    """Base of every error xpet raises on purpose; printed as one line on stderr."""

    exit_code = EXIT_BAD_INPUT


class XpetWarning(UserWarning):
    """Something was assumed that changes results; the command line prints it as one line on stderr."""


class ConfigError(XpetError):
    """One or more options are wrong; all problems found are shown together."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


class DataError(XpetError):
    """Captions, pictures, translations or features are missing, damaged or do not fit together."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


class ModelError(XpetError):
    """A checkpoint is missing, damaged, of another layout, or two towers do not fit together."""


class TrainingError(XpetError):
    """Training could not yield any usable run."""


class NetworkError(XpetError):
    """A download failed: offline, a time-out, a refused address, an HTTP error, a file cut short."""


class OutputError(XpetError):
    """An output path is taken or cannot be written."""


class ProcessError(XpetError):
    """The processes of one command cannot work together: one is lost, or they do not meet."""


class LostError(ProcessError):
    """A process that trains a stack together with this one is gone or silent.

    `world` is the number of processes, `found` what was noticed, `where` the step.
    """

    def __init__(self, world: int, found: str, where: str = "") -> None:
        self.world, self.found = world, found
        super().__init__(
            f"expected all {world} processes in training, found one gone or silent{where} ({found}); start the command "
            "again: it goes on from what was written"
        )


class RankError(XpetError):
    """An error of a process other than the first, which says its rank."""

    def __init__(self, rank: int, text: str, exit_code: int) -> None:
        super().__init__(f"rank {rank}: {text}")
        self.exit_code = exit_code


class PeerError(XpetError):
    """Another process of this command failed; it has said why, so this one says nothing."""

    def __init__(self, rank: int, exit_code: int) -> None:
        super().__init__(f"rank {rank} failed")
        self.exit_code = exit_code


class StoppedError(XpetError):
    """A signal stopped the command."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def quoted(value: object) -> str:
    """A value for a message, as `repr` writes it: on one line, its beginning where it is longer than LONGEST."""
    whole = not isinstance(value, (str, bytes)) or len(value) <= LONGEST
    text = (repr(value) if whole else repr(value[:LONGEST])) if isinstance(value, (str, bytes)) else _BRIEF.repr(value)
    return text if whole and len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def short(name: str) -> str:
    """A name for a message: as it is where it is printable, short and not padded, else as `quoted` gives it."""
    return name if name.isprintable() and name.strip() == name != "" and len(name) <= LONGEST else quoted(name)


def listing(names: Sequence[str], most: int = LISTED) -> str:
    """Names for a message, separated by commas, each as `short` gives it: the first `most`, and how many more."""
    more = len(names) - most
    return ", ".join(map(short, names[:most])) + (f" and {more} more" if more > 0 else "")


def one_line(value: object, most: int | None = None, first_only: bool = False) -> str:
    """A value, or the message of another library's error, on one line; the error's class where it has no message.

    Cut to `most` characters, by default LONGEST of a value and LONGEST_ERROR of an error. With `first_only` lines
    behind the first are left out.
    """
    is_error = isinstance(value, BaseException)
    lines = str(value).strip().splitlines()
    text = " ".join(" ".join(lines[:1] if first_only else lines).split())
    if is_error and not text:
        text = type(value).__name__
    most = most or (LONGEST_ERROR if is_error else LONGEST)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def unknown(what: str, value: object, known: Sequence[str]) -> str:
    """The problem text for a name (`what`: its kind) that is not among the known ones, with the closest of them."""
    import difflib

    name = short(str(value))
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean '{short(close[0])}'?" if close else ""
    marked = name if name != str(value) else f"'{name}'"
    return f"unknown {what} {marked}: expected one of {listing(known)}{hint}"


_BRIEF = reprlib.Repr()
_BRIEF.maxother = _BRIEF.maxlong = _BRIEF.maxstring = LONGEST
