"""Where the pairs of routine `text` are stored on disk: folders named by a hash of everything they depend on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from xpet.core.paths import cache_folder

if TYPE_CHECKING:
    from torch import Tensor

    from xpet.jobs.align.text_lines import EnglishLines

CHUNK = 4096
"""Lines held in memory."""


def store_key(*facts: object) -> str:
    """SHA-256 of facts (JSON-ready values), in hexadecimal."""
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def store_folder(english: EnglishLines, key: str) -> Path:
    """The folder of the store with this key: in the lines' own folder, else in the cache."""
    return (english.folder or cache_folder()) / "pairs" / key[:24]


def no_features(rows: int, width: int) -> Tensor:
    """Feature rows without any number in them, [rows, width] of uninitialised float32; one of the sizes is 0."""
    import torch

    return torch.empty(rows, width)
