"""What several formats share: the tower with the run folded in, and the base with a module read back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xpet.core.config import MethodConfig
from xpet.jobs.merge.formats.base import MergeJob
from xpet.jobs.shared import measure
from xpet.jobs.shared.measure import Encode
from xpet.jobs.shared.towers import text_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from xpet.models.checkpoint import LoadedText


def folded_tower(job: MergeJob) -> LoadedText:
    """The base's text tower with the run folded into its weights, in memory."""
    import torch

    from xpet.methods.table import fold
    from xpet.models.checkpoint import load_text_tower

    loaded = load_text_tower(text_path(job.model.text))
    state = loaded.tower.state_dict()
    with torch.no_grad():
        for name, change in fold(job.record.method, job.record.delta).items():
            state[name].copy_(change(state[name].float()))
    return loaded


def with_module(job: MergeJob, method: MethodConfig, delta: Mapping[str, Tensor], device: str) -> Encode:
    """An encoder by the base with a module that was read back from a folder."""
    from xpet.methods.build import build_stack
    from xpet.models.checkpoint import load_text_tower

    loaded = load_text_tower(text_path(job.model.text))
    stack = build_stack(loaded.tower, method, [1]).to(device)
    stack.load(0, delta)
    encode = measure.encoder(stack.tower, loaded.tokenizer)

    def selected(texts: list[str]) -> Tensor:
        with stack.one(0):
            return encode(texts)

    return selected  # type: ignore[return-value]


def module_bytes(job: MergeJob) -> int:
    """Bytes of what was trained, in float32."""
    return sum(4 * value.numel() for value in job.record.delta.values())
