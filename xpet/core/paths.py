"""Where xpet keeps things: one cache folder, by the platform's conventions or `XPET_CACHE`."""

from __future__ import annotations

import os
from pathlib import Path


def exists(path: str | Path) -> bool:
    """Whether something is at a path; nothing is at one that no file can have, or that may not be looked at."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # too long, no permission, a NUL byte
        return False


def absolute(path: str | None) -> str | None:
    """The path spelled out in full where something is there; other names (of a hub, say) and None as they are."""
    return str(Path(path).resolve()) if path is not None and exists(path) else path


def cache_folder() -> Path:
    """The cache; not created here. `XPET_CACHE` overrides the platform's choice."""
    if chosen := os.environ.get("XPET_CACHE"):
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_cache_dir("xpet", appauthor=False))


def features_folder() -> Path:
    """Stored image features."""
    return cache_folder() / "features"


def runs_folder() -> Path:
    """Runs whose place the user did not name."""
    return cache_folder() / "runs"
