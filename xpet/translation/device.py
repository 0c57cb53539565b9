"""Where CTranslate2 computes: on a GPU that works or on the CPU, with what suits each.

A GPU computes in float32, whatever the package was stored in. In fewer bits a translation would more often depend on
the lines that share its batch, and what is translated once is kept for good.
"""

from __future__ import annotations

import ctypes
import glob
import importlib.util
import os
import sys
from dataclasses import dataclass

from xpet.core.errors import ConfigError
from xpet.core.processes import here

CUBLAS = ("libcublasLt.so.12", "libcublas.so.12")
"""NVIDIA's libraries that CTranslate2's wheels ask the system for, in the order in which they are loaded."""
LIBRARY_REMEDY = "; pip install nvidia-cublas-cu12 brings the library"
_unusable: set[str] = set()
"""Devices that failed in this process."""


@dataclass(frozen=True)
class DeviceUse:
    """How a device is used: the numbers' type, tokens of a batch, and batches at a time."""

    compute_type: str
    batch_tokens: int
    workers: int


def find_device(name: str) -> str:
    """The device meant by `auto`, `cpu` or `cuda`; `auto` is a GPU where there is one that has not failed yet.

    Raises ConfigError when there is no GPU for `cuda`.
    """
    if name == "cpu" or (name == "auto" and "cuda" in _unusable):
        return "cpu"
    import ctranslate2

    if ctranslate2.get_cuda_device_count() > 0:
        _load_cublas()
        return "cuda"
    if name == "cuda":
        raise ConfigError("--device cuda: expected a GPU that CTranslate2 can use, found none; use --device cpu")
    return "cpu"


def give_up(device: str) -> None:
    """Remember that a device failed: `auto` chooses another from now on."""
    _unusable.add(device)


def use_of(device: str) -> DeviceUse:
    """How CTranslate2 uses `cpu` or `cuda`.

    On a CPU each core has batches of its own, so small that no core is idle at the end: 512 tokens are as quick as
    2,048 for large models and quicker for tiny ones. A GPU has two streams of large ones, so that it has work while the
    host sorts the hypotheses of the other.
    """
    if device == "cuda":
        return DeviceUse("float32", 8192, 2)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return DeviceUse("auto", 512, max(1, cores // here().launch.local_world))


def device_index(device: str) -> int:
    """The number of this process's GPU; 0 for a CPU."""
    if device != "cuda":
        return 0
    import ctranslate2

    return here().launch.local_rank % max(1, ctranslate2.get_cuda_device_count())


def _load_cublas() -> None:
    """Load NVIDIA's libraries where pip put them, beside torch: the system would not find them there."""
    if sys.platform != "linux":
        return
    found = importlib.util.find_spec("nvidia")
    for folder in found.submodule_search_locations or () if found else ():
        for name in CUBLAS:
            for path in sorted(glob.glob(os.path.join(glob.escape(folder), "*", "lib", name))):
                try:
                    ctypes.CDLL(path)
                except OSError:  # CTranslate2 says what it lacks when it translates
                    continue
