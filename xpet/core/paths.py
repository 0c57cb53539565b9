"""Folders in which xpet stores files: one cache folder, by the platform's conventions or `XPET_CACHE`."""

from __future__ import annotations

import os
from pathlib import Path


def exists(path: str | Path) -> bool:
    """Whether there is a file or folder at a path; False also for a path that is not valid or may not be read."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # too long, no permission, a NUL byte
        return False


def absolute(path: str | None) -> str | None:
    """The path spelled out in full where something is there; other names (of a hub, say) and None as they are."""
    return str(Path(path).resolve()) if path is not None and exists(path) else path


def cache_folder() -> Path:
    """The cache folder, which is not created here; `XPET_CACHE` overrides the platform's choice."""
    if chosen := os.environ.get("XPET_CACHE"):
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_cache_dir("xpet", appauthor=False))


def features_folder() -> Path:
    """The folder of stored image features."""
    return cache_folder() / "features"


def runs_folder() -> Path:
    """The folder of runs for which the user named no other."""
    return cache_folder() / "runs"
