"""Reads files of tensors made elsewhere, without unpickling anything but tensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from xpet.core.errors import ModelError

WRAPPED = ("state_dict", "model_state_dict", "model", "text_model")
"""Keys under which a checkpoint may hold its state."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors by name of a safetensors file or of a PyTorch one; raises ModelError."""
    return (_safetensors if path.suffix == ".safetensors" else _pytorch)(path)


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(path)
        return tensors
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"cannot read {path}: damaged or truncated ({_first(error)}); fetch it again") from None


def _pytorch(path: Path) -> dict[str, Tensor]:
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file fails in many ways
        raise ModelError(
            f"cannot read {path}: damaged, truncated, or it holds other things than tensors, and nothing in it was run "
            f"({_first(error)}); fetch it again or save its state_dict alone"
        ) from None
    for key in WRAPPED:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        kind = type(state).__name__ if not isinstance(state, dict) else f"keys {', '.join(map(str, list(state)[:3]))}"
        raise ModelError(f"{path}: expected a dictionary of tensors, found {kind}; save the model's state_dict alone")
    return {str(name): value for name, value in state.items()}


def read_settings(path: Path, purpose: str) -> dict[str, Any]:
    """The JSON object in a file; raises ModelError saying what it is for."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"cannot read {path}: {_first(error)}; expected a JSON object ({purpose})") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path}: expected a JSON object ({purpose}), found {type(value).__name__}")
    return value


def _first(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:80]
