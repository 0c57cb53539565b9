"""Reads files of modules made elsewhere: tensors and settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from xpet.core.errors import ModelError
from xpet.core.json_files import read_object
from xpet.core.tensors import SHOWN, check_finite, check_kinds, from_pytorch, from_safetensors

WRAPPED = ("state_dict", "model_state_dict", "model", "text_model")
"""Keys under which a checkpoint may hold its state."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors by name of a safetensors or PyTorch file, checked to be plain and finite; raises ModelError."""
    tensors = from_safetensors(path) if path.suffix == ".safetensors" else _state(path)
    check_kinds(tensors, path)
    check_finite(tensors, path)
    return tensors


def _state(path: Path) -> dict[str, Tensor]:
    state = from_pytorch(path, "fetch it again or save its state_dict alone")
    for key in WRAPPED:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        kind = f"keys {', '.join(map(str, list(state)[:3])):.60}" if isinstance(state, dict) else type(state).__name__
        raise ModelError(f"{path}: expected a dictionary of tensors, found {kind}; save the model's state_dict alone")
    return {str(name): value for name, value in state.items()}


def read_settings(path: Path, purpose: str) -> dict[str, Any]:
    """The JSON object in a file; raises ModelError saying what it is for."""
    return read_object(path, purpose, SHOWN)
