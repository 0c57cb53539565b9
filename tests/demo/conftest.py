"""The shipped texts are unpacked once for all tests of this room."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest

from xpet.demo import assets


@pytest.fixture(scope="package", autouse=True)
def _unpacked_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assets, "read_content", cache(assets.read_content))
        yield


@pytest.fixture
def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """CTranslate2 computes in float32, where every processor finds the same translations.

    In 8 bits, as users have it, some do not: without VNNI (AMD before Zen 4) oneDNN's sums saturate at 16 bits.
    """
    import ctranslate2

    plain = ctranslate2.Translator
    monkeypatch.setattr(
        ctranslate2, "Translator", lambda *words, **options: plain(*words, **{**options, "compute_type": "float32"})
    )
