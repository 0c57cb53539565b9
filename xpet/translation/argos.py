"""Imports argostranslate, here and nowhere else, so that it leaves nothing outside xpet's cache.

Only `argostranslate.package` (with `.tokenizer`) is imported: `argostranslate.translate` would load torch, stanza,
spaCy and onnxruntime. `argostranslate.settings` comes along; it creates folders, reads its variables once and, with
ARGOS_DEBUG, prints to stdout.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xpet.core.errors import ModelError
from xpet.core.files import writing
from xpet.core.paths import cache_folder


def load_package(folder: Path) -> Any:
    """The `argostranslate.package.Package` of a package folder: metadata, and the tokenizer, which it loads when used.

    Raises ModelError when the folder is no readable package.
    """
    package = _import_package()
    try:
        return package.Package(folder)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ModelError(f"package {folder}: expected a readable Argos package, found {error}") from error


def _import_package() -> Any:
    home = cache_folder() / "argos"
    with _environment(home):
        with writing(f"the cache {home}", "set XPET_CACHE"):
            from argostranslate import package
    return package


@contextmanager
def _environment(home: Path) -> Iterator[None]:
    """Run the block with Argos' folders below `home` and without the user's Argos and snap settings."""
    before = dict(os.environ)
    for name in list(os.environ):
        if name.startswith("ARGOS_") or name == "SNAP":
            del os.environ[name]
    os.environ.update({name: str(home) for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")})
    os.environ["ARGOS_PACKAGES_DIR"] = str(home / "packages")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
