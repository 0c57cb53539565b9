"""The packages, cache and command of the tests of the translation room."""

from tests.translation.conftest import cache, german, installed, japanese, packages, xpet

__all__ = ["cache", "german", "installed", "japanese", "packages", "xpet"]
