"""How a report may look where it is shown: width, colour, and which characters can be written."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO


@dataclass(frozen=True)
class Look:
    """How a report may look: `width` in characters (None: no limit), colours, Unicode; `full` asks for every table."""

    width: int | None = None
    colour: bool = False
    unicode: bool = True
    full: bool = False


def is_unicode(stream: TextIO) -> bool:
    """Whether a stream can write every character; where it cannot, bars, lines and JSON are ASCII."""
    encoding: str | None = getattr(stream, "encoding", None)
    return encoding is None or encoding.lower().startswith("utf")


def look(stream: TextIO, environ: Mapping[str, str], full: bool = False) -> Look:
    """The look for a stream: plain and of any width unless it is a terminal. NO_COLOR and the encoding count."""
    if not stream.isatty():
        return Look(unicode=is_unicode(stream), full=full)
    colour = not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
    return Look(shutil.get_terminal_size().columns, colour, is_unicode(stream), full)
