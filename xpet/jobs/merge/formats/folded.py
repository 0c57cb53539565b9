"""Common to forms of a tower with the run folded into it, and to forms of a module on its base."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xpet.core.config import MethodConfig
from xpet.jobs.merge.formats.base import Task
from xpet.jobs.shared import measure
from xpet.jobs.shared.towers import text_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from xpet.models.checkpoint import LoadedText


def folded_tower(task: Task) -> LoadedText:
    """The base's text tower with the run folded into its weights, in memory."""
    import torch

    from xpet.methods.table import fold
    from xpet.models.checkpoint import load_text_tower

    loaded = load_text_tower(text_path(task.model.text))
    state = loaded.tower.state_dict()
    with torch.no_grad():
        for name, change in fold(task.record.method, task.record.delta).items():
            state[name].copy_(change(state[name].float()))
    return loaded


def with_module(task: Task, method: MethodConfig, delta: Mapping[str, Tensor], device: str) -> measure.Encode:
    """An encoder of the base with a module that was read back."""
    from xpet.methods.build import build_stack
    from xpet.models.checkpoint import load_text_tower

    loaded = load_text_tower(text_path(task.model.text))
    stack = build_stack(loaded.tower, method, [1]).to(device)
    stack.load(0, delta)
    encode = measure.encoder(stack.tower, loaded.tokenizer)

    def selected(texts: list[str]) -> Tensor:
        with stack.one(0):
            return encode(texts)

    return selected  # type: ignore[return-value]


def bytes_of(task: Task) -> int:
    """Bytes of what was trained, in float32."""
    return sum(4 * value.numel() for value in task.record.delta.values())
