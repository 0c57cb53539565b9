"""Fixtures every room's tests may use: tiny random checkpoints; nothing reaches the network."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # before any test imports huggingface_hub
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: workers share the cores, and tiny towers gain nothing


def pytest_collection_finish() -> None:
    """What the test modules imported stays: without this every collection of garbage walks all of torch again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """xpet's cache where a test names none: empty, of this process alone, and not the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XPET_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def text_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random M-CLIP checkpoint on XLM-R, 32 dimensions."""
    from tests.tiny import tiny_text_checkpoint

    return tiny_text_checkpoint(tmp_path_factory.mktemp("checkpoints") / "text")


@pytest.fixture(scope="session")
def image_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random CLIP image tower, 32 dimensions."""
    from tests.tiny import tiny_image_checkpoint

    return tiny_image_checkpoint(tmp_path_factory.mktemp("checkpoints") / "image")
