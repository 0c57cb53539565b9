"""The one error family: what was expected, what was found, what to do. Each kind has a documented exit code."""

from __future__ import annotations

from collections.abc import Sequence

EXIT_OK = 0
EXIT_UNEXPECTED = 1
EXIT_BAD_INPUT = 2
EXIT_GATE = 3
EXIT_INTERRUPTED = 130


class XpetError(Exception):
    """Base of every error xpet raises on purpose; printed as one line on stderr."""

    exit_code = EXIT_BAD_INPUT


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


MOST = 60  # characters of a user's own text in a message


def shortened(found: object, most: int = MOST) -> str:
    """What was found, as text of at most `most` characters: a message is no place for a whole cell."""
    text = str(found)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def unknown(what: str, found: object, known: Sequence[str]) -> str:
    """The problem text for a name that is not in a table."""
    import difflib

    close = difflib.get_close_matches(str(found), known, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return f"unknown {what} '{found}': expected one of {', '.join(known)}{hint}"
