"""Finds the folder of translation packages that `--packages` means."""

from __future__ import annotations

from pathlib import Path

from xpet.core.config import DEMO
from xpet.core.errors import ConfigError
from xpet.core.paths import cache_folder
from xpet.translation.packages import packages_folder


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
    missing = [file for file in files if not (folder / file.stem).is_dir()]
    if missing:
        from xpet.translation.install import install

        install(missing, folder)
    return folder
