"""The translators of a pair of languages: an installed package, or two through English."""

from __future__ import annotations

from pathlib import Path

from xpet.translation.cache import Cache
from xpet.translation.engine import BEAM, ArgosTranslator, find_device
from xpet.translation.packages import need_chain


def make_chain(
    folder: Path, source: str, target: str, cache: Cache, fast: bool = False, device: str = "auto"
) -> list[ArgosTranslator]:
    """One translator per hop, `fast` with beam 1; codes are Argos'. Raises ModelError, ConfigError (no such device)."""
    found = find_device(device)
    return [
        ArgosTranslator(package, cache.fingerprint(package), 1 if fast else BEAM, found)
        for package in need_chain(folder, source, target)
    ]
