"""Fixtures every room's tests may use: tiny random checkpoints; nothing reaches the network."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # before any test imports huggingface_hub


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
