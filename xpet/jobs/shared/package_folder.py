"""Finds the folder of translation packages that `--packages` means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xpet.core.config import DEMO
from xpet.core.errors import ConfigError
from xpet.core.files import writing
from xpet.core.paths import cache_folder
from xpet.data.locking import locked
from xpet.translation.packages import packages_folder

PATIENCE = 600.0
"""Seconds to wait for another process that unpacks the demo's packages."""


def package_folder(name: str | None) -> Path:
    """The folder meant by `--packages`: Argos' own, a folder of the user's, or the unpacked packages of the demo.

    Raises ConfigError for a name that is no folder.
    """
    if name is None:
        return packages_folder()
    if name == DEMO:
        return _demo_packages()
    if not Path(name).is_dir():
        raise ConfigError(f"--packages: expected a folder of Argos packages or '{DEMO}', found no folder {name}")
    return Path(name)


def _demo_packages() -> Path:
    """The shipped packages, unpacked into the cache where that was not done before."""
    import hashlib

    from xpet.demo import assets

    files = sorted(assets.PACKAGES.iterdir())
    state = hashlib.sha256(assets.MANIFEST.read_bytes()).hexdigest()[:12]
    folder = cache_folder() / "demo-packages" / state
    if not _missing(files, folder):
        return folder
    from xpet.translation.install import install

    with writing(f"the cache {folder.parent}", "set XPET_CACHE"):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f"{state}.lock"), f"demo packages {folder}", PATIENCE):
        missing = _missing(files, folder)  # another process may have unpacked them meanwhile
        if missing:
            install(missing, folder)
    return folder


def _missing(files: Sequence[Path], folder: Path) -> list[Path]:
    """The package files that are not unpacked in the folder."""
    return [file for file in files if not (folder / file.stem).is_dir()]
