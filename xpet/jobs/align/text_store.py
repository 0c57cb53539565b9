"""Names the folders in which pairs of routine `text` are stored: by a hash of everything the pairs depend on.

All processes of a command read what one of them stores.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from xpet.core.errors import DataError
from xpet.core.paths import cache_folder
from xpet.data.pair_files import StoredPairs

if TYPE_CHECKING:
    from torch import Tensor

    from xpet.jobs.align.text_lines import EnglishLines

CHUNK = 4096
"""Lines held in memory at a time."""


def store_key(*facts: object) -> str:
    """SHA-256 of facts (JSON-ready values), in hexadecimal."""
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def store_folder(english: EnglishLines, key: str) -> Path:
    """The folder of the store with this key: in the lines' own folder, else in the cache."""
    return (english.folder or cache_folder()) / "pairs" / key[:24]


def common(stored: StoredPairs | None, folder: Path) -> StoredPairs:
    """What a process finds of a store that is finished; raises DataError where it finds nothing."""
    if stored is None:
        raise DataError(
            f"{folder}: expected the pairs that a process of this command stored there, found none; give all machines "
            "one cache in a folder that they share: set XPET_CACHE"
        )
    return stored


def no_features(rows: int, width: int) -> Tensor:
    """An empty float32 tensor [rows, width], where one of the sizes is 0: tokens or features are stored alone."""
    import torch

    return torch.empty(rows, width)
