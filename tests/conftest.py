"""Fixtures every room's tests may use: tiny random checkpoints; nothing reaches the network.

Tests must pass whatever kernels the processor has. Variables that try others out on this one:

- `XPET_TEST_THREADS=8`: threads of each product of matrices (also in the processes that tests start); default 1.
- `XPET_TEST_MKLDNN=0`: without oneDNN (in the test process alone).
- `XPET_TEST_LAST_DIGIT=1`: products that differ in their last digit wherever they may; see lastdigit.py.
- torch's and its libraries' own: `ATEN_CPU_CAPABILITY=default` or `avx2`, `ONEDNN_MAX_CPU_ISA=AVX2`, `MKL_CBWR=AVX2`.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # before any test imports huggingface_hub
# Before torch: workers share the cores, and tiny towers gain nothing.
os.environ["OMP_NUM_THREADS"] = os.environ.get("XPET_TEST_THREADS") or os.environ.get("OMP_NUM_THREADS") or "1"
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # more threads than cores would spin


def pytest_configure() -> None:
    """Other kernels, where asked for; before any test module computes anything. Ctrl-C is heard as on a terminal."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as shells start what runs in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.environ.get("XPET_TEST_MKLDNN") == "0":
        import torch

        torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    if os.environ.get("XPET_TEST_LAST_DIGIT") == "1":
        from tests import lastdigit

        lastdigit.turn_on()


gc.disable()  # until all is imported


def pytest_collection_finish() -> None:
    """What the test modules imported stays: without this every collection of garbage walks all of torch again.

    Collections are few, since what a test makes lives on in its fixtures or goes without them.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


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
