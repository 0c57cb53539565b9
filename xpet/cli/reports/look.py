"""Where a report will be read: how wide, in colour or not, and which characters can be written."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO


@dataclass(frozen=True)
class Look:
    """`width` in characters, None: as wide as it takes; `full`: every table, also those that are only looked up."""

    width: int | None = None
    colour: bool = False
    unicode: bool = True
    full: bool = False


def is_unicode(stream: TextIO) -> bool:
    """Whether a stream takes every character; bars, lines and JSON are ASCII where it does not."""
    encoding: str | None = getattr(stream, "encoding", None)
    return encoding is None or encoding.lower().startswith("utf")


def look(stream: TextIO, environ: Mapping[str, str], full: bool = False) -> Look:
    """How to write to `stream`: plain and unbounded unless it is a terminal; NO_COLOR and its encoding respected."""
    if not stream.isatty():
        return Look(unicode=is_unicode(stream), full=full)
    colour = not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
    return Look(shutil.get_terminal_size().columns, colour, is_unicode(stream), full)
