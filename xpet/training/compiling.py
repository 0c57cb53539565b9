"""Layers compiled by inductor for the time of a training (`--compile`)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from torch import nn

from xpet.core.errors import ConfigError

BACKEND = "inductor"
_compiled: WeakKeyDictionary[nn.Module, object] = WeakKeyDictionary()
"""Layer -> its compiled call, for the next stack on the same tower."""


@contextmanager
def compiled(tower: nn.Module, enabled: bool) -> Iterator[None]:
    """Where `enabled`, compile every layer of the tower's transformer for the time of the block, once per tower.

    Shapes vary from step to step, so they are compiled as unknowns. It takes a minute or more at the first step. On a
    CPU it needs a C++ compiler, else it raises ConfigError. After the block the layers are as they were.
    """
    if enabled and next(tower.parameters()).device.type == "cpu":
        _check_compiler()
    layers = list(tower.transformer.encoder.layer) if enabled else []  # type: ignore[union-attr, arg-type]
    for layer in layers:
        if layer in _compiled:
            layer._compiled_call_impl = _compiled[layer]
        else:
            layer.compile(dynamic=True, backend=BACKEND)
            _compiled[layer] = layer._compiled_call_impl
    try:
        yield
    finally:
        for layer in layers:
            layer._compiled_call_impl = None


def _check_compiler() -> None:
    if not any(map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++"))):
        raise ConfigError(
            "--compile needs a C++ compiler on a CPU: expected g++ or clang++ on the PATH, found none; "
            "leave --compile out"
        )
