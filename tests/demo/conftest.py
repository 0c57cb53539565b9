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
