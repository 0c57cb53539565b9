"""Reads JSON, whoever wrote it: what is wrong with a text is a ValueError, with a model's file a ModelError."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from xpet.core.errors import ModelError, one_line
from xpet.core.regular_files import read_text

LONGEST_REASON = 160
"""Characters of the reader's error that a message quotes."""


def parsed(text: str | bytes) -> Any:
    """The value of a JSON text; raises ValueError for what is none, and for one nested too deeply to be read."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("values nested too deeply") from None


def read_object(path: Path, purpose: str, most: int = LONGEST_REASON) -> dict[str, Any]:
    """The JSON object in a file.

    Raises ModelError naming the file, its `purpose`, and at most `most` characters of what the JSON reader says.
    """
    try:
        value = parsed(read_text(path))
    except (OSError, ValueError) as error:
        reason = one_line(error, most, first_only=True)
        raise ModelError(f"cannot read {path}: {reason}; expected a JSON object ({purpose})") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path}: expected a JSON object ({purpose}), found {type(value).__name__}")
    return value
