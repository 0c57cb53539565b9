"""Reads the JSON files of models, whoever wrote them; whatever is wrong is a ModelError."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from xpet.core.errors import ModelError, one_line

LONGEST_REASON = 160
"""Characters of the reader's error that a message quotes."""


def read_object(path: Path, purpose: str, most: int = LONGEST_REASON) -> dict[str, Any]:
    """The JSON object in a file.

    Raises ModelError naming the file, its `purpose`, and at most `most` characters of what the JSON reader says.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = one_line(error, most, first_only=True)
        raise ModelError(f"cannot read {path}: {reason}; expected a JSON object ({purpose})") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path}: expected a JSON object ({purpose}), found {type(value).__name__}")
    return value
